"""Row coder: rows of integers as bytes, predicted or differenced, whichever is smaller."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ae_archive.coding import distribution_fit, fitting, palette
from ae_archive.coding.blocks import MANY
from ae_archive.coding.integers import Integers, modelled_columns, pack, pack_repeats, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT, MAX_COLUMNS, MAX_ORDER, Predictor
from ae_runtime.errors import ArchiveCorrupt

# Transforms that make numbers smaller, and the order in which they are stored. Part of the format.
PLAIN, DOWN, ALONG, BOTH, LINEAR, DOWN_LINEAR = range(6)
BY_ROW, BY_COLUMN = range(2)
_SAMPLE_VALUES = 16384
_BLOCKS = ((8, 64), (64, 1))  # blocks of columns and columns of each, for the two layouts
_CLOSE_BITS = 0.25  # bits of a number, by which a transform may be better than another looks
_SPARSE_BITS = 4.0  # bits of a number, below which rows may repeat in ways that zlib finds
_FEW = 16384  # numbers, for which weights may take more than they save
_LARGE = 1 << 40  # limit of what is stored: its sums stay exact
_OTHERS = 32  # added to an order: weights for all columns
_WEIGHT = np.dtype("<i2")


class _Way(NamedTuple):
    """Way to store rows, and its estimated bytes. repeats: by zlib."""

    bytes: float
    transform: int
    layout: int = BY_ROW
    predictor: Predictor | None = None
    repeats: bool = False


_REPEATS = [_Way(0, PLAIN, layout, repeats=True) for layout in (BY_ROW, BY_COLUMN)]


def pack_rows(q: Integers) -> bytes:
    """Bytes of the rows q (R, D), |q| < LIMIT, in the smallest way.

    Many wide rows are stored in the way of the fewest estimated bytes.
    """
    few = q.shape[1] <= MAX_COLUMNS
    alike = q if few else q.reshape(-1, 1)
    ranks, palettes = palette.ranked(alike)
    ranks, points = ranks.reshape(q.shape), palette.dump(palettes, alike.shape[1])
    if few:
        predictor = fitting.fit(ranks)
        ways = [] if predictor is None else [_Way(0, LINEAR, predictor=predictor)]
        if predictor is None or q.size <= _FEW:
            ways.append(_without_predictor(ranks, (BY_ROW,)))
    else:
        ways = _wide_ways(ranks)
        if q.size > MANY:
            ways = [min(ways + _repeated_ways(ranks, ways), key=lambda way: way.bytes)]
    packed = [_packed(way, ranks, points) for way in ways]
    if not few and q.size <= MANY and 8 * min(map(len, packed)) < _SPARSE_BITS * q.size:
        packed += [_packed(way, ranks, points) for way in _REPEATS]
    return min(packed, key=len)


def estimate_rows(q: Integers, times: float = 1.0) -> float:
    """Estimated bytes of pack_rows for `times` as many rows, sooner."""
    if q.shape[1] > MAX_COLUMNS:
        ways = _wide_ways(q)
        return times * min(way.bytes for way in ways + _repeated_ways(q, ways))
    ranks, _ = palette.ranked(q)
    predictor = fitting.fit(ranks, roughly=True)
    if predictor is None:
        return times * distribution_fit.estimate(ranks)
    size = distribution_fit.estimate(predictor.residuals(ranks))
    return times * size + len(_weights(predictor))


def _wide_ways(q: Integers) -> list[_Way]:
    """Ways for rows of many columns, whose weights would be too many."""
    ways = [_without_predictor(q, (BY_ROW, BY_COLUMN))]
    line = _differences(DOWN, q).reshape(-1, 1)
    # Differences of numbers may be twice as large as what a predictor restores.
    small = -LIMIT < int(line.min()) <= int(line.max()) < LIMIT
    predictor = fitting.fit(line) if small else None
    if predictor is not None:
        part = line[max(0, len(line) - _SAMPLE_VALUES) // 2 :][:_SAMPLE_VALUES]
        share = distribution_fit.estimate(predictor.residuals(part)) / len(part)
        size = share * q.size + len(_weights(predictor))
        ways.append(_Way(size, DOWN_LINEAR, predictor=predictor))
    return ways


def _repeated_ways(q: Integers, ways: list[_Way]) -> list[_Way]:
    """Ways by zlib, estimated from some of the rows, where others take few bits."""
    if 8 * min(way.bytes for way in ways) >= _SPARSE_BITS * q.size:
        return []
    rows = max(1, _SAMPLE_VALUES * 2 // q.shape[1])
    part = q[max(0, len(q) - rows) // 2 :][:rows]
    sizes = [len(pack_repeats(part if way.layout == BY_ROW else part.T)) for way in _REPEATS]
    return [
        way._replace(bytes=size * q.size / part.size)
        for way, size in zip(_REPEATS, sizes, strict=True)
    ]


def _without_predictor(q: Integers, layouts: tuple[int, ...]) -> _Way:
    """Best way without a predictor, by a sample of the numbers."""
    ways = []
    for layout in layouts:
        samples = {way: _sample(q, way, layout) for way in (PLAIN, DOWN, ALONG, BOTH)}
        # The logarithm shows those that may be the smallest, of which the fit says more.
        bits = {way: float(np.log2(1 + np.abs(r)).mean()) for way, r in samples.items()}
        for way, r in samples.items():
            if bits[way] <= min(bits.values()) + _CLOSE_BITS:
                numbers = r if layout == BY_ROW else r.T
                numbers = numbers.reshape(-1, modelled_columns(r.shape[1]))
                size = distribution_fit.estimate(numbers) * q.size / r.size
                ways.append(_Way(size, way, layout))
    return min(ways, key=lambda way: way.bytes)


def _sample(q: Integers, transform: int, layout: int) -> Integers:
    """Some of _differences(transform, q), from the middle of the rows, in blocks of a layout."""
    count, length = _BLOCKS[layout]
    columns = min(q.shape[1], count * length)
    rows = min(len(q), _SAMPLE_VALUES // columns)
    top = (len(q) - rows) // 2
    lefts = [0]
    if columns < q.shape[1]:
        lefts = np.linspace(0, q.shape[1] - length, count).astype(int).tolist()
    else:
        length = columns
    blocks = []
    for left in lefts:
        beside = q[max(top - 1, 0) : top + rows, max(left - 1, 0) : left + length]
        blocks.append(_differences(transform, beside)[min(top, 1) :, min(left, 1) :])
    return np.hstack(blocks)


def unpack_rows(raw: bytes, rows: int, columns: int) -> Integers:
    """Rows q (R, D) of the bytes of pack_rows. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, points, weights, stream = (parts.take() for _ in range(4))
    parts.end()
    if len(head) != 2 or head[0] > DOWN_LINEAR or head[1] > BY_COLUMN:
        raise ArchiveCorrupt(f"numbers are stored in the unknown way {head[:2].hex()!r}")
    transform, layout = head
    if layout == BY_ROW:
        r = unpack(stream, rows * columns, columns).reshape(rows, columns)
    else:
        r = unpack(stream, rows * columns).reshape(columns, rows).T
    if rows * columns and not -_LARGE < int(r.min()) <= int(r.max()) < _LARGE:
        raise ArchiveCorrupt("a stream holds numbers beyond 2^40")
    if transform == LINEAR:
        r = _predictor(weights, columns).restore(r)
    elif transform == DOWN_LINEAR:
        r = _sums(DOWN, _predictor(weights, 1).restore(r.reshape(-1, 1)).reshape(rows, columns))
    elif weights:
        raise ArchiveCorrupt("there are weights, and nothing that they are of")
    else:
        r = _sums(transform, r)
    if not points:
        return r
    shape = r.shape if columns <= MAX_COLUMNS else (-1, 1)
    return palette.unranked(r.reshape(shape), points).reshape(r.shape)


