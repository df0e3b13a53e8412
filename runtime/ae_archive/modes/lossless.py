"""Rows of which every bit is kept: by pcodec or zlib, whichever is smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import integers
from ae_archive.coding.stretch import spread
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
_ZLIB, _PCODEC, _WIDENED = range(3)  # of the format
_STRETCHES, _SAMPLE_VALUES = 4, 32768  # of rows, and in all of them


def pack(x: Array) -> bytes:
    """The rows x (R, D)."""
    packed = bytes([_ZLIB]) + integers.deflate(x)
    if x.size:
        columns, kind = np.ascontiguousarray(x.T).reshape(-1), _PCODEC
        if x.dtype.itemsize == 1:  # pcodec has no narrower integers
            columns, kind = columns.astype(_wide(x.dtype)), _WIDENED
        raw = integers.by_pcodec(columns)
        if raw is not None:
            packed = min(packed, bytes([kind]) + raw, key=len)
    return packed


def guess(x: Array) -> float:
    """Bytes, from some of the rows: `pack` is slow, and seldom the smallest."""
    length = max(1, _SAMPLE_VALUES // (_STRETCHES * x.shape[1]))
    if len(x) <= 2 * _STRETCHES * length:
        return 0
    part = np.concatenate(spread(x, _STRETCHES, length))
    return len(pack(part)) * x.size / part.size


def unpack(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    """The rows (R, D). Raises ArchiveCorrupt, MissingExtra without pcodec."""
    rows, columns = shape
    if payload[:1] == bytes([_ZLIB]):
        return integers.inflated(payload[1:], rows * columns, dtype).reshape(shape)
    widened = dtype.itemsize == 1
    if payload[:1] != bytes([_WIDENED if widened else _PCODEC]):
        raise ArchiveCorrupt("a lossless chunk is of an unknown kind")
    found = np.empty(rows * columns, _wide(dtype) if widened else dtype)
    integers.fill(found, payload[1:])
    if widened:
        narrow = found.astype(dtype)
        if (narrow != found).any():
            raise ArchiveCorrupt("a lossless chunk of bytes holds larger numbers")
        found = narrow
    return np.ascontiguousarray(found.reshape(columns, rows).T)


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Of 2 bytes, for a dtype of one."""
    return np.dtype(f"<{dtype.kind}2")
