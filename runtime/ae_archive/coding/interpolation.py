"""Interpolated integers: those between known ones, in halved distances, coarse first.

As SZ3 does it (K. Zhao et al., "Optimizing error-bounded lossy compression for scientific data by
dynamic spline interpolation", ICDE 2021), but in integers, which are the same on every machine.
Known numbers are those that a reader will have: wanted numbers are met to within half a width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import distribution_fit
from ae_archive.coding.blocks import MANY, cache_blocks
from ae_archive.coding.grid import repeated
from ae_archive.coding.integers import Integers, modelled_columns, pack, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.row_coder import estimate_rows, pack_rows, unpack_rows
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
Places = tuple[slice, ...]
MAX_LEVELS = 24
_FAR = 1 << 57  # limit of interpolated numbers: their sums stay below 2^63
_ALONE = 2048  # numbers of a stage, from which on it has a stream of its own
_STREAM_BITS = 1 / 256  # bits of each of many numbers, that a stream must save for its time
_SMALL_SHARE = 64  # the smallest stages, one in so many of all numbers, share a stream
_NEAR = 64  # numbers that are near each other
_TRIED = 1 << 15  # numbers of a stage, from which lines or cubics are chosen


class Stage(NamedTuple):
    """Numbers at `between`, each between two of those at `known` along the axis."""

    axis: int
    known: Places
    between: Places

    def of(self, numbers: NDArray[Any], places: Places) -> NDArray[Any]:
        """View of numbers (R, ...) at places, the axis first."""
        return np.moveaxis(numbers[places], self.axis, 0)


class Interpolated(NamedTuple):
    """Numbers (R, ...) as they are stored.

    anchors: the first ones, in widths, every 2^levels along the axes. cubic, residuals: of each
    stage whether numbers lie on cubics or lines, and their distance from these, in widths.
    """

    axes: tuple[int, ...]
    levels: int
    anchors: Integers
    cubic: list[bool]
    residuals: list[Integers]


def interpolate(
    wanted: Floats, usable: NDArray[np.bool_], width: Integers, axes: tuple[int, ...], levels: int
) -> tuple[Interpolated, Integers]:
    """Interpolated numbers of wanted (R, ...), and the integers that a reader gets.

    usable: where wanted counts; elsewhere numbers are taken that cost nothing. width (...): of the
    numbers of a row.
    """
    widths = np.broadcast_to(width, wanted.shape)
    decoded = np.zeros(wanted.shape, np.int64)
    places = _anchors(wanted.ndim, axes, levels)
    first = wanted[places]
    flat = np.rint(first / widths[places]).astype(np.int64).reshape(len(first), -1)
    anchors = repeated(flat, usable[places].reshape(flat.shape))
    decoded[places] = anchors.reshape(first.shape) * widths[places]
    cubic, residuals = [], []
    all_usable = bool(usable.all())
    for stage in _stages(wanted.shape, axes, levels):
        known, between = stage.of(decoded, stage.known), stage.of(decoded, stage.between)
        target, of, free = (stage.of(each, stage.between) for each in (wanted, widths, usable))
        smooth = _is_cubic(known, target, of, free)
        left = np.empty(target.shape, np.int64)
        for part, predicted in _predicted(known, len(target), smooth):
            r = np.rint((target[part] - predicted) / of[part])
            if not (all_usable and r.min() > -LIMIT and r.max() < LIMIT):
                r[~(free[part] & (np.abs(r) < LIMIT))] = 0
            left[part] = r
            predicted += left[part] * of[part]
            between[part] = predicted
        cubic.append(smooth)
        residuals.append(left)
    return Interpolated(axes, levels, anchors, cubic, residuals), decoded


def estimate_bits(numbers: Interpolated) -> float:
    """Estimated bits of the numbers, as if magnitudes near each other were geometric."""
    bits = 0.0
    for stage in (np.diff(numbers.anchors, axis=0, prepend=0), *numbers.residuals):
        flat = np.abs(stage.reshape(-1))
        begins = np.arange(0, len(flat), _NEAR)
        counts = np.diff(begins, append=len(flat))
        mean = np.add.reduceat(flat, begins) / counts if len(flat) else np.zeros(0)
        each = (1 + mean) * np.log2(1 + mean) - mean * np.log2(np.maximum(mean, 1e-9))
        bits += float(((each + mean / (1 + mean)) * counts).sum())
    return bits


def estimate(numbers: Interpolated, shape: tuple[int, ...], times: float) -> float:
    """Estimated bytes of `dump` for `times` as many rows."""
    size = estimate_rows(numbers.anchors, times)
    if not numbers.residuals:
        return size
    joined = _estimate_joined(numbers.residuals, _columns(shape, numbers.axes))[1]
    return size + times * float(joined.min())


def dump(numbers: Interpolated, shape: tuple[int, ...]) -> bytes:
    """Bytes of interpolated numbers (R, ...)."""
    columns = _columns(shape, numbers.axes)
    mask = sum(1 << axis for axis in numbers.axes)
    joined = _joined(numbers.residuals, columns)
    first = [residuals.reshape(-1) for residuals in numbers.residuals[:joined]]
    return join(
        [
            bytes([numbers.levels, joined]) + mask.to_bytes(2, "little"),
            np.packbits(np.array(numbers.cubic, np.bool_), bitorder="little").tobytes(),
            pack_rows(numbers.anchors),
            pack(np.concatenate(first), columns) if joined else b"",
            *(pack(residuals, columns) for residuals in numbers.residuals[joined:]),
        ]
    )


def load(raw: bytes, shape: tuple[int, ...], width: Integers) -> Integers:
    """Integers (R, ...) that `interpolate` gave. Raises ArchiveCorrupt."""
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
    decoded = np.zeros(shape, np.int64)
    places = _anchors(len(shape), axes, levels)
    first = decoded[places]
    numbers = unpack_rows(anchors, len(first), first.size // len(first))
    first[...] = _below(numbers, LIMIT).reshape(first.shape) * widths[places]
    _below(first, _FAR)
    sizes = [stage.of(decoded, stage.between).size for stage in stages]
    stream = unpack(together, sum(sizes[:joined]), columns)
    for number, (stage, size) in enumerate(zip(stages, sizes, strict=True)):
        if number < joined:
            residuals, stream = stream[:size], stream[size:]
        else:
            residuals = unpack(parts.take(), size, columns)
        known, between = stage.of(decoded, stage.known), stage.of(decoded, stage.between)
        residuals, of = (
            _below(residuals, LIMIT).reshape(between.shape),
            stage.of(widths, stage.between),
        )
        for part, predicted in _predicted(known, len(between), bits[number]):
            predicted += residuals[part] * of[part]
            between[part] = _below(predicted, _FAR)
    parts.end()
    return decoded


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


def _predicted(known: Integers, count: int, cubic: bool) -> Iterator[tuple[slice, Integers]]:
    """Slice and predictions of a block of `count` numbers, each between two of the known.

    Numbers follow the known ones along the first axis: there are as many, the last of which is
    repeated, or one less. A block fits the processor's cache.
    """
    inner = min(count, len(known) - 1)
    for block in cache_blocks(count, known[:1].size):
        begin, stop = block.start, block.stop
        end = min(stop, inner)
        predicted = np.empty((stop - begin, *known.shape[1:]), np.int64)
        part = predicted[: max(end - begin, 0)]
        predicted[len(part) :] = known[begin + len(part) : stop]
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
        yield block, predicted


def _is_cubic(known: Integers, target: Floats, width: Integers, usable: NDArray[np.bool_]) -> bool:
    """Whether cubics are nearer to the target than lines, by a block in the middle."""
    count = len(target)
    length = min(count, max(8, _TRIED * count // target.size))
    begin = (count - length) // 2
    some = slice(begin, begin + length)
    target, width, usable = target[some], width[some], usable[some]
    costs = [0.0, 0.0]
    for cubic in (False, True):
        for part, predicted in _predicted(known[begin : begin + length + 1], length, cubic):
            off = (target[part] - predicted) / width[part]
            costs[cubic] += float(np.log2(1 + np.abs(off[usable[part]])).sum())
    return costs[1] < costs[0]


def _columns(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Columns of a stage's stream: values of a row that are no neighbours have own models."""
    return shape[-1] if len(shape) > 1 and len(shape) - 1 not in axes else 1


