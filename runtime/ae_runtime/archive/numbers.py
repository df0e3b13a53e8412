"""Rows of whole numbers as bytes: predicted or differenced, whichever is smaller, then packed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import fitting
from ae_runtime.archive.integers import Integers, pack, unpack
from ae_runtime.archive.parts import Parts, join
from ae_runtime.archive.predictor import LIMIT, MAX_COLUMNS, MAX_ORDER, Predictor
from ae_runtime.errors import ArchiveCorrupt

# How the numbers were made smaller; PLAIN leaves it to pcodec. All are of the format.
PLAIN, DOWN, ALONG, BOTH, LINEAR = range(5)
# Streams: one, row after row; one, column after column; or one a column.
BY_ROW, BY_COLUMN, EACH_COLUMN = range(3)
_SAMPLE_ROWS = 1024
_MAX_STREAMS = 256  # of more columns, each stream costs more than it saves
_WEIGHT = np.dtype("<i2")


def pack_rows(q: Integers) -> bytes:
    """The rows q (R, D), |q| < LIMIT, as the smallest of the ways above."""
    predictor = fitting.fit(q)
    if predictor is not None:
        return _stored(LINEAR, predictor.residuals(q), _weights(predictor))
    way = min((PLAIN, DOWN, ALONG, BOTH), key=lambda way: _guess(way, q))
    return _stored(way, _differences(way, q), b"")


def unpack_rows(raw: bytes, rows: int, columns: int) -> Integers:
    """The rows q (R, D) as pack_rows had them. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, weights = parts.take(), parts.take()
    if len(head) != 2 or head[0] > LINEAR or head[1] > EACH_COLUMN:
        raise ArchiveCorrupt(f"numbers are stored in the unknown way {head[:2].hex()!r}")
    way, layout = head
    if layout == EACH_COLUMN:
        r = np.empty((rows, columns), np.int64)
        for column in range(columns):
            r[:, column] = unpack(parts.take(), rows)
    else:
        flat = unpack(parts.take(), rows * columns)
        r = flat.reshape(rows, columns) if layout == BY_ROW else flat.reshape(columns, rows).T
    parts.end()
    if rows * columns and int(np.abs(r).max()) >= 1 << 40:  # sums of what is left stay exact
        raise ArchiveCorrupt("a stream holds numbers beyond 2^40")
    if way == LINEAR:
        return _predictor(weights, columns).restore(r)
    if weights:
        raise ArchiveCorrupt("there are weights, and nothing that they are of")
    return _sums(way, r)


def _stored(way: int, r: Integers, weights: bytes) -> bytes:
    found = {BY_ROW: [pack(r)], BY_COLUMN: [pack(r.T)]}
    if r.shape[1] <= _MAX_STREAMS:
        found[EACH_COLUMN] = [pack(column) for column in r.T]
    return min(
        (join([bytes([way, layout]), weights, *streams]) for layout, streams in found.items()),
        key=len,
    )


def _guess(way: int, q: Integers) -> int:
    r = _differences(way, q[:_SAMPLE_ROWS])
    return min(len(pack(r)), len(pack(r.T)))


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
    head = np.zeros((columns, 3), np.uint8)
    weights = []
    for column in range(columns):
        if predictor.plain[column]:
            head[column, 0] = 255
            continue
        own = before[:, :, column]  # (order, columns), the oldest first
        used = np.flatnonzero(own.any(axis=1))
        order = predictor.order - int(used[0]) if len(used) else 0
        others = np.delete(own, column, axis=1).any() or predictor.beside[:, column].any()
        head[column] = order, others, predictor.shift[column]
        own = own[predictor.order - order :]
        weights.append(own.ravel() if others else own[:, column])
        if others:
            weights.append(predictor.beside[:column, column])
    flat = np.concatenate(weights).astype(_WEIGHT)
    constant = predictor.constant.astype(np.int64)
    return join([bytes([predictor.order]), head.tobytes(), pack(constant), flat.tobytes()])


def _predictor(raw: bytes, columns: int) -> Predictor:
    """Raises ArchiveCorrupt for weights that do not fit the columns."""
    parts = Parts(raw)
    first, head, constants, flat = (parts.take() for _ in range(4))
    parts.end()
    wrong = ArchiveCorrupt("the weights of a predictor do not fit the columns")
    if columns > MAX_COLUMNS or len(first) != 1 or first[0] > MAX_ORDER or len(head) != 3 * columns:
        raise wrong
    order = first[0]
    constant = unpack(constants, columns)
    each = np.frombuffer(head, np.uint8).reshape(columns, 3).astype(np.int64)
    plain: NDArray[np.bool_] = each[:, 0] == 255
    orders, others, shift = np.where(plain[:, None], 0, each).T
    if (orders > order).any() or (others > 1).any() or (shift > 14).any() or len(flat) % 2:
        raise wrong
    if int(np.abs(constant).max()) > 1 << 47:
        raise wrong
    weights = np.frombuffer(flat, _WEIGHT).astype(np.float64)
    sizes = np.where(others == 1, orders * columns + np.arange(columns), orders)
    if int(sizes[~plain].sum()) != len(weights):
        raise wrong
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    at = 0
    for column in np.flatnonzero(~plain):
        n, all_ = int(orders[column]), bool(others[column])
        own = weights[at : at + n * (columns if all_ else 1)]
        if all_:
            before[order - n :, :, column] = own.reshape(n, columns)
            beside[:column, column] = weights[at + len(own) : at + len(own) + column]
        else:
            before[order - n :, column, column] = own
        at += int(sizes[column])
    constant_ = constant.astype(np.float64)
    return Predictor(order, before.reshape(-1, columns), beside, constant_, shift, plain)
