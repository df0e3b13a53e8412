"""Whole numbers as bytes: by what their entropy is, by zlib, or as one repeated value."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import entropy
from ae_archive.coding.lawfit import plan
from ae_runtime.errors import ArchiveCorrupt, MissingExtra
from ae_runtime.extras import need

Integers = NDArray[np.int64]
# A stream is one byte, kind << 4 | width or lanes, and what the kind says. All are of the format:
# a number is never given another meaning.
CONSTANT, ZLIB, ENTROPY = 0, 1, 2
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
FEW = 4096  # numbers, of which zlib may take fewer bytes; of more it is slower only
_LARGE = 1 << 62


def pack(values: NDArray[Any], columns: int = 1) -> bytes:
    """The numbers, in C order, as the smallest of the streams above.

    columns: of the rows that they are, for numbers that are alike down a column.
    """
    flat = np.ascontiguousarray(values, np.int64).reshape(-1)
    if not len(flat):
        return b""
    low, high = int(flat.min()), int(flat.max())
    if low == high:
        width = _width(low, high)
        return bytes([CONSTANT << 4 | width]) + flat[:1].astype(_WIDTHS[width]).tobytes()
    streams: list[bytes] = []
    if max(-low, high) < _LARGE:
        rows = flat.reshape(-1, columns_of(columns))
        chosen = plan(rows)
        streams.append(bytes([ENTROPY << 4 | chosen.lanes]) + entropy.encode(rows, chosen))
    if not streams or len(flat) <= FEW:
        streams.append(repeats(flat))
    return min(streams, key=len)


def repeats(values: NDArray[Any]) -> bytes:
    """The numbers, in C order, by zlib, which finds stretches that were there before."""
    flat = np.ascontiguousarray(values, np.int64).reshape(-1)
    low, high = int(flat.min()), int(flat.max())
    width = _width(low, high)
    raw = zlib.compress(_planes(flat.astype(_WIDTHS[width])), 6)
    return bytes([ZLIB << 4 | width]) + raw


def unpack(stream: bytes, count: int, columns: int = 1) -> Integers:
    """`count` numbers of a stream, of rows of so many columns; no more memory than they ask for.

    Raises ArchiveCorrupt for a stream that does not hold so many.
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
        return inflated(stream[1:], count, np.dtype(_WIDTHS[low])).astype(np.int64)
    if kind == ENTROPY:
        width = columns_of(columns)
        return entropy.decode(stream[1:], count // width, width, low).reshape(-1)
    raise ArchiveCorrupt(f"a stream is of the unknown kind {stream[0]}")


def columns_of(columns: int) -> int:
    """How many columns are told apart."""
    return columns if columns <= entropy.MAX_COLUMNS else 1


def fill(found: NDArray[Any], raw: bytes) -> None:
    """Fill an array (N,) from a stream of pcodec that holds just as many.

    Raises ArchiveCorrupt, MissingExtra.
    """
    coder = need("pcodec.standalone", "archive")
    try:
        progress = coder.simple_decompress_into(raw, found)
    except (RuntimeError, TypeError) as error:
        raise ArchiveCorrupt(f"a stream of pcodec cannot be decoded ({error!s:.80})") from None
    if progress.n_processed != len(found) or not progress.finished:
        raise ArchiveCorrupt(f"a stream of pcodec does not hold {len(found):,} numbers")


def inflated(raw: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(count,) of what `deflate` made. Raises ArchiveCorrupt for more or fewer."""
    planes = np.frombuffer(_inflate(raw, count * dtype.itemsize), np.uint8)
    return np.ascontiguousarray(planes.reshape(dtype.itemsize, count).T).view(dtype).reshape(-1)


def _inflate(raw: bytes, size: int) -> bytes:
    """Exactly `size` bytes of a zlib stream. Raises ArchiveCorrupt for more or fewer."""
    decoder = zlib.decompressobj()
    try:
        found = decoder.decompress(raw, size) if size else b""
        whole = decoder.eof or not decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as error:
        raise ArchiveCorrupt(f"a stream of zlib cannot be decoded ({error!s:.80})") from None
    if len(found) != size or not (whole and decoder.eof) or decoder.unused_data:
        raise ArchiveCorrupt(f"a stream of zlib does not hold {size:,} bytes")
    return found


def deflate(raw: NDArray[Any]) -> bytes:
    """A zlib stream of an array's bytes, those of each place in its items together."""
    return zlib.compress(_planes(np.ascontiguousarray(raw).reshape(-1)), 6)


def _planes(flat: NDArray[Any]) -> bytes:
    return flat.view(np.uint8).reshape(len(flat), flat.itemsize).T.tobytes()


def by_pcodec(flat: NDArray[Any]) -> bytes | None:
    """A stream of pcodec that holds an array (N,), or None without it: zlib does its work there."""
    try:
        # Before 1.1 the package has no attribute of this name, only the module.
        package, coder = need("pcodec", "archive"), need("pcodec.standalone", "archive")
    except MissingExtra:
        return None
    return bytes(coder.simple_compress(flat, package.ChunkConfig()))


def _width(low: int, high: int) -> int:
    """Of the narrowest integers that hold both."""
    for at, name in enumerate(_WIDTHS[:-1]):
        limits = np.iinfo(name)
        if int(limits.min) <= low and high <= int(limits.max):
            return at
    return len(_WIDTHS) - 1