def _packed(way: _Way, q: Integers, points: bytes) -> bytes:
    head, weights = bytes([way.transform, way.layout]), b""
    if way.predictor is None:
        r = _differences(way.transform, q)
    else:
        weights = _weights(way.predictor)
        if way.transform == LINEAR:
            r = way.predictor.residuals(q)
        else:
            line = _differences(DOWN, q).reshape(-1, 1)
            r = way.predictor.residuals(line).reshape(q.shape)
    if way.repeats:
        stream = pack_repeats(r if way.layout == BY_ROW else r.T)
    else:
        stream = pack(r, r.shape[1]) if way.layout == BY_ROW else pack(r.T)
    return join([head, points, weights, stream])


def _differences(transform: int, q: Integers) -> Integers:
    if transform in (DOWN, BOTH):
        q = np.diff(q, axis=0, prepend=0)
    if transform in (ALONG, BOTH):
        q = np.diff(q, axis=1, prepend=0)
    return q


def _sums(transform: int, r: Integers) -> Integers:
    # Hostile sums may wrap; that is seen below, or is a number like any other.
    if transform in (ALONG, BOTH):
        r = np.cumsum(r, axis=1)
    if transform in (DOWN, BOTH):
        r = np.cumsum(r, axis=0)
    if r.size and not (int(r.max()) < LIMIT and int(r.min()) > -LIMIT):
        raise ArchiveCorrupt("differences lead to numbers beyond 2^28")
    return r


