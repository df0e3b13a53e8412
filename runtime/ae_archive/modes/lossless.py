"""Chunks that keep every bit: by pcodec or zlib, whichever is smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import spread_blocks
from ae_archive.coding.integers import deflate, inflate
from ae_runtime.errors import ArchiveCorrupt, MissingExtra
from ae_runtime.extras import need

Array = NDArray[Any]
_ZLIB, _PCODEC, _WIDENED = range(3)  # first byte of a payload; part of the format
_BLOCKS, _SAMPLE_VALUES = 4, 32768  # blocks of a sample, and values in all of them


def pack(x: Array) -> bytes:
    """Payload of the rows x (R, D)."""
    packed = bytes([_ZLIB]) + deflate(x)
    if x.size:
        columns, kind = np.ascontiguousarray(x.T).reshape(-1), _PCODEC
        if x.dtype.itemsize == 1:  # pcodec has no narrower integers
            columns, kind = columns.astype(_wide(x.dtype)), _WIDENED
        raw = _by_pcodec(columns)
        if raw is not None:
            packed = min(packed, bytes([kind]) + raw, key=len)
    return packed


def estimate(x: Array) -> float:
    """Estimated bytes of `pack`, by a sample of the rows: it is slow, and seldom the smallest."""
    length = max(1, _SAMPLE_VALUES // (_BLOCKS * x.shape[1]))
    if len(x) <= 2 * _BLOCKS * length:
        return 0
    sample = np.concatenate(spread_blocks(x, _BLOCKS, length))
    return len(pack(sample)) * x.size / sample.size


def unpack(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    """Rows (R, D) of a payload. Raises ArchiveCorrupt, MissingExtra without pcodec."""
    rows, columns = shape
    if payload[:1] == bytes([_ZLIB]):
        return inflate(payload[1:], rows * columns, dtype).reshape(shape)
    widened = dtype.itemsize == 1
    if payload[:1] != bytes([_WIDENED if widened else _PCODEC]):
        raise ArchiveCorrupt("a lossless chunk is of an unknown kind")
    values = np.empty(rows * columns, _wide(dtype) if widened else dtype)
    _fill_by_pcodec(values, payload[1:])
    if widened:
        narrow = values.astype(dtype)
        if (narrow != values).any():
            raise ArchiveCorrupt("a lossless chunk of bytes holds larger numbers")
        values = narrow
    return np.ascontiguousarray(values.reshape(columns, rows).T)


def _by_pcodec(values: Array) -> bytes | None:
    """Stream of pcodec that holds values (N,), or None without it: zlib does its work then."""
    try:
        # Before 1.1 the package has no attribute of this name, only the module.
        package, coder = need("pcodec", "archive"), need("pcodec.standalone", "archive")
    except MissingExtra:
        return None
    return bytes(coder.simple_compress(values, package.ChunkConfig()))


def _fill_by_pcodec(values: Array, raw: bytes) -> None:
    """Fill values (N,) from a stream of pcodec that holds as many.

    Raises ArchiveCorrupt, MissingExtra.
    """
    coder = need("pcodec.standalone", "archive")
    try:
        progress = coder.simple_decompress_into(raw, values)
    except (RuntimeError, TypeError) as error:
        raise ArchiveCorrupt(f"a stream of pcodec cannot be decoded ({error!s:.80})") from None
    if progress.n_processed != len(values) or not progress.finished:
        raise ArchiveCorrupt(f"a stream of pcodec does not hold {len(values):,} numbers")


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype of 2 bytes for integers of one."""
    return np.dtype(f"<{dtype.kind}2")
