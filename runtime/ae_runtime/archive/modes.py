"""The ways a chunk of rows can be stored, each of which gives back what was promised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import integers
from ae_runtime.archive.grid import Grid, steps_of, to_grid, within
from ae_runtime.archive.integers import Integers, pack, unpack
from ae_runtime.archive.numbers import pack_rows, unpack_rows
from ae_runtime.archive.parts import Parts, join
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
Bound = NDArray[np.float64]  # (D,), or empty: every value comes back as it was

RAW, LOSSLESS, GRID = range(3)  # of the format, as are the names
NAMES = {RAW: "raw", LOSSLESS: "lossless", GRID: "grid"}
_ZLIB, _PCODEC = 0, 1  # of LOSSLESS
_SAMPLE_VALUES = 16384


def encode(x: Array, bound: Bound) -> tuple[int, bytes]:
    """(mode, payload) of x (R, D), the smallest; decoded once, and held against the bound."""
    found = []
    if _has_grid(x.dtype, bound):
        found.append((GRID, _grid(x, bound)))
    if not found or _guess_of_lossless(x) < 1.1 * len(found[0][1]):
        found.append((LOSSLESS, _lossless(x)))
    for mode, payload in sorted(found, key=lambda pair: len(pair[1])):
        if len(payload) >= x.nbytes:
            break
        if _keeps(decode(mode, payload, x.shape, x.dtype, bound), x, bound):
            return mode, payload
    return RAW, x.tobytes()


def decode(
    mode: int, payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any], bound: Bound
) -> Array:
    """The rows (R, D) of a payload. Raises ArchiveCorrupt, MissingExtra without pcodec."""
    rows, columns = shape
    if mode == RAW:
        if len(payload) != rows * columns * dtype.itemsize:
            raise ArchiveCorrupt("a raw chunk does not have the bytes of its rows")
        return np.frombuffer(payload, dtype).reshape(shape).copy()
    if mode == LOSSLESS:
        return _from_lossless(payload, shape, dtype)
    if mode == GRID and _has_grid(dtype, bound):
        return _from_grid(payload, shape, dtype, bound)
    raise ArchiveCorrupt(f"a chunk is stored in the unknown mode {mode}")


def _has_grid(dtype: np.dtype[Any], bound: Bound) -> bool:
    if dtype.kind == "f":
        return len(bound) > 0 and bool((bound > 0).all())
    return dtype.itemsize <= 4


def _keeps(found: Array, x: Array, bound: Bound) -> bool:
    """Whether every value is within the bound, or has the same bits."""
    same = found.view(f"u{x.itemsize}") == x.view(f"u{x.itemsize}")
    return bool((same | within(found, x, bound)).all() if len(bound) else same.all())


def _guess_of_lossless(x: Array) -> float:
    """Bytes, from a stretch in the middle: that way is slow, and seldom the smallest."""
    rows = max(1, _SAMPLE_VALUES // x.shape[1])
    if len(x) <= 2 * rows:
        return 0
    middle = (len(x) - rows) // 2
    return float(len(_lossless(x[middle : middle + rows])) * len(x) / rows)


def _lossless(x: Array) -> bytes:
    packed = bytes([_ZLIB]) + integers.deflate(x)
    coder = integers.pcodec()
    if coder is not None and x.dtype.itemsize > 1 and x.size:
        columns = np.ascontiguousarray(x.T).reshape(-1)
        raw = coder.standalone.simple_compress(columns, coder.ChunkConfig())
        packed = min(packed, bytes([_PCODEC]) + raw, key=len)
    return packed


def _from_lossless(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    rows, columns = shape
    if payload[:1] == bytes([_ZLIB]):
        return integers.inflated(payload[1:], rows * columns, dtype).reshape(shape)
    if payload[:1] != bytes([_PCODEC]):
        raise ArchiveCorrupt("a lossless chunk is of an unknown kind")
    found = np.empty(rows * columns, dtype)
    integers.fill(found, payload[1:])
    return np.ascontiguousarray(found.reshape(columns, rows).T)


def _grid(x: Array, bound: Bound) -> bytes:
    made = to_grid(x, bound if len(bound) else np.zeros(x.shape[1]))
    kept = x.reshape(-1)[made.exceptions]
    return join(
        [
            pack(made.grid.base),
            len(kept).to_bytes(4, "little"),
            pack(np.diff(made.exceptions, prepend=0)),
            integers.deflate(kept) if len(kept) else b"",
            pack_rows(made.q),
        ]
    )


def _from_grid(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any], bound: Bound) -> Array:
    rows, columns = shape
    parts = Parts(payload)
    base, count, places, kept, numbers = (parts.take() for _ in range(5))
    parts.end()
    step = steps_of(bound if len(bound) else np.zeros(columns), dtype)
    bases = unpack(base, columns)
    if len(bases) and int(np.abs(bases).max()) > 1 << 53:
        raise ArchiveCorrupt("a grid begins beyond 2^53")
    with np.errstate(over="ignore"):  # of hostile numbers only
        x = Grid(step, bases, dtype).values(unpack_rows(numbers, rows, columns))
    exceptions = int.from_bytes(count, "little")
    if len(count) != 4 or exceptions > rows * columns:
        raise ArchiveCorrupt("a chunk has more exceptions than values")
    at = _places(unpack(places, exceptions), rows * columns)
    if exceptions:
        x.reshape(-1)[at] = integers.inflated(kept, exceptions, dtype)
    elif kept:
        raise ArchiveCorrupt("a chunk without exceptions holds some")
    return x


def _places(steps: Integers, count: int) -> Integers:
    at = np.cumsum(steps)
    if len(at) and not ((steps[1:] > 0).all() and steps[0] >= 0 and (steps < count).all()):
        raise ArchiveCorrupt("exceptions do not lie one after another")
    if len(at) and int(at[-1]) >= count:
        raise ArchiveCorrupt("an exception lies outside of its chunk")
    return at
