"""Arrays in .npy form, from a file, a member of an .npz or a pipe."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.readers.blocks import Block, SeriesCut, Stream, Unread, drop_infinite
from ae_runtime.files.readers.columns import Wanted, named
from ae_runtime.files.readers.raw_bytes import Bytes, closed_on_error, open_bytes
from ae_runtime.model.arrays import checked

Array = NDArray[Any]
_COLUMN_BYTES = 1 << 16  # read at once of each column of an array in Fortran order
_SUPER_BYTES = 8 << 20  # read at once of all columns, at most
MAGIC = b"\x93NUMPY"


def open_npy(path: Path, wanted: Wanted, id_column: str | None, member: str | None) -> NpyStream:
    """The rows of a .npy file."""
    return open_array(open_bytes(path), wanted, id_column)


def open_array(
    source: Bytes, wanted: Wanted, id_column: str | None, kind: str = ".npy array"
) -> NpyStream:
    """The rows of an array in .npy form. kind: what errors call the file."""
    with closed_on_error(source):
        if id_column is not None:
            raise DataError(f"{source.path} is an array, which has no column {id_column!r} for ids")
        return NpyStream(source, wanted, kind)


def read_npy(path: Path, member: str | None) -> Array:
    """The array in a .npy file, memory-mapped. Raises DataError unless it is rows of numbers."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # refuses objects, unpickles nothing
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # numpy raises many kinds for a damaged header
        raise unreadable(path, ".npy array", error) from None
    check_numbers(path, array.shape, array.dtype)
    return array


class NpyStream(Stream):
    """The rows of one array. Blocks are found by their rows, without positions."""

    id_name: str | None = None
    series: SeriesCut | None = None
    memory = 8 << 20

    def __init__(self, source: Bytes, wanted: Wanted, kind: str = ".npy array") -> None:
        self.path, self.fingerprint = source.path, source.fingerprint
        self.notes: list[str] = []
        self._source, self._wanted, self._is_member = source, wanted, kind == ".npz archive"
        shape, self._by_columns, self.dtype = _read_header(source, kind)
        self.rows: int | None = shape[0]
        self._rows = shape[0]
        self.row_shape = shape[1:]
        self._start = source.tell()
        self._row_bytes = math.prod(self.row_shape) * self.dtype.itemsize
        self._check(shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        wanted, source = self._wanted, self._source
        # For integers, only the shape is checked here: each block tells whether its values fit.
        dtype = wanted.port.dtype if wanted.exact or self.dtype.kind in "iu" else self.dtype
        with named(self.path):
            try:
                example = np.broadcast_to(np.zeros((), dtype), shape)
            except ValueError:
                raise DataError(f"an array of shape {shape} is larger than any file") from None
            is_steps = wanted.window is not None and len(shape) == 2
            checked(example, wanted.step if is_steps else wanted.port, wanted.what)
        end = self._start + self._rows * self._row_bytes
        if source.size is not None and source.size < end:
            raise InputFailed(
                f"{self.path} has {source.size} bytes, its header promises {end}; "
                "write or copy it again"
            )
        if self._by_columns and not source.seeks:
            raise DataError(
                f"{self.path} holds its array column after column, and cannot be read row by row; "
                "save it with np.save(..., np.ascontiguousarray(x))"
            )

    @property
    def is_steps(self) -> bool:
        """Whether rows are the time steps of a series."""
        return self._wanted.window is not None and len(self.row_shape) == 1

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks, each in an array of its own."""
        read = self._arrays_of_columns if self._by_columns else self._arrays
        for array in read(size, first):
            yield self._block(array, first)
            first += len(array)

    def unread(self, size: int, first: int = 0) -> Iterator[Unread] | None:
        """Blocks of an array whose rows lie one after the other in a file."""
        if self._by_columns or not self._source.has_places or not self._row_bytes:
            return None
        buffers = threading.local()  # an array for each thread, used again

        def read(low: int) -> Block:
            rows = min(size, self._rows - low)
            if not hasattr(buffers, "array"):
                buffers.array = np.empty((size, *self.row_shape), self.dtype)
            out: Array = buffers.array[:rows]
            position = self._start + low * self._row_bytes
            self._check_complete(self._source.read_at(_bytes_of(out), position), out, position)
            return self._block(out, low)

        return (Unread(low, partial(read, low)) for low in range(first, self._rows, size))

    def _block(self, array: Array, first: int) -> Block:
        if self._wanted.exact:
            return Block(first, (array,), 0)
        names = self._wanted.names if len(self.row_shape) == 1 else None
        port = self._wanted.step if self.is_steps else self._wanted.port
        bad = drop_infinite(array, first, names, {})
        with named(self.path):
            checked(array, port, self._wanted.what)
        return Block(first, (array,), 0, None, bad)

    def _arrays(self, size: int, first: int) -> Iterator[Array]:
        for low in range(first, self._rows, size):
            out = np.empty((min(size, self._rows - low), *self.row_shape), self.dtype)
            self._fill(out, self._start + low * self._row_bytes)
            yield out
        if self._is_member:
            self._source.read(1)  # zipfile checks the checksum at the end only

    def _arrays_of_columns(self, size: int, first: int) -> Iterator[Array]:
        """Blocks of an array in Fortran order; many are read at once, column by column."""
        fitting = max(_SUPER_BYTES // max(self._row_bytes, 1), 1)
        many = size * max(min(_COLUMN_BYTES // self.dtype.itemsize, fitting) // size, 1)
        for low in range(first, self._rows, many):
            rows = min(many, self._rows - low)
            out = np.empty((rows, *self.row_shape), self.dtype, order="F")
            for at, column in enumerate(out.T.reshape(-1, rows)):
                self._fill(column, self._start + (at * self._rows + low) * self.dtype.itemsize)
            for at in range(0, rows, size):
                yield np.ascontiguousarray(out[at : at + size])

    def _fill(self, out: Array, position: int) -> None:
        if not out.nbytes:
            return
        self._source.seek(position)
        self._check_complete(self._source.readinto(_bytes_of(out)), out, position)

    def _check_complete(self, count: int, out: Array, position: int) -> None:
        if count < out.nbytes:
            raise InputFailed(
                f"{self.path} ends at byte {position + count}, its header promises more; "
                "write or copy it again"
            )

    def close(self) -> None:
        self._source.close()


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read_header(source: Bytes, kind: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether it is in Fortran order, dtype) of an array of numbers."""
    path = source.path
    try:
        version = np.lib.format.read_magic(source)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"its version is {version}")
        form = np.lib.format
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, by_columns, dtype = read(source)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if any(size < 0 for size in shape):
            raise ValueError(f"its shape is {shape}")
    except (InputFailed, DataError, MemoryError):
        raise
    except Exception as error:  # numpy raises many kinds for a damaged header
        raise unreadable(path, kind, error) from None
    check_numbers(path, shape, dtype)
    # Rows of one number have no order, and numpy writes them as either.
    return shape, by_columns and len(shape) > 1 and max(shape[1:], default=1) > 1, dtype


def check_numbers(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise DataError unless an array of this shape is rows of numbers."""
    if dtype.kind not in "biuf":
        raise DataError(f"{path} holds {dtype} values; only numbers are taken")
    if len(shape) < 2:
        raise DataError(f"{path} has shape {shape}; rows need at least 2 axes (N, D)")


def unreadable(path: Path, kind: str, error: Exception) -> DataError:
    """The error for a damaged file, in one line."""
    return DataError(f"{path} is not a readable {kind}: {' '.join(str(error).split())}")
