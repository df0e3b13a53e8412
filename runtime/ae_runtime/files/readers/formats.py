"""The file formats that rows are read from, by the end of a file's name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.arrow_ipc import IpcStream, read_arrow
from ae_runtime.files.readers.blocks import Stream
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.csv import open_csv
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.files.readers.csv_table import read_csv
from ae_runtime.files.readers.npy import open_npy, read_npy
from ae_runtime.files.readers.npz import open_npz, read_npz
from ae_runtime.files.readers.parquet import ParquetStream, read_parquet
from ae_runtime.tables.table import Table

Array = NDArray[Any]


@dataclass(frozen=True)
class Format:
    """How files with one ending are read: in blocks by the runtime, whole by training.

    open: the rows as a bundle takes them, from a path, the columns that are wanted, the column of
    ids, and the name of one of several arrays. read_table: all columns by name, of a format that
    has names, from a path, what was said of it, and the columns that stay text. read_array: all
    rows (N, ...), of any other format. in_folders: whether a folder of such files is one table.
    """

    open: Callable[[Path, Wanted, str | None, str | None], Stream]
    read_table: Callable[[Path, Told, Collection[str]], Table] | None = None
    read_array: Callable[[Path, str | None], Array] | None = None
    in_folders: bool = False


CSV = Format(open_csv, read_table=read_csv)
ARROW = Format(IpcStream, read_table=read_arrow, in_folders=True)
# A new format is a module and its line here, for training and the runtime.
FORMATS = {
    ".npy": Format(open_npy, read_array=read_npy),
    ".npz": Format(open_npz, read_array=read_npz),
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), CSV),
    ".parquet": Format(ParquetStream, read_table=read_parquet, in_folders=True),
    **dict.fromkeys((".arrow", ".feather"), ARROW),
}
KNOWN = ", ".join(FORMATS)


def find_format(path: Path) -> Format:
    """The format of an existing file. Raises SourceNotFound, or DataError for unknown endings."""
    if not path.exists():
        raise SourceNotFound(f"{path} does not exist")
    suffix = suffix_of(path)
    if suffix not in FORMATS or path.is_dir():
        what = "a folder" if path.is_dir() else suffix or "no file extension"
        raise DataError(f"{path}: {what} cannot be read; known types: {KNOWN}")
    return FORMATS[suffix]


def holds_columns(path: Path) -> bool:
    """Whether a file's format has columns by name."""
    format = FORMATS.get(suffix_of(path))
    return format is not None and format.read_table is not None


def read_array(name: str | Path) -> Array:
    """All rows (N, ...) of a file without names of columns; file.npz:key for one of several arrays.

    Raises SourceNotFound, or DataError for a file that cannot be read or is of another format.
    """
    path, member = split_member(str(name))
    read = find_format(path).read_array
    if read is None:
        raise DataError(f"{path} holds columns by name, and no array")
    return read(path, member)


def read_table(name: str | Path, told: Told | None = None, text: Collection[str] = ()) -> Table:
    """All columns of a file by name.

    told: how text is written, where it does not show it. text: columns whose cells are kept as they
    are. Raises SourceNotFound, or DataError for a file that cannot be read, holds no rows, or is of
    another format.
    """
    path = Path(name)
    read = find_format(path).read_table
    if read is None:
        known = ", ".join(suffix for suffix, format in FORMATS.items() if format.read_table)
        raise DataError(f"{path} holds no columns by name; known types: {known}")
    return read(path, told or Told(), text)


def split_member(text: str) -> tuple[Path, str | None]:
    """(file.npz, key) of file.npz:key; (text, None) of any other name."""
    head, colon, key = text.rpartition(":")
    if colon and head.endswith(".npz") and not Path(text).exists():
        return Path(head), key
    return Path(text), None


def suffix_of(path: Path) -> str:
    """The ending of a file's name in small letters, such as .csv.gz."""
    parts = [part.lower() for part in path.suffixes[-2:]]
    return "".join(parts) if parts[-1:] == [".gz"] else "".join(parts[-1:])