def _weights(predictor: Predictor) -> bytes:
    """Bytes of the order, of each column's order and whether it uses all columns, and weights."""
    columns = len(predictor.shift)
    before = predictor.before.reshape(predictor.order, columns, columns)
    head = np.zeros((2, columns), np.uint8)
    weights = []
    for column in range(columns):
        own = before[:, :, column]  # (order, columns), the oldest first
        used = np.flatnonzero(own.any(axis=1))
        order = predictor.order - int(used[0]) if len(used) else 0
        others = np.delete(own, column, axis=1).any() or predictor.beside[:, column].any()
        head[:, column] = order + _OTHERS * bool(others), predictor.shift[column]
        own = own[predictor.order - order :]
        weights.append(own.ravel() if others else own[:, column])
        if others:
            weights.append(predictor.beside[:column, column])
    flat = np.concatenate(weights).astype(_WEIGHT)
    constant = predictor.constant.astype(np.int64)
    return bytes([predictor.order]) + head.tobytes() + flat.tobytes() + pack(constant)


def _predictor(raw: bytes, columns: int) -> Predictor:
    """Predictor of the bytes of _weights. Raises ArchiveCorrupt where they do not fit."""
    invalid = ArchiveCorrupt("the weights of a predictor do not fit the columns")
    begin = 1 + 2 * columns
    if columns > MAX_COLUMNS or len(raw) < begin or raw[0] > MAX_ORDER:
        raise invalid
    order = raw[0]
    first, shift = np.frombuffer(raw, np.uint8, 2 * columns, 1).astype(np.int64).reshape(2, columns)
    orders, others = first % _OTHERS, first >= _OTHERS
    sizes = np.where(others, orders * columns + np.arange(columns), orders)
    end = begin + 2 * int(sizes.sum())
    if (orders > order).any() or (first >= 2 * _OTHERS).any() or (shift > 14).any():
        raise invalid
    if end > len(raw):
        raise invalid
    weights = np.frombuffer(raw[begin:end], _WEIGHT).astype(np.float64)
    constant = unpack(raw[end:], columns)
    if not -(1 << 47) <= int(constant.min()) <= int(constant.max()) <= 1 << 47:
        raise invalid
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    at = 0
    for column in range(columns):
        n, size = int(orders[column]), int(sizes[column])
        own = weights[at : at + size]
        if others[column]:
            before[order - n :, :, column] = own[: n * columns].reshape(n, columns)
            beside[:column, column] = own[n * columns :]
        else:
            before[order - n :, column, column] = own
        at += size
    return Predictor(order, before.reshape(-1, columns), beside, constant.astype(np.float64), shift)
