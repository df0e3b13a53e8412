"""Which linear predictor makes the numbers of a chunk smallest, found by least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive.integers import Integers
from ae_runtime.archive.predictor import MAX_COLUMNS, Floats, Predictor
from ae_runtime.archive.stretch import LONG, spread

ORDERS = (0, 1, 2, 3, 4, 8, 16)
_CROSS_COLUMNS = 16  # at most: the weights of each column grow with all of them
_SAMPLE = (4, 4096)  # stretches of rows that are looked at
_FRACTION_BITS = 12
_WEIGHT_BYTES = 2
_TAIL = 4096  # beyond it only the logarithm is looked at
_TRIED = 3  # of the least squares, what they leave is counted
_SMALL = 1 / 64  # of a constant, which is left away
_REWEIGHTED = (8, 8, 4, 2)  # passes to least absolute error, of many numbers at one in so many rows
_PEAKED = 0.78  # mean / root mean square of what is left; .80 of a normal law, .71 of Laplace's


class _Choice(NamedTuple):
    """Weights of one column over places in the design, and what they are guessed to cost."""

    bytes: float
    order: int
    used: NDArray[np.int64]
    weights: Floats


class _Design:
    """Everything that a row can be predicted from, once for all columns.

    A row of `x` is a one, the rows before (nearest first), then the row itself.
    """

    def __init__(self, q: Integers, order: int) -> None:
        self.order, self.rows, self.columns = order, len(q), int(q.shape[1])
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

    def likely(self, order: int, cross: bool) -> Floats:
        """Bytes of each column (D,), as if what least squares leave were of a normal law."""
        own = self.target(0) + np.arange(self.columns)
        if cross:
            # What each is left with once it is told by all before it: Cholesky's diagonal.
            used = np.append(self.places(0, order, True), own)
            ridged, ridge = _ridged(self.products[np.ix_(used, used)])
            diagonal = np.diagonal(np.linalg.cholesky(ridged))
            left = np.square(diagonal[-self.columns :]) - ridge[-self.columns :]
            sizes = len(used) - self.columns + np.arange(self.columns)
        else:
            each = np.stack([self.places(column, order, False) for column in own - own[0]])
            sums = self.products[each, own[:, None]]
            ridged, _ = _ridged(self.products[each[:, :, None], each[:, None, :]])
            weights = np.linalg.solve(ridged, sums[..., None])[..., 0]
            left = self.products[own, own] - (weights * sums).sum(axis=1)
            sizes = np.full(self.columns, each.shape[1])
        # Of a grid as fine as the numbers'.
        bits = 0.5 * np.log2(np.maximum(left / len(self.x), 0.0) + 1 / 12)
        return np.asarray(bits / 8 * self.rows + _WEIGHT_BYTES * sizes)

    def weights(self, used: NDArray[np.int64], column: int) -> Floats:
        """Least squares."""
        ridged, _ = _ridged(self.products[np.ix_(used, used)])
        return np.linalg.solve(ridged, self.products[used, self.target(column)])

    def reweighted(self, choice: _Choice, column: int) -> Floats | None:
        """Nearer to least absolute error: what is left over is peaked, and costs its logarithm.

        None where it is not peaked.
        """
        weights, count = choice.weights, len(choice.used)
        # Those of the largest order and all columns lie together: no copy of them is made.
        used = slice(count) if choice.used[-1] == count - 1 else choice.used
        for turn, thinned in enumerate(_REWEIGHTED):
            rows = self.x[:: thinned if self.rows * self.columns > LONG else 1]
            x, y = rows[:, used], rows[:, self.target(column)]
            size = np.abs(y - x @ weights)
            if not turn and size.mean() > _PEAKED * np.sqrt(np.mean(np.square(size))):
                return None
            scale = np.sqrt(1 / np.maximum(size, 0.5))
            scaled = x * scale[:, None]
            ridged, _ = _ridged(scaled.T @ scaled)
            weights = np.linalg.solve(ridged, scaled.T @ (y * scale))
        return weights

    def costed(self, of: list[int], choices: list[_Choice]) -> list[_Choice]:
        """Choices of these columns with what all rows take, by what they leave of some."""
        full = np.zeros((self.x.shape[1], len(choices)))
        for at, choice in enumerate(choices):
            full[choice.used, at] = choice.weights
        left = np.rint(self.x[:, [self.target(column) for column in of]] - self.x @ full).T
        return [
            choice._replace(bytes=_bytes(each, self.rows) + _WEIGHT_BYTES * len(choice.used))
            for choice, each in zip(choices, left, strict=True)
        ]


def fit(q: Integers, roughly: bool = False) -> Predictor | None:
    """The predictor for q (R, D), or None where there are too many columns, or too few rows.

    roughly: sooner, and a little larger.
    """
    rows, columns = q.shape
    order = max((n for n in ORDERS if 8 * n < rows), default=0)
    if columns > MAX_COLUMNS or not order:
        return None
    design = _Design(q, order)
    chosen = _chosen(design)
    if not roughly:
        chosen = _reweighted(design, chosen)
    return _put_together(chosen, columns, design)


def _chosen(design: _Design) -> list[_Choice]:
    """For each column the cheapest of the least squares."""
    columns = design.columns
    kinds = [
        (order, cross)
        for order in ORDERS
        for cross in ((False, True) if 1 < columns <= _CROSS_COLUMNS else (False,))
        if order <= design.order and 8 * order * columns**cross <= len(design.x)
    ]
    likely = np.stack([design.likely(order, cross) for order, cross in kinds])
    places, tried = [], []
    for column in range(columns):
        for at in np.argsort(likely[:, column], kind="stable")[:_TRIED].tolist():
            order, cross = kinds[at]
            used = design.places(column, order, cross)
            places.append(column)
            tried.append(_Choice(0.0, order, used, design.weights(used, column)))
    found = design.costed(places, tried)
    return [
        min(found[at : at + len(found) // columns], key=lambda choice: choice.bytes)
        for at in range(0, len(found), len(found) // columns)
    ]


def _reweighted(design: _Design, chosen: list[_Choice]) -> list[_Choice]:
    best = list(chosen)
    weights = {at: design.reweighted(choice, at) for at, choice in enumerate(chosen)}
    tried = {at: chosen[at]._replace(weights=w) for at, w in weights.items() if w is not None}
    for at, choice in zip(tried, design.costed(list(tried), list(tried.values())), strict=True):
        best[at] = min(choice, chosen[at], key=lambda choice: choice.bytes)
    return best


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
    return spread(x, count, length)


def _ridged(products: Floats) -> tuple[Floats, Floats]:
    """Products (..., n, n) with a touch of ridge, (..., n): columns may be constant, or equal."""
    ridge = np.asarray(1e-9 * np.diagonal(products, axis1=-2, axis2=-1) + 1e-9)
    return products + ridge[..., None] * np.eye(products.shape[-1]), ridge
