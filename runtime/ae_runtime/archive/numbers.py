"""Rows of whole numbers as bytes: predicted or differenced, whichever is smaller, then packed."""

from __future__ import annotations

import numpy as np

from ae_runtime.archive import fitting, lattice, lawfit
from ae_runtime.archive.integers import Integers, columns_of, pack, repeats, unpack
from ae_runtime.archive.parts import Parts, join
from ae_runtime.archive.predictor import LIMIT, MAX_COLUMNS, MAX_ORDER, Predictor
from ae_runtime.errors import ArchiveCorrupt

# How the numbers were made smaller, and the order in which they are stored. Of the format.
PLAIN, DOWN, ALONG, BOTH, LINEAR, DOWN_LINEAR = range(6)
BY_ROW, BY_COLUMN = range(2)
_SAMPLE_VALUES = 16384
_STRETCHES = (8, 64)  # of columns, and how many are in each
_SPARSE_BITS = 2.0  # of a number, below which rows may repeat in ways that no law tells
_FEW = 16384  # numbers, of which weights may take more than they save
_LARGE = 1 << 40  # sums of what is left stay exact below
_OTHERS = 32  # added to an order: that of all columns
_WEIGHT = np.dtype("<i2")


def pack_rows(q: Integers) -> bytes:
    """The rows q (R, D), |q| < LIMIT, as the smallest of the ways above."""
    few = q.shape[1] <= MAX_COLUMNS
    places, points = lattice.ranked(q if few else q.reshape(-1, 1))
    places = places.reshape(q.shape)
    predictor = fitting.fit(places)
    found = []
    if predictor is not None:
        r = predictor.residuals(places)
        found.append(_stored(LINEAR, BY_ROW, r, points, _weights(predictor)))
    if predictor is None or q.size <= _FEW:
        way, layout = _guessed(places, (BY_ROW,) if few else (BY_ROW, BY_COLUMN))
        found.append(_stored(way, layout, _differences(way, places), points, b""))
    if not few:
        found += _of_wide(places, points, min(map(len, found)))
    return min(found, key=len)


def guess_rows(q: Integers) -> float:
    """The bytes of pack_rows, about, and sooner."""
    few = q.shape[1] <= MAX_COLUMNS
    line = lattice.ranked(q)[0] if few else _differences(DOWN, q).reshape(-1, 1)
    predictor = fitting.fit(line)
    if predictor is None:
        return len(pack_rows(q))
    size = lawfit.guess(predictor.residuals(line)) + len(_weights(predictor))
    if few:
        return size
    way, _ = _guessed(q, (BY_ROW,))
    size = min(size, lawfit.guess(_differences(way, q).reshape(-1, 1)))
    return size if 8 * size >= _SPARSE_BITS * q.size else len(pack_rows(q))


def _of_wide(q: Integers, points: bytes, smallest: int) -> list[bytes]:
    """Rows of many columns, whose weights would be too many, in two more ways."""
    found = []
    line = _differences(DOWN, q).reshape(-1, 1)
    predictor = fitting.fit(line)
    if predictor is not None:
        r = predictor.residuals(line).reshape(q.shape)
        found.append(_stored(DOWN_LINEAR, BY_ROW, r, points, _weights(predictor)))
        smallest = min(smallest, len(found[0]))
    if 8 * smallest < _SPARSE_BITS * q.size:
        for layout, turned in ((BY_ROW, q), (BY_COLUMN, q.T)):
            found.append(join([bytes([PLAIN, layout]), points, b"", repeats(turned)]))
    return found


def _guessed(q: Integers, layouts: tuple[int, ...]) -> tuple[int, int]:
    """(way, layout) without a predictor, by some of the first rows."""
    count, length = _STRETCHES
    sample = q
    if q.shape[1] > count * length:
        places = np.linspace(0, q.shape[1] - length, count).astype(int)
        sample = np.hstack([q[:, at : at + length] for at in places])
    sample = sample[: _SAMPLE_VALUES // sample.shape[1]]
    found = []
    for way in (PLAIN, DOWN, ALONG, BOTH):
        r = _differences(way, sample)
        for layout in layouts:
            rows = (r if layout == BY_ROW else r.T).reshape(-1, columns_of(r.shape[1]))
            found.append((lawfit.guess(rows), way, layout))
    _, way, layout = min(found)
    return way, layout


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


def _stored(way: int, layout: int, r: Integers, points: bytes, weights: bytes) -> bytes:
    stream = pack(r, r.shape[1]) if layout == BY_ROW else pack(r.T)
    return join([bytes([way, layout]), points, weights, stream])


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
