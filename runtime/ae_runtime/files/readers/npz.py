"""Arrays of an .npz archive, which are in .npy form."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.npy import NpyStream, check_numbers, open_array, unreadable
from ae_runtime.files.readers.raw_bytes import Bytes, fingerprint
from ae_runtime.outputs import STAMP_FIELDS

_KIND = ".npz archive"


def open_npz(path: Path, wanted: Wanted, id_column: str | None, member: str | None) -> NpyStream:
    """The rows of one array of an .npz, inflated as they are read."""
    return open_array(_open_member(path, member), wanted, id_column, _KIND)


def read_npz(path: Path, member: str | None) -> NDArray[Any]:
    """One array of an .npz. Raises DataError unless it is rows of numbers."""
    try:
        # Opened here: np.load leaves the file open where it is not an archive.
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            name = _choose_member(path, archive.files, member)
            array = archive[name]
    except (DataError, PermissionError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a damaged archive
        raise unreadable(path, _KIND, error) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {name} is not an array")
    check_numbers(path, array.shape, array.dtype)
    return array


def _choose_member(path: Path, names: list[str], member: str | None) -> str:
    """The name of the array to read from an .npz. Raises DataError unless it is there."""
    names = [name for name in names if name not in STAMP_FIELDS]
    if not names:
        raise DataError(f"{path} holds no arrays")
    if member is None and len(names) != 1:
        raise DataError(f"{path} holds {', '.join(names)}; say which: {path}:{names[0]}")
    if member is not None and member not in names:
        raise DataError(f"{path} holds no {member!r}; it holds {', '.join(names)}")
    return member or names[0]


def _open_member(path: Path, key: str | None) -> Bytes:
    """The .npy bytes of one array."""
    status = f"{fingerprint(path)} {key or ''}"
    try:
        archive = zipfile.ZipFile(path)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged archive
        raise unreadable(path, _KIND, error) from None
    try:
        members = archive.namelist()
        name = _choose_member(path, [name.removesuffix(".npy") for name in members], key)
        if f"{name}.npy" not in members:
            raise DataError(f"{path}: {name} is not an array")
        member = _Member(archive, f"{name}.npy")
        return Bytes(path, member, None, True, "a readable .npz archive", status)
    except DataError:
        archive.close()
        raise
    except Exception as error:
        archive.close()
        raise unreadable(path, _KIND, error) from None


class _Member:
    """One member of an archive; closing it closes the archive."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._file = archive, archive.open(name)

    def readinto(self, view: memoryview) -> int:
        try:
            raw = self._file.read(len(view))
        except (OSError, EOFError, MemoryError):
            raise
        except Exception as error:  # each compression method has errors of its own
            raise zipfile.BadZipFile(str(error)) from None
        view[: len(raw)] = raw
        return len(raw)

    def seek(self, position: int) -> None:
        self._file.seek(position)

    def close(self) -> None:
        self._file.close()
        self._archive.close()
