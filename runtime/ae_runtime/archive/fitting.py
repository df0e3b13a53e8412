"""Which linear predictor makes the numbers of a chunk smallest, found by least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive.integers import Integers
from ae_runtime.archive.predictor import MAX_COLUMNS, Floats, Predictor

ORDERS = (0, 1, 2, 3, 4, 8, 16)
_CROSS_COLUMNS = 16  # at most: the weights of each column grow with all of them
_SAMPLE = (4, 4096)  # stretches of rows that are looked at
_FRACTION_BITS = 12
_WEIGHT_BYTES = 2
_TAIL = 4096  # beyond it only the logarithm is looked at
_TRIED = 3  # of the least squares, what they leave is counted
_SMALL = 1 / 64  # of a constant, which is left away
_REWEIGHTED = 4  # passes from least squares to least absolute error


class _Choice(NamedTuple):
    """Weights of one column over the columns of the design, and what they are guessed to cost."""

    bytes: float
    order: int
    used: NDArray[np.int64]  # places in the design
    weights: Floats


class _Design:
    """Everything that a row can be predicted from, once for all columns.

    A row of `x` is a one, the rows before (nearest first), then the row itself.
    """

    def __init__(self, q: Integers, order: int) -> None:
        self.order, self.columns = order, int(q.shape[1])
        parts = []
        for piece in _stretches(q):
            rows = len(piece) - order
            lags = [piece[order - lag : order - lag + rows] for lag in range(1, order + 1)]
            parts.append(np.hstack([np.ones((rows, 1)), *lags, piece[order:]]))
        self.x = np.concatenate(parts)
        self.products = self.x.T @ self.x

    def target(self, column: int) -> int:
        """The place of a column of the row itself."""
        return 1 + self.order * self.columns + column

    def places(self, column: int, order: int, cross: bool) -> NDArray[np.int64]:
        """Of the ones, the rows before, and with `cross` those of all columns."""
        lags = np.arange(order)[:, None] * self.columns + 1
        if not cross:
            return np.concatenate([[0], (lags + column).ravel()])
        beside = self.target(0) + np.arange(column)
        return np.concatenate([[0], (lags + np.arange(self.columns)).ravel(), beside])

    def choice(self, used: NDArray[np.int64], target: int, order: int, rows: int) -> _Choice:
        """Least squares, and bytes as if what is left were of a normal law."""
        sums = self.products[used, target]
        weights = _solved(self.products[np.ix_(used, used)], sums)
        left = float(self.products[target, target] - weights @ sums) / len(self.x)
        bits = 0.5 * np.log2(max(left, 0.0) + 1 / 12)  # and of a grid as fine as the numbers'
        return _Choice(bits / 8 * rows + _WEIGHT_BYTES * len(used), order, used, weights)

    def reweighted(self, used: NDArray[np.int64], target: int, start: Floats) -> Floats:
        """Nearer to least absolute error: what is left over is peaked, and costs its logarithm."""
        x, y, weights = self.x[:, used], self.x[:, target], start
        for _ in range(_REWEIGHTED):
            scaled = x / np.maximum(np.abs(y - x @ weights), 0.5)[:, None]
            weights = _solved(scaled.T @ x, scaled.T @ y)
        return weights


def fit(q: Integers) -> Predictor | None:
    """The predictor for q (R, D), or None where there are too many columns, or too few rows."""
    rows, columns = q.shape
    order = max((n for n in ORDERS if 8 * n < rows), default=0)
    if columns > MAX_COLUMNS or not order:
        return None
    design = _Design(q, order)
    return _put_together([_choose(design, at, rows) for at in range(columns)], columns, design)


def _choose(design: _Design, column: int, rows: int) -> _Choice:
    target = design.target(column)
    columns = design.columns
    cross = (False, True) if 1 < columns <= _CROSS_COLUMNS else (False,)
    tried = [
        design.choice(design.places(column, order, others), target, order, rows)
        for order in ORDERS
        for others in cross
        if order <= design.order and 8 * order * columns**others <= len(design.x)
    ]
    found = [
        one._replace(bytes=_cost(design, one.used, target, one.weights, rows))
        for one in sorted(tried, key=lambda choice: choice.bytes)[:_TRIED]
    ]
    best = min(found, key=lambda choice: choice.bytes)
    weights = design.reweighted(best.used, target, best.weights)
    cost = _cost(design, best.used, target, weights, rows)
    if cost < best.bytes:
        best = _Choice(cost, best.order, best.used, weights)
    return best


def _cost(
    design: _Design, used: NDArray[np.int64], target: int, weights: Floats, rows: int
) -> float:
    """Bytes of all rows, guessed from the entropy of what is left of those looked at."""
    left = np.rint(design.x[:, target] - design.x[:, used] @ weights)
    return _bytes(left, rows) + _WEIGHT_BYTES * len(used)


def _bytes(left: Floats, rows: int) -> float:
    """What `rows` numbers like these take, by their entropy."""
    every = np.bincount(np.clip(left + _TAIL, 0, 2 * _TAIL).astype(np.int64))
    counts = every[every > 0]
    bits = -float(np.log2(counts / len(left)) @ counts)
    bits += float(np.log2(np.maximum(np.abs(left) / _TAIL, 1)).sum())
    bits += 0.72 * len(counts)  # a sample looks less random than what it is of (Miller, 1955)
    return bits / 8 * rows / len(left)


def _put_together(choices: list[_Choice], columns: int, design: _Design) -> Predictor:
    order = max(choice.order for choice in choices)
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    constant = np.zeros(columns)
    shift: NDArray[np.int64] = np.zeros(columns, np.int64)
    for column, choice in enumerate(choices):
        full = np.zeros(design.target(columns))
        full[choice.used] = choice.weights
        full[0] *= abs(full[0]) > _SMALL
        largest = float(np.abs(full[1:]).max(initial=0))
        # As many bits as leave the largest weight in 16.
        shift[column] = min(_FRACTION_BITS, max(0, 14 - int(np.ceil(np.log2(max(largest, 1e-9))))))
        whole = np.clip(np.rint(full * 2.0 ** shift[column]), -32767, 32767)
        constant[column] = np.clip(np.rint(full[0] * 2.0 ** shift[column]), -(2**47), 2**47)
        lags = whole[1 : 1 + design.order * columns].reshape(design.order, columns)
        before[:, :, column] = lags[:order][::-1]
        beside[:, column] = whole[1 + design.order * columns :]
    return Predictor(order, before.reshape(-1, columns), beside, constant, shift)


def _stretches(x: Integers) -> list[Integers]:
    """Stretches of rows over all of x, together no more than are worth looking at."""
    count, length = _SAMPLE
    if len(x) <= count * length:
        return [x]
    return [x[at : at + length] for at in np.linspace(0, len(x) - length, count).astype(int)]


def _solved(products: Floats, sums: Floats) -> Floats:
    # A touch of ridge: columns may be constant, or equal.
    ridge = 1e-9 * float(np.trace(products)) / len(products) + 1e-9
    found = np.linalg.solve(products + ridge * np.eye(len(products)), sums)
    return np.asarray(found, np.float64)
