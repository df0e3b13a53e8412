"""Fit of linear predictors: the weights of each column that leave the smallest residuals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import MANY, spread_blocks
from ae_archive.coding.integers import Integers
from ae_archive.coding.predictor import MAX_COLUMNS, Floats, Predictor

ORDERS = (0, 1, 2, 3, 4, 8, 16)
_CROSS_COLUMNS = 16  # columns at most that predict each other: each has weights for all of them
_BLOCKS = 4  # blocks of rows in a sample
_SAMPLE, _ROUGH_SAMPLE = 4096, 1024  # rows of a block
_TOGETHER = 1 << 19  # numbers of a design, about
_FRACTION_BITS = 12  # bits of a weight below one
_WEIGHT_BYTES = 2
_TAIL = 4096  # magnitude of residuals, beyond which their logarithm alone is counted
_TRIED = 3  # likeliest choices of a column, whose residuals are counted
# Iterations to least absolute error, until one saves few bits of a number. With many numbers, until
# one saves more bits, by one in so many rows, and the last one by more rows.
_ITERATIONS, _FEW_BITS, _THINNED = 6, (0.01, 0.06), (8, 4)
_CORRECTIONS = 3  # iterations after these, by all rows
_LEAST = 0.5  # size of a residual, below which it weighs no more
_PEAKED = 0.78  # mean / root mean square of residuals; .80 of normal ones, .71 of Laplace's


class _Choice(NamedTuple):
    """Weights of one column over `used` places of a design, and their estimated bytes."""

    bytes: float
    order: int
    used: NDArray[np.int64]
    weights: Floats


class _Design:
    """Everything that rows can be predicted from, for all columns.

    x (groups, rows, places): columns that predict each other are one group; if there are too many
    for that, each is a group. Places of a row: a one, the group's rows before (nearest first), and
    the row itself.
    """

    def __init__(self, q: Integers, order: int, size: int, sample: int) -> None:
        self.order, self.rows, self.columns = order, len(q), int(q.shape[1])
        self.size = size  # columns of a group
        blocks = [q] if len(q) <= _BLOCKS * sample else spread_blocks(q, _BLOCKS, sample)
        by_group = [block.reshape(len(block), -1, size).swapaxes(0, 1) for block in blocks]
        groups, rows = len(by_group[0]), by_group[0].shape[1] - order
        self.x: Floats = np.ones((groups, len(blocks) * rows, self.target(self.size)))
        for at, block in enumerate(by_group):
            part = self.x[:, at * rows : (at + 1) * rows, 1:]
            for lag in range(order + 1):
                place = lag - 1 if lag else order
                part[:, :, place * self.size : (place + 1) * self.size] = block[
                    :, order - lag : order - lag + rows
                ]
        self.products = self.x.swapaxes(1, 2) @ self.x

    def target(self, column: int) -> int:
        """Place of a group's column in the row itself."""
        return 1 + self.order * self.size + column

    def of(self, column: int) -> tuple[int, int]:
        """Group of a column, and its place in the row itself."""
        return column // self.size, self.target(column % self.size)

    def places(self, column: int, order: int, cross: bool) -> NDArray[np.int64]:
        """Places that predict a column: the one, and its own in `order` rows before.

        With `cross`, those of all columns of the group, and those to its left in the row itself.
        """
        lags, own = np.arange(order)[:, None] * self.size + 1, column % self.size
        if not cross:
            return np.concatenate([[0], (lags + own).ravel()])
        beside = self.target(0) + np.arange(own)
        return np.concatenate([[0], (lags + np.arange(self.size)).ravel(), beside])

    def likely(self, orders: list[int], cross: bool) -> Floats:
        """Estimated bytes of each column, (orders, D), as if residuals were normal.

        One Cholesky factor, of the largest order, says what one place after another explains.
        """
        columns = [0] if cross else list(range(self.columns))
        used = np.stack([self.places(column, orders[-1], cross) for column in columns])
        groups, own = (np.array(each)[:, None] for each in zip(*map(self.of, columns), strict=True))
        if cross:
            own = own + np.arange(self.size)
        groups = groups[:, :, None]
        among, _ = _ridged(self.products[groups, used[:, :, None], used[:, None, :]])
        with_target = self.products[groups, used[:, :, None], own[:, None, :]]
        explained = np.linalg.solve(np.linalg.cholesky(among), with_target)
        total, ridge = _ridged(self.products[groups, own[:, :, None], own[:, None, :]])
        ends = [1 + order * (self.size if cross else 1) for order in orders]
        left = np.stack(
            [total - explained[:, :end].swapaxes(1, 2) @ explained[:, :end] for end in ends]
        )
        # Columns of the row itself explain those to their right, too.
        diagonal = np.diagonal(np.linalg.cholesky(left), axis1=-2, axis2=-1)
        variances = (np.square(diagonal) - ridge).reshape(len(orders), -1) / self.x.shape[1]
        # 1 / 12 is the variance that rounding to integers adds.
        bits = 0.5 * np.log2(np.maximum(variances, 0.0) + 1 / 12)
        sizes = np.array(ends)[:, None] + (np.arange(self.columns) if cross else 0)
        return np.asarray(bits / 8 * self.rows + _WEIGHT_BYTES * sizes)

    def weights(self, used: NDArray[np.int64], column: int) -> Floats:
        """Weights of a column by least squares, (places,)."""
        group, target = self.of(column)
        products = self.products[group]
        return _solved(products[np.ix_(used, used)], products[used, target])

    def thinned(self, each: int) -> Floats:
        """Rows of x, one in `each`, drawn at random: even steps would miss what has a period."""
        if each == 1:
            return self.x
        first = np.arange(0, self.x.shape[1] - each, each)
        return self.x[:, first + np.random.default_rng(0).integers(0, each, len(first))]

    def reweighted(
        self, choice: _Choice, column: int, some: Floats, more: Floats, few: float
    ) -> tuple[Floats, Floats] | None:
        """Weights of less absolute error, (places,), and the products of the last iteration.

        None where residuals are not peaked: those that are cost their logarithm. By iteratively
        reweighted least squares of some rows, until an iteration saves `few` bits, and of more
        rows in the end. The weights of rows in the products have a mean of one.
        """
        count, (group, target) = len(choice.used), self.of(column)
        # Places of the largest order and all columns lie together: no copy of them is made.
        used = slice(count) if choice.used[-1] == count - 1 else choice.used
        x, y = some[group][:, used], some[group][:, target]
        weights, before = choice.weights, np.inf
        for _ in range(_ITERATIONS):
            size = np.abs(y - x @ weights)
            if before == np.inf and size.mean() > _PEAKED * np.sqrt(np.mean(np.square(size))):
                return None
            bits = float(np.log2(1 + size).mean())
            if bits > before - few:
                break
            before = bits
            weights, _ = _once_reweighted(x, y, weights)
        return _once_reweighted(more[group][:, used], more[group][:, target], weights)

    def corrected(
        self, columns: list[int], choices: list[_Choice], products: list[Floats]
    ) -> list[_Choice]:
        """Choices for these columns, of less absolute error in all rows.

        products: of the iteration before, which are not computed again.
        """
        better = list(choices)
        for x, own, weights, targets in self._groups(columns, choices):
            for _ in range(_CORRECTIONS):
                residuals = targets - x @ weights
                scale = 1 / np.maximum(np.abs(residuals), _LEAST)
                slope = x.T @ (residuals * scale) / scale.sum(axis=0)
                for place, at in enumerate(own):
                    used = choices[at].used
                    weights[used, place] += _solved(products[at], slope[used, place])
            for place, at in enumerate(own):
                better[at] = choices[at]._replace(weights=weights[choices[at].used, place])
        return better

    def estimated(self, columns: list[int], choices: list[_Choice]) -> list[_Choice]:
        """Choices for these columns, with the estimated bytes of all rows."""
        estimated = list(choices)
        for x, own, weights, targets in self._groups(columns, choices):
            for at, residuals in zip(own, np.rint(targets - x @ weights).T, strict=True):
                size = _bytes(residuals, self.rows) + _WEIGHT_BYTES * len(choices[at].used)
                estimated[at] = choices[at]._replace(bytes=size)
        return estimated

    def _groups(
        self, columns: list[int], choices: list[_Choice]
    ) -> Iterator[tuple[Floats, list[int], Floats, Floats]]:
        """Rows x of each group, and which of the choices are for its columns.

        With their weights at all places, (places, own), and their targets, (rows, own).
        """
        for group, x in enumerate(self.x):
            own = [at for at, column in enumerate(columns) if self.of(column)[0] == group]
            weights = np.zeros((x.shape[1], len(own)))
            for place, at in enumerate(own):
                weights[choices[at].used, place] = choices[at].weights
            yield x, own, weights, x[:, [self.of(columns[at])[1] for at in own]]


