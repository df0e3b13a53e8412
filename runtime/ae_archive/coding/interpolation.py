"""Whole numbers of which those between known ones are interpolated, in halved steps, coarse first.

As SZ3 does it (K. Zhao et al., "Optimizing error-bounded lossy compression for scientific data by
dynamic spline interpolation", ICDE 2021), but in whole numbers, which are the same on every
machine. What is known is what a reader will have: wanted numbers are met to within half a width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import lawfit
from ae_archive.coding.grid import repeated
from ae_archive.coding.integers import Integers, columns_of, pack, unpack
from ae_archive.coding.numbers import guess_rows, pack_rows, unpack_rows
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.stretch import LONG, cached
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
Places = tuple[slice, ...]
MAX_LEVELS = 24
_FAR = 1 << 57  # sums of what is interpolated stay below 2^63
_ALONE = 2048  # numbers of a stage, from which on it has a stream of its own
_STREAM_BITS = 1 / 256  # of each of many numbers, that a stream must save for the time it takes
_SMALL_SHARE = 64  # of all numbers, a part that a stream is too small for
_NEAR = 64  # numbers that are near each other
_TRIED = 1 << 15  # numbers of a stage, from which it is seen how these are interpolated


class Stage(NamedTuple):
    """Numbers at `told`, each between two of those at `known` along the axis."""

    axis: int
    known: Places
    told: Places

    def of(self, numbers: NDArray[Any], places: Places) -> NDArray[Any]:
        """A view of numbers (R, ...) at places, the axis first: of what is known, or told."""
        return np.moveaxis(numbers[places], self.axis, 0)


class Interpolated(NamedTuple):
    """How numbers are told.

    anchors: the first ones, in widths, every 2^levels along the axes. cubic, left: of each stage
    whether numbers lie on cubics or lines, and what these leave of them, in widths.
    """

    axes: tuple[int, ...]
    levels: int
    anchors: Integers
    cubic: list[bool]
    left: list[Integers]


def find(
    wanted: Floats, usable: NDArray[np.bool_], width: Integers, axes: tuple[int, ...], levels: int
) -> tuple[Interpolated, Integers]:
    """Of wanted (R, ...), and the whole numbers that a reader gets for it.

    usable: where it is wanted at all; elsewhere what costs nothing is taken. width (...): of the
    numbers of a row.
    """
    widths = np.broadcast_to(width, wanted.shape)
    found = np.zeros(wanted.shape, np.int64)
    places = _anchors(wanted.ndim, axes, levels)
    first = wanted[places]
    flat = np.rint(first / widths[places]).astype(np.int64).reshape(len(first), -1)
    anchors = repeated(flat, usable[places].reshape(flat.shape))
    found[places] = anchors.reshape(first.shape) * widths[places]
    cubic, left = [], []
    every = bool(usable.all())
    for stage in _stages(wanted.shape, axes, levels):
        known, told = stage.of(found, stage.known), stage.of(found, stage.told)
        to_tell, of, free = (stage.of(each, stage.told) for each in (wanted, widths, usable))
        smooth = _is_cubic(known, to_tell, of, free)
        whole = np.empty(to_tell.shape, np.int64)
        for part, between in _between(known, len(to_tell), smooth):
            r = np.rint((to_tell[part] - between) / of[part])
            if not (every and r.min() > -LIMIT and r.max() < LIMIT):
                r[~(free[part] & (np.abs(r) < LIMIT))] = 0
            whole[part] = r
            between += whole[part] * of[part]
            told[part] = between
        cubic.append(smooth)
        left.append(whole)
    return Interpolated(axes, levels, anchors, cubic, left), found


def likely(told: Interpolated) -> float:
    """Bits that the numbers take, about: as if magnitudes near each other were geometric."""
    bits = 0.0
    for numbers in (np.diff(told.anchors, axis=0, prepend=0), *told.left):
        flat = np.abs(numbers.reshape(-1))
        begins = np.arange(0, len(flat), _NEAR)
        counts = np.diff(begins, append=len(flat))
        mean = np.add.reduceat(flat, begins) / counts if len(flat) else np.zeros(0)
        each = (1 + mean) * np.log2(1 + mean) - mean * np.log2(np.maximum(mean, 1e-9))
        bits += float(((each + mean / (1 + mean)) * counts).sum())
    return bits


def guess(told: Interpolated, shape: tuple[int, ...], times: float) -> float:
    """The bytes of `dump`, about, and sooner, of so many times as many rows."""
    size = guess_rows(told.anchors, times)
    if not told.left:
        return size
    return size + times * float(_together(told.left, _columns(shape, told.axes))[1].min())


def dump(told: Interpolated, shape: tuple[int, ...]) -> bytes:
    """The bytes of what tells numbers (R, ...)."""
    columns = _columns(shape, told.axes)
    mask = sum(1 << axis for axis in told.axes)
    joined = _joined(told.left, columns)
    together = [left.reshape(-1) for left in told.left[:joined]]
    return join(
        [
            bytes([told.levels, joined]) + mask.to_bytes(2, "little"),
            np.packbits(np.array(told.cubic, np.bool_), bitorder="little").tobytes(),
            pack_rows(told.anchors),
            pack(np.concatenate(together), columns) if joined else b"",
            *(pack(left, columns) for left in told.left[joined:]),
        ]
    )


def load(raw: bytes, shape: tuple[int, ...], width: Integers) -> Integers:
    """The whole numbers (R, ...) that `find` gave. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, cubic, anchors, together = (parts.take() for _ in range(4))
    if len(head) != 4 or not 1 <= head[0] <= MAX_LEVELS:
        raise ArchiveCorrupt("interpolated numbers do not say how many levels there are")
    levels, joined, mask = head[0], head[1], int.from_bytes(head[2:], "little")
    axes = tuple(axis for axis in range(len(shape)) if mask >> axis & 1)
    stages = list(_stages(shape, axes, levels))
    if not axes or mask >> len(shape) or joined > len(stages):
        raise ArchiveCorrupt("interpolated numbers do not say along what")
    bits = np.unpackbits(np.frombuffer(cubic, np.uint8), bitorder="little")
    if len(bits) != -(-len(stages) // 8) * 8:
        raise ArchiveCorrupt("interpolated numbers do not say how")
    columns = _columns(shape, axes)
    widths = np.broadcast_to(width, shape)
    found = np.zeros(shape, np.int64)
    places = _anchors(len(shape), axes, levels)
    first = found[places]
    numbers = unpack_rows(anchors, len(first), first.size // len(first))
    first[...] = _below(numbers, LIMIT).reshape(first.shape) * widths[places]
    _below(first, _FAR)
    sizes = [stage.of(found, stage.told).size for stage in stages]
    stream = unpack(together, sum(sizes[:joined]), columns)
    for number, (stage, size) in enumerate(zip(stages, sizes, strict=True)):
        if number < joined:
            left, stream = stream[:size], stream[size:]
        else:
            left = unpack(parts.take(), size, columns)
        known, told = stage.of(found, stage.known), stage.of(found, stage.told)
        left, of = _below(left, LIMIT).reshape(told.shape), stage.of(widths, stage.told)
        for part, between in _between(known, len(told), bits[number]):
            between += left[part] * of[part]
            told[part] = _below(between, _FAR)
    parts.end()
    return found


def _anchors(dimensions: int, axes: tuple[int, ...], levels: int) -> Places:
    every = slice(None, None, 1 << levels)
    return tuple(every if axis in axes else slice(None) for axis in range(dimensions))


def _stages(shape: tuple[int, ...], axes: tuple[int, ...], levels: int) -> Iterator[Stage]:
    for level in reversed(range(levels)):
        stride = 1 << level
        places = [
            slice(None, None, 2 * stride if axis in axes else 1) for axis in range(len(shape))
        ]
        for axis in axes:
            if shape[axis] > stride:
                known = tuple(places)
                places[axis] = slice(stride, None, 2 * stride)
                yield Stage(axis, known, tuple(places))
            places[axis] = slice(None, None, stride)


def _between(known: Integers, count: int, cubic: bool) -> Iterator[tuple[slice, Integers]]:
    """`count` numbers along the first axis, each after one of the known, by those beside it.

    As many as are known, the last of which is repeated, or one less. A stretch at a time, which the
    processor's cache holds, and where it is.
    """
    inner = min(count, len(known) - 1)
    for told in cached(count, known[:1].size):
        begin, stop = told.start, told.stop
        end = min(stop, inner)
        found = np.empty((stop - begin, *known.shape[1:]), np.int64)
        part = found[: max(end - begin, 0)]
        found[len(part) :] = known[begin + len(part) : stop]
        np.add(known[begin:end], known[begin + 1 : end + 1], out=part)
        low, high = max(begin, 1), min(end, inner - 1)
        if cubic and low < high:
            inside = part[low - begin : high - begin]
            inside *= 9
            inside -= known[low - 1 : high - 1]
            inside -= known[low + 2 : high + 2]
            inside += 8
            inside >>= 4
            outside = [part[: low - begin], part[high - begin :]]
        else:
            outside = [part]
        for each in outside:
            each += 1
            each >>= 1
        yield told, found


def _is_cubic(known: Integers, told: Floats, width: Integers, usable: NDArray[np.bool_]) -> bool:
    """Whether cubics leave less than lines, of a stretch in the middle."""
    count = len(told)
    length = min(count, max(8, _TRIED * count // told.size))
    begin = (count - length) // 2
    some = slice(begin, begin + length)
    told, width, usable = told[some], width[some], usable[some]
    costs = [0.0, 0.0]
    for cubic in (False, True):
        for part, between in _between(known[begin : begin + length + 1], length, cubic):
            off = (told[part] - between) / width[part]
            costs[cubic] += float(np.log2(1 + np.abs(off[usable[part]])).sum())
    return costs[1] < costs[0]


def _columns(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Of a stage's stream: values of a row that are no neighbours have laws of their own."""
    return shape[-1] if len(shape) > 1 and len(shape) - 1 not in axes else 1


def _joined(left: list[Integers], columns: int) -> int:
    """How many of the first stages have a stream in common."""
    count = sum(each.size for each in left)
    if count <= LONG:
        return next((at for at, each in enumerate(left) if each.size >= _ALONE), len(left))
    begun, sizes = _together(left, columns)
    joined = begun + np.arange(len(sizes))
    return int(joined[np.argmin(8 * sizes + _STREAM_BITS * count * (len(left) - joined))])


def _together(left: list[Integers], columns: int) -> tuple[int, NDArray[np.float64]]:
    """How many of the first stages are too small for streams of their own.

    And the bytes of all, about, with 0, 1, ... more of them in one stream.
    """
    parts = [each.reshape(-1, columns_of(columns)) for each in left]
    sums = np.cumsum([each.size for each in left])
    begun = 1 + int(np.searchsorted(sums, sums[-1] / _SMALL_SHARE))
    return begun, lawfit.together([np.concatenate(parts[:begun]), *parts[begun:]])[1:]


def _below(numbers: Integers, limit: int) -> Integers:
    """The numbers. Raises ArchiveCorrupt where one is not below the limit."""
    if numbers.size and not -limit < int(numbers.min()) <= int(numbers.max()) < limit:
        raise ArchiveCorrupt(f"interpolated numbers lead beyond {limit:,}")
    return numbers
