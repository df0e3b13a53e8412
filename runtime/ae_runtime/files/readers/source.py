"""Data files to arrays, one reader per file type; used by training and by ae-run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.files.readers.csv_table import read_csv, read_table
from ae_runtime.files.readers.raw_bytes import fingerprint as fingerprint
from ae_runtime.outputs import STAMP_FIELDS
from ae_runtime.tables.arrow import read_arrow_table, read_parquet_table
from ae_runtime.tables.table import Table

Array = NDArray[Any]
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".arrow", ".feather")


@dataclass(frozen=True)
class Source:
    """Rows read from a file.

    array: (N, ...); .npy files are memory-mapped. columns: names of a table's columns, None where
    the file has none. integer: (D,) bool, columns to be rounded again; None: by the array's dtype.
    note: what was found out about the file and is worth a line, or "".
    """

    path: Path
    array: Array
    columns: list[str] | None = None
    integer: NDArray[np.bool_] | None = None
    note: str = ""


def read_source(text: str | Path) -> Source:
    """The rows in a file: .npy, .npz (or file.npz:key), .csv, .tsv and either with .gz.

    Raises SourceNotFound, or DataError for a file that cannot be read or holds no rows.
    """
    path, key = split_member(str(text))
    if not path.exists():
        raise SourceNotFound(f"{path} does not exist")
    suffix = suffix_of(path)
    reader = READERS.get(suffix)
    if reader is None or path.is_dir():
        found = "a folder" if path.is_dir() else f"{suffix or 'no file extension'}"
        raise DataError(f"{path}: {found} cannot be read; known types: {', '.join(KNOWN)}")
    source = reader(path, key)
    if source.array.dtype.hasobject or source.array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {source.array.dtype} values; only numbers are taken")
    if source.array.ndim < 2:
        raise DataError(f"{path} has shape {source.array.shape}; rows need at least 2 axes (N, D)")
    return source


def read_table_file(
    text: str | Path, told: Told | None = None, words: Collection[str] = ()
) -> Table:
    """The columns of numbers and words in a file of TABLES.

    told: how text is written, where it does not show it. words: columns whose text is kept as it
    is. Raises SourceNotFound, or DataError for a file that cannot be read or holds no rows.
    """
    path = Path(text)
    if not path.exists():
        raise SourceNotFound(f"{path} does not exist")
    if not path.name.lower().endswith(TABLES):
        raise DataError(f"{path} holds no columns by name; known types: {', '.join(TABLES)}")
    if path.suffix.lower() == ".parquet":
        return read_parquet_table(path)
    if path.suffix.lower() in (".arrow", ".feather"):
        return read_arrow_table(path)
    return read_table(path, told, words)


def split_member(text: str) -> tuple[Path, str | None]:
    """(file.npz, key) of file.npz:key; anything else whole."""
    head, colon, key = text.rpartition(":")
    if colon and head.endswith(".npz") and not Path(text).exists():
        return Path(head), key
    return Path(text), None


def suffix_of(path: Path) -> str:
    """The end of a file's name in small letters, .csv.gz in one."""
    parts = [part.lower() for part in path.suffixes[-2:]]
    return "".join(parts) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def _read_npy(path: Path, key: str | None) -> Source:
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # refuses objects, unpickles nothing
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # numpy raises many kinds for a damaged header
        raise DataError(f"{path} is not a readable .npy array: {_one_line(error)}") from None
    return Source(path, array)


def _read_npz(path: Path, key: str | None) -> Source:
    try:
        # Opened here: np.load leaves the file open where it is not an archive.
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            name = choose_member(path, archive.files, key)
            array = archive[name]
            if not isinstance(array, np.ndarray):
                raise DataError(f"{path}: {name} is not an array")
            return Source(path, array)
    except (DataError, PermissionError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a damaged archive
        raise DataError(f"{path} is not a readable .npz archive: {_one_line(error)}") from None


def choose_member(path: Path, names: list[str], key: str | None) -> str:
    """The array that is meant of those in an .npz. Raises DataError unless it is one of them."""
    names = [name for name in names if name not in STAMP_FIELDS]
    if not names:
        raise DataError(f"{path} holds no arrays")
    if key is None and len(names) != 1:
        raise DataError(f"{path} holds {', '.join(names)}; say which: {path}:{names[0]}")
    if key is not None and key not in names:
        raise DataError(f"{path} holds no {key!r}; it holds {', '.join(names)}")
    return key or names[0]


def _read_csv(path: Path, key: str | None) -> Source:
    table = read_csv(path)
    return Source(path, table.values, table.columns, table.integer, table.note)


# A new file format is one reader and its line here; its writer goes into writers/opening.py.
READERS: dict[str, Callable[[Path, str | None], Source]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".tsv": _read_csv,
    ".tsv.gz": _read_csv,
}


KNOWN = tuple(dict.fromkeys([*READERS, *TABLES]))


def select_columns(source: Source, names: list[str] | None) -> tuple[Array, list[str]]:
    """The array with the columns that a model wants, in its order, and the names left out.

    Where the model or the file has no names, columns are taken by position. Raises DataError
    that lists the columns the file lacks.
    """
    if names is None or source.columns is None or source.columns == names:
        return source.array, []
    missing = [name for name in names if name not in source.columns]
    if missing:
        raise DataError(
            f"{source.path} lacks {len(missing)} of the model's columns: {', '.join(missing[:5])}"
        )
    at = [source.columns.index(name) for name in names]
    return source.array[:, at], [name for name in source.columns if name not in set(names)]


def first_infinity(array: Array) -> tuple[int, int] | None:
    """(row, column) of the first infinite value, both from 0; images count columns flat."""
    if array.dtype.kind != "f" or not array.size:
        return None
    flat = array.reshape(len(array), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = ~np.isfinite(flat.sum(axis=1, dtype=np.float64))
    for row in np.flatnonzero(suspect):
        columns = np.flatnonzero(np.isinf(flat[row]))
        if len(columns):
            return int(row), int(columns[0])
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
