"""Rows of whole numbers as bytes: predicted or differenced, whichever is smaller, then packed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ae_archive.coding import fitting, lattice, lawfit
from ae_archive.coding.integers import Integers, columns_of, pack, repeats, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT, MAX_COLUMNS, MAX_ORDER, Predictor
from ae_archive.coding.stretch import LONG
from ae_runtime.errors import ArchiveCorrupt

# How the numbers were made smaller, and the order in which they are stored. Of the format.
PLAIN, DOWN, ALONG, BOTH, LINEAR, DOWN_LINEAR = range(6)
BY_ROW, BY_COLUMN = range(2)
_SAMPLE_VALUES = 16384
_STRETCHES = ((8, 64), (64, 1))  # of columns, and how many are in each, for the two layouts
_CLOSE_BITS = 0.25  # of a number, by which a way may be better than another looks
_SPARSE_BITS = 4.0  # of a number, below which rows may repeat in ways that no law tells
_FEW = 16384  # numbers, of which weights may take more than they save
_LARGE = 1 << 40  # sums of what is left stay exact below
_OTHERS = 32  # added to an order: that of all columns
_WEIGHT = np.dtype("<i2")


class _Way(NamedTuple):
    """How rows may be stored, and how many bytes they are guessed to take."""

    bytes: float
    way: int
    layout: int = BY_ROW
    predictor: Predictor | None = None
    repeats: bool = False  # by zlib


_REPEATS = [_Way(0, PLAIN, layout, repeats=True) for layout in (BY_ROW, BY_COLUMN)]


def pack_rows(q: Integers) -> bytes:
    """The rows q (R, D), |q| < LIMIT, as the smallest of the ways above.

    Of long rows that are wide, as the one that is guessed to be the smallest.
    """
    few = q.shape[1] <= MAX_COLUMNS
    alike = q if few else q.reshape(-1, 1)
    places, kept = lattice.ranked(alike)
    places, points = places.reshape(q.shape), lattice.dump(kept, alike.shape[1])
    if few:
        predictor = fitting.fit(places)
        ways = [] if predictor is None else [_Way(0, LINEAR, predictor=predictor)]
        if predictor is None or q.size <= _FEW:
            ways.append(_guessed(places, (BY_ROW,)))
    else:
        ways = _of_wide(places)
        if q.size > LONG:
            ways = [min(ways + _sparse(places, ways), key=lambda way: way.bytes)]
    found = [_made(way, places, points) for way in ways]
    if not few and q.size <= LONG and 8 * min(map(len, found)) < _SPARSE_BITS * q.size:
        found += [_made(way, places, points) for way in _REPEATS]
    return min(found, key=len)


def guess_rows(q: Integers, times: float = 1.0) -> float:
    """The bytes of pack_rows, about, and sooner, of so many times as many rows."""
    if q.shape[1] > MAX_COLUMNS:
        ways = _of_wide(q)
        return times * min(way.bytes for way in ways + _sparse(q, ways))
    places, _ = lattice.ranked(q)
    predictor = fitting.fit(places, roughly=True)
    if predictor is None:
        return times * lawfit.guess(places)
    return times * lawfit.guess(predictor.residuals(places)) + len(_weights(predictor))


def _of_wide(q: Integers) -> list[_Way]:
    """Of rows of many columns, whose weights would be too many, two ways by laws."""
    ways = [_guessed(q, (BY_ROW, BY_COLUMN))]
    line = _differences(DOWN, q).reshape(-1, 1)
    # Differences of numbers may be twice as large as what a predictor restores.
    small = -LIMIT < int(line.min()) <= int(line.max()) < LIMIT
    predictor = fitting.fit(line) if small else None
    if predictor is not None:
        part = line[max(0, len(line) - _SAMPLE_VALUES) // 2 :][:_SAMPLE_VALUES]
        share = lawfit.guess(predictor.residuals(part)) / len(part)
        size = share * q.size + len(_weights(predictor))
        ways.append(_Way(size, DOWN_LINEAR, predictor=predictor))
    return ways


def _sparse(q: Integers, ways: list[_Way]) -> list[_Way]:
    """The ways by zlib, guessed from some of the rows, where others take few bits."""
    if 8 * min(way.bytes for way in ways) >= _SPARSE_BITS * q.size:
        return []
    rows = max(1, _SAMPLE_VALUES * 2 // q.shape[1])
    part = q[max(0, len(q) - rows) // 2 :][:rows]
    sizes = [len(repeats(part if way.layout == BY_ROW else part.T)) for way in _REPEATS]
    return [
        way._replace(bytes=size * q.size / part.size)
        for way, size in zip(_REPEATS, sizes, strict=True)
    ]


def _guessed(q: Integers, layouts: tuple[int, ...]) -> _Way:
    """Without a predictor, by some of the numbers."""
    found = []
    for layout in layouts:
        some = {way: _some(q, way, layout) for way in (PLAIN, DOWN, ALONG, BOTH)}
        # The logarithm tells those that may be the smallest, of which the laws tell more.
        bits = {way: float(np.log2(1 + np.abs(r)).mean()) for way, r in some.items()}
        for way, r in some.items():
            if bits[way] <= min(bits.values()) + _CLOSE_BITS:
                numbers = (r if layout == BY_ROW else r.T).reshape(-1, columns_of(r.shape[1]))
                found.append(_Way(lawfit.guess(numbers) * q.size / r.size, way, layout))
    return min(found, key=lambda way: way.bytes)


def _some(q: Integers, way: int, layout: int) -> Integers:
    """Some of _differences(way, q), from the middle of the rows, in long stretches of a layout."""
    count, length = _STRETCHES[layout]
    columns = min(q.shape[1], count * length)
    rows = min(len(q), _SAMPLE_VALUES // columns)
    top = (len(q) - rows) // 2
    lefts = [0]
    if columns < q.shape[1]:
        lefts = np.linspace(0, q.shape[1] - length, count).astype(int).tolist()
    else:
        length = columns
    found = []
    for left in lefts:
        beside = q[max(top - 1, 0) : top + rows, max(left - 1, 0) : left + length]
        found.append(_differences(way, beside)[min(top, 1) :, min(left, 1) :])
    return np.hstack(found)


def unpack_rows(raw: bytes, rows: int, columns: int) -> Integers:
    """The rows q (R, D) as pack_rows had them. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, points, weights, stream = (parts.take() for _ in range(4))
    parts.end()
    if len(head) != 2 or head[0] > DOWN_LINEAR or head[1] > BY_COLUMN:
        raise ArchiveCorrupt(f"numbers are stored in the unknown way {head[:2].hex()!r}")
    way, layout = head
    if layout == BY_ROW:
        r = unpack(stream, rows * columns, columns).reshape(rows, columns)
    else:
        r = unpack(stream, rows * columns).reshape(columns, rows).T
    if rows * columns and not -_LARGE < int(r.min()) <= int(r.max()) < _LARGE:
        raise ArchiveCorrupt("a stream holds numbers beyond 2^40")
    if way == LINEAR:
        r = _predictor(weights, columns).restore(r)
    elif way == DOWN_LINEAR:
        r = _sums(DOWN, _predictor(weights, 1).restore(r.reshape(-1, 1)).reshape(rows, columns))
    elif weights:
        raise ArchiveCorrupt("there are weights, and nothing that they are of")
    else:
        r = _sums(way, r)
    if not points:
        return r
    shape = r.shape if columns <= MAX_COLUMNS else (-1, 1)
    return lattice.valued(r.reshape(shape), points).reshape(r.shape)


