"""Rows to a .npy file, byte for byte what numpy.save writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ae_runtime.files.writers.layout import Chunk, Layout, Writer


class NpyWriter(Writer):
    """A .npy file: a header, which numpy leaves room in for any number of rows, then the rows."""

    def __init__(self, file: BinaryIO, layout: Layout, fresh: bool) -> None:
        super().__init__(file, layout, fresh)
        if fresh:
            self._write_header(layout.rows or 0)

    def write(self, chunk: Chunk) -> None:
        write_all(self.file, np.ascontiguousarray(chunk.values))

    def finish(self, rows: int, stamp: Mapping[str, Any], part: Path, packed: Path) -> None:
        if rows != self.layout.rows:
            self.file.seek(0)
            self._write_header(rows)
            self.file.seek(0, os.SEEK_END)

    def _write_header(self, rows: int) -> None:
        write_header(self.file, (rows, *self.layout.row_shape), self.layout.dtype)


def write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The header of a .npy file with these rows; its length does not depend on how many."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def write_all(file: Any, raw: Any) -> None:
    """Write all bytes of a contiguous array or of bytes: an unbuffered file may take fewer."""
    if len(raw) == 0 or memoryview(raw).nbytes == 0:
        return
    left = memoryview(raw).cast("B")
    while left:
        left = left[file.write(left) :]