def fit(q: Integers, roughly: bool = False) -> Predictor | None:
    """Predictor of q (R, D); None where there are too many columns, or too few rows.

    roughly: sooner, with residuals a little larger.
    """
    rows, columns = q.shape
    order = max((n for n in ORDERS if 8 * n < rows), default=0)
    if columns > MAX_COLUMNS or not order:
        return None
    size = columns if columns <= _CROSS_COLUMNS else 1
    sample, count = (_ROUGH_SAMPLE, 1) if roughly else (_SAMPLE, _TRIED)
    together = max(size, _TOGETHER // (min(rows, _BLOCKS * sample) * (order + 2)))
    choices: list[_Choice] = []
    for first in range(0, columns, together):
        design = _Design(q[:, first : first + together], order, size, sample)
        best = _chosen(design, count)
        choices += best if roughly else _reweighted(design, best, q.size > MANY)
    return _predictor(choices, order, size)


def _chosen(design: _Design, count: int) -> list[_Choice]:
    """Choice of each column by least squares: the smallest of the `count` likeliest."""
    columns, rows = design.columns, design.x.shape[1]
    kinds, likely = [], []
    for cross in (False, True) if design.size > 1 else (False,):
        each = design.size if cross else 1
        orders = [n for n in ORDERS if n <= design.order and 8 * n * each <= rows]
        kinds += [(order, cross) for order in orders]
        likely.append(design.likely(orders, cross))
    bytes_of = np.concatenate(likely)
    places, tried = [], []
    for column in range(columns):
        for at in np.argsort(bytes_of[:, column], kind="stable")[:count].tolist():
            order, cross = kinds[at]
            used = design.places(column, order, cross)
            places.append(column)
            tried.append(_Choice(0.0, order, used, design.weights(used, column)))
    if count == 1:
        return tried
    estimated = design.estimated(places, tried)
    return [
        min(estimated[at : at + len(estimated) // columns], key=lambda choice: choice.bytes)
        for at in range(0, len(estimated), len(estimated) // columns)
    ]


def _reweighted(design: _Design, choices: list[_Choice], thin: bool) -> list[_Choice]:
    """Choices, with weights of less absolute error where these take fewer bytes."""
    some, more = (design.thinned(each if thin else 1) for each in _THINNED)
    columns: list[int] = []
    tried: list[_Choice] = []
    products: list[Floats] = []
    for column, choice in enumerate(choices):
        reweighted = design.reweighted(choice, column, some, more, _FEW_BITS[thin])
        if reweighted is not None:
            columns.append(column)
            tried.append(choice._replace(weights=reweighted[0]))
            products.append(reweighted[1])
    best = list(choices)
    for each in (tried, design.corrected(columns, tried, products)):
        for column, choice in zip(columns, design.estimated(columns, each), strict=True):
            best[column] = min(choice, best[column], key=lambda choice: choice.bytes)
    return best


def _bytes(residuals: Floats, rows: int) -> float:
    """Estimated bytes of `rows` numbers like the residuals (n,), by their entropy."""
    every = np.bincount(np.clip(residuals + _TAIL, 0, 2 * _TAIL).astype(np.int64))
    counts = every[every > 0]
    bits = -float(np.log2(counts / len(residuals)) @ counts)
    bits += float(np.log2(np.maximum(np.abs(residuals) / _TAIL, 1)).sum())
    bits += 0.72 * len(counts)  # a sample looks less random than all rows do (Miller, 1955)
    return bits / 8 * rows / len(residuals)


def _predictor(choices: list[_Choice], longest: int, size: int) -> Predictor:
    """Predictor of each column's choice, from designs of the longest order and groups of `size`."""
    columns, order = len(choices), max(choice.order for choice in choices)
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    constant = np.zeros(columns)
    shift: NDArray[np.int64] = np.zeros(columns, np.int64)
    for column, choice in enumerate(choices):
        full = np.zeros(1 + (longest + 1) * size)
        full[choice.used] = choice.weights
        largest = float(np.abs(full[1:]).max(initial=0))
        # As many bits as leave the largest weight in 16.
        shift[column] = min(_FRACTION_BITS, max(0, 14 - int(np.ceil(np.log2(max(largest, 1e-9))))))
        rounded = np.clip(np.rint(full * 2.0 ** shift[column]), -32767, 32767)
        constant[column] = np.clip(np.rint(full[0] * 2.0 ** shift[column]), -(2**47), 2**47)
        first = column // size * size
        by_lag = rounded[1:].reshape(longest + 1, size)
        before[:, first : first + size, column] = by_lag[:order][::-1]
        beside[first : first + size, column] = by_lag[longest]
    return Predictor(order, before.reshape(-1, columns), beside, constant, shift)


def _once_reweighted(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weights (k,) that predict y (n,) from x (n, k), one iteration on; and their products (k, k).

    The weights of rows in the products have a mean of one.
    """
    scale = np.sqrt(1 / np.maximum(np.abs(y - x @ weights), _LEAST))
    scaled = x * scale[:, None]
    products = scaled.T @ scaled
    return _solved(products, scaled.T @ (y * scale)), products / np.square(scale).sum()


def _solved(products: Floats, sums: Floats) -> Floats:
    """Weights (n,) of least squares, by products (n, n) and those with the target, (n,)."""
    ridged, _ = _ridged(products)
    return np.asarray(np.linalg.solve(ridged, sums), np.float64)


def _ridged(products: Floats) -> tuple[Floats, Floats]:
    """Products (..., n, n) with a small ridge, (..., n): columns may be constant, or equal."""
    ridge = np.asarray(1e-9 * np.diagonal(products, axis1=-2, axis2=-1) + 1e-9)
    return products + ridge[..., None] * np.eye(products.shape[-1]), ridge