def _made(way: _Way, q: Integers, points: bytes) -> bytes:
    head, weights = bytes([way.way, way.layout]), b""
    if way.predictor is not None:
        weights = _weights(way.predictor)
        if way.way == LINEAR:
            r = way.predictor.residuals(q)
        else:
            line = _differences(DOWN, q).reshape(-1, 1)
            r = way.predictor.residuals(line).reshape(q.shape)
    else:
        r = _differences(way.way, q)
    if way.repeats:
        stream = repeats(r if way.layout == BY_ROW else r.T)
    else:
        stream = pack(r, r.shape[1]) if way.layout == BY_ROW else pack(r.T)
    return join([head, points, weights, stream])


def _differences(way: int, q: Integers) -> Integers:
    if way in (DOWN, BOTH):
        q = np.diff(q, axis=0, prepend=0)
    if way in (ALONG, BOTH):
        q = np.diff(q, axis=1, prepend=0)
    return q


def _sums(way: int, r: Integers) -> Integers:
    # Of hostile numbers a sum may wrap; that is seen below, or is a number like any other.
    if way in (ALONG, BOTH):
        r = np.cumsum(r, axis=1)
    if way in (DOWN, BOTH):
        r = np.cumsum(r, axis=0)
    if r.size and not (int(r.max()) < LIMIT and int(r.min()) > -LIMIT):
        raise ArchiveCorrupt("differences lead to numbers beyond 2^28")
    return r


def _weights(predictor: Predictor) -> bytes:
    """Of each column how many rows before it looks at, whether at all columns, and its weights."""
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
    """Raises ArchiveCorrupt for weights that do not fit the columns."""
    wrong = ArchiveCorrupt("the weights of a predictor do not fit the columns")
    begin = 1 + 2 * columns
    if columns > MAX_COLUMNS or len(raw) < begin or raw[0] > MAX_ORDER:
        raise wrong
    order = raw[0]
    first, shift = np.frombuffer(raw, np.uint8, 2 * columns, 1).astype(np.int64).reshape(2, columns)
    orders, others = first % _OTHERS, first >= _OTHERS
    sizes = np.where(others, orders * columns + np.arange(columns), orders)
    end = begin + 2 * int(sizes.sum())
    if (orders > order).any() or (first >= 2 * _OTHERS).any() or (shift > 14).any():
        raise wrong
    if end > len(raw):
        raise wrong
    weights = np.frombuffer(raw[begin:end], _WEIGHT).astype(np.float64)
    constant = unpack(raw[end:], columns)
    if not -(1 << 47) <= int(constant.min()) <= int(constant.max()) <= 1 << 47:
        raise wrong
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    at = 0
    for column in range(columns):
        n, all_ = int(orders[column]), bool(others[column])
        own = weights[at : at + n * (columns if all_ else 1)]
        if all_:
            before[order - n :, :, column] = own.reshape(n, columns)
            beside[:column, column] = weights[at + len(own) : at + len(own) + column]
        else:
            before[order - n :, column, column] = own
        at += int(sizes[column])
    constant_ = constant.astype(np.float64)
    return Predictor(order, before.reshape(-1, columns), beside, constant_, shift)