def _joined(residuals: list[Integers], columns: int) -> int:
    """Number of the first stages that have a stream in common."""
    count = sum(each.size for each in residuals)
    if count <= MANY:
        large = (at for at, each in enumerate(residuals) if each.size >= _ALONE)
        return next(large, len(residuals))
    begun, sizes = _estimate_joined(residuals, columns)
    joined = begun + np.arange(len(sizes))
    streams = len(residuals) - joined
    return int(joined[np.argmin(8 * sizes + _STREAM_BITS * count * streams)])


def _estimate_joined(residuals: list[Integers], columns: int) -> tuple[int, Floats]:
    """Number of the first stages that are too small for streams of their own.

    And the estimated bytes of all, with 0, 1, ... more of them in one stream.
    """
    parts = [each.reshape(-1, modelled_columns(columns)) for each in residuals]
    sums = np.cumsum([each.size for each in residuals])
    begun = 1 + int(np.searchsorted(sums, sums[-1] / _SMALL_SHARE))
    joined = [np.concatenate(parts[:begun]), *parts[begun:]]
    return begun, distribution_fit.estimate_joined(joined)[1:]


def _below(numbers: Integers, limit: int) -> Integers:
    """The numbers. Raises ArchiveCorrupt where one is not below the limit."""
    if numbers.size and not -limit < int(numbers.min()) <= int(numbers.max()) < limit:
        raise ArchiveCorrupt(f"interpolated numbers lead beyond {limit:,}")
    return numbers
