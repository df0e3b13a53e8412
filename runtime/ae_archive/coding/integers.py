"""Integers as byte streams: one repeated number, zlib, or an entropy coder."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import entropy
from ae_archive.coding.distribution_fit import stream_head_of
from ae_runtime.errors import ArchiveCorrupt

Integers = NDArray[np.int64]
# First byte of a stream: kind << 4 | width, or log2 of the states. Part of the format: a number is
# never given another meaning.
CONSTANT, ZLIB, ENTROPY = 0, 1, 2
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
FEW = 4096  # numbers that zlib may store in fewer bytes; for more it is slower only
_LARGE = 1 << 62


def pack(values: NDArray[Any], columns: int = 1) -> bytes:
    """Smallest stream of integers in C order. columns: of their rows, which have own models."""
    flat = np.ascontiguousarray(values, np.int64).reshape(-1)
    if not len(flat):
        return b""
    low, high = int(flat.min()), int(flat.max())
    if low == high:
        width = _width(low, high)
        return bytes([CONSTANT << 4 | width]) + flat[:1].astype(_WIDTHS[width]).tobytes()
    streams: list[bytes] = []
    if max(-low, high) < _LARGE:
        rows = flat.reshape(-1, modelled_columns(columns))
        head = stream_head_of(rows)
        streams.append(bytes([ENTROPY << 4 | head.states_log2]) + entropy.encode(rows, head))
    if not streams or len(flat) <= FEW:
        streams.append(pack_repeats(flat))
    return min(streams, key=len)


def pack_repeats(values: NDArray[Any]) -> bytes:
    """Stream of integers in C order by zlib, which finds sequences that occurred before."""
    flat = np.ascontiguousarray(values, np.int64).reshape(-1)
    width = _width(int(flat.min()), int(flat.max()))
    return bytes([ZLIB << 4 | width]) + deflate(flat.astype(_WIDTHS[width]))


def unpack(stream: bytes, count: int, columns: int = 1) -> Integers:
    """Integers (count,) of a stream. columns: as in `pack`.

    Takes no more memory than these need. Raises ArchiveCorrupt where there are not `count`.
    """
    if not count:
        if stream:
            raise ArchiveCorrupt("a stream of no numbers holds bytes")
        return np.empty(0, np.int64)
    if not stream:
        raise ArchiveCorrupt(f"a stream of {count:,} numbers is empty")
    kind, low = stream[0] >> 4, stream[0] & 15
    if kind == CONSTANT and low < len(_WIDTHS):
        if len(stream) != 1 + (1 << low):
            raise ArchiveCorrupt(f"a repeated number does not have {1 << low} bytes")
        return np.full(count, int.from_bytes(stream[1:], "little", signed=True), np.int64)
    if kind == ZLIB and low < len(_WIDTHS):
        return inflate(stream[1:], count, np.dtype(_WIDTHS[low])).astype(np.int64)
    if kind == ENTROPY:
        width = modelled_columns(columns)
        return entropy.decode(stream[1:], count // width, width, low).reshape(-1)
    raise ArchiveCorrupt(f"a stream is of the unknown kind {stream[0]}")


def modelled_columns(columns: int) -> int:
    """Number of columns that have models of their own: all, or 1 where there are too many."""
    return columns if columns <= entropy.MAX_COLUMNS else 1


def deflate(values: NDArray[Any]) -> bytes:
    """Bytes of an array by zlib: the first byte of every item, then the second of every item..."""
    flat = np.ascontiguousarray(values).reshape(-1)
    planes = flat.view(np.uint8).reshape(len(flat), flat.itemsize).T
    return zlib.compress(planes.tobytes(), 6)


def inflate(raw: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values (count,) of what `deflate` gave. Raises ArchiveCorrupt for more or fewer."""
    size = count * dtype.itemsize
    decoder = zlib.decompressobj()
    try:
        planes = decoder.decompress(raw, size) if size else b""
        complete = decoder.eof or not decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as error:
        raise ArchiveCorrupt(f"a stream of zlib cannot be decoded ({error!s:.80})") from None
    if len(planes) != size or not (complete and decoder.eof) or decoder.unused_data:
        raise ArchiveCorrupt(f"a stream of zlib does not hold {size:,} bytes")
    by_item = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, count).T
    return np.ascontiguousarray(by_item).view(dtype).reshape(-1)


def _width(low: int, high: int) -> int:
    """Place in _WIDTHS of the narrowest integers that hold both."""
    for at, name in enumerate(_WIDTHS[:-1]):
        limits = np.iinfo(name)
        if int(limits.min) <= low and high <= int(limits.max):
            return at
    return len(_WIDTHS) - 1
