"""Which linear predictor makes the numbers of a chunk smallest, found by least squares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import MANY, spread_blocks
from ae_archive.coding.integers import Integers
from ae_archive.coding.predictor import MAX_COLUMNS, Floats, Predictor

ORDERS = (0, 1, 2, 3, 4, 8, 16)
_CROSS_COLUMNS = 16  # at most: the weights of each column grow with all of them
_STRETCHES = 4  # of rows that are looked at
_SAMPLE, _ROUGHLY = 4096, 1024  # rows of a stretch
_TOGETHER = 1 << 19  # numbers of designs, about
_FRACTION_BITS = 12
_WEIGHT_BYTES = 2
_TAIL = 4096  # beyond it only the logarithm is looked at
_TRIED = 3  # of the least squares, what they leave is counted; roughly, the likeliest does
_SMALL = 1 / 64  # of a constant, which is left away
# Turns to least absolute error, until one takes away few bits; of many numbers more bits, and by
# one in so many rows, the last one by more. Then by all rows, with products as in that one.
_TURNS, _FEW_BITS, _THINNED, _CORRECTED = 6, (0.01, 0.06), (8, 4), 3
_LEAST = 0.5  # of an error, that counts
_PEAKED = 0.78  # mean / root mean square of what is left; .80 of a normal law, .71 of Laplace's


class _Choice(NamedTuple):
    """Weights of one column over places in the design, and what they are guessed to cost."""

    bytes: float
    order: int
    used: NDArray[np.int64]
    weights: Floats


class _Design:
    """Everything that a row can be predicted from, once for all columns.

    x (groups, rows, places): columns that tell each other are a group, each of many columns is one.
    A row of it is a one, the group's rows before (nearest first), then its row itself.
    """

    def __init__(self, q: Integers, order: int, size: int, sample: int) -> None:
        self.order, self.rows, self.columns = order, len(q), int(q.shape[1])
        self.size = size  # columns of a group
        pieces = [
            piece.reshape(len(piece), -1, size).swapaxes(0, 1) for piece in _stretches(q, sample)
        ]
        groups, rows = len(pieces[0]), pieces[0].shape[1] - order
        self.x: Floats = np.ones((groups, len(pieces) * rows, self.target(self.size)))
        for at, piece in enumerate(pieces):
            stretch = self.x[:, at * rows : (at + 1) * rows, 1:]
            for lag in range(order + 1):
                told = lag - 1 if lag else order
                stretch[:, :, told * self.size : (told + 1) * self.size] = piece[
                    :, order - lag : order - lag + rows
                ]
        self.products = self.x.swapaxes(1, 2) @ self.x

    def target(self, place: int) -> int:
        """Where the row itself has a column of a group."""
        return 1 + self.order * self.size + place

    def of(self, column: int) -> tuple[int, int]:
        """The group of a column, and where its row itself has it."""
        return column // self.size, self.target(column % self.size)

    def places(self, column: int, order: int, cross: bool) -> NDArray[np.int64]:
        """Of the ones, the rows before, and with `cross` those of all columns of the group."""
        lags, place = np.arange(order)[:, None] * self.size + 1, column % self.size
        if not cross:
            return np.concatenate([[0], (lags + place).ravel()])
        beside = self.target(0) + np.arange(place)
        return np.concatenate([[0], (lags + np.arange(self.size)).ravel(), beside])

    def likely(self, orders: list[int], cross: bool) -> Floats:
        """Bytes of each column, (orders, D), as if what least squares leave were of a normal law.

        What the largest order takes away is that of one place after another (Cholesky).
        """
        columns = [0] if cross else list(range(self.columns))
        used = np.stack([self.places(column, orders[-1], cross) for column in columns])
        groups, own = (np.array(each)[:, None] for each in zip(*map(self.of, columns), strict=True))
        if cross:
            own = own + np.arange(self.size)
        groups = groups[:, :, None]
        among, _ = _ridged(self.products[groups, used[:, :, None], used[:, None, :]])
        to_tell = self.products[groups, used[:, :, None], own[:, None, :]]
        taken = np.linalg.solve(np.linalg.cholesky(among), to_tell)
        whole, ridge = _ridged(self.products[groups, own[:, :, None], own[:, None, :]])
        ends = [1 + order * (self.size if cross else 1) for order in orders]
        left = np.stack([whole - taken[:, :end].swapaxes(1, 2) @ taken[:, :end] for end in ends])
        # Columns of the row itself, too, tell those after them.
        diagonal = np.diagonal(np.linalg.cholesky(left), axis1=-2, axis2=-1)
        variances = (np.square(diagonal) - ridge).reshape(len(orders), -1) / self.x.shape[1]
        # Of a grid as fine as the numbers'.
        bits = 0.5 * np.log2(np.maximum(variances, 0.0) + 1 / 12)
        sizes = np.array(ends)[:, None] + (np.arange(self.columns) if cross else 0)
        return np.asarray(bits / 8 * self.rows + _WEIGHT_BYTES * sizes)

    def weights(self, used: NDArray[np.int64], column: int) -> Floats:
        """Least squares."""
        group, target = self.of(column)
        products = self.products[group]
        return _solved(products[np.ix_(used, used)], products[used, target])

    def some(self, each: int) -> Floats:
        """Of x one in so many rows; not always the same, which would miss what has a period."""
        if each == 1:
            return self.x
        first = np.arange(0, self.x.shape[1] - each, each)
        return self.x[:, first + np.random.default_rng(0).integers(0, each, len(first))]

    def reweighted(
        self, choice: _Choice, column: int, some: Floats, more: Floats, few: float
    ) -> tuple[Floats, Floats] | None:
        """Nearer to least absolute error: what is left over is peaked, and costs its logarithm.

        By iteratively reweighted least squares of some rows, until a turn takes away few bits, and
        last of more of them; the weights, and the products as weighted last, of which the mean is
        one. None where it is not peaked.
        """
        count, (group, target) = len(choice.used), self.of(column)
        # Those of the largest order and all columns lie together: no copy of them is made.
        used = slice(count) if choice.used[-1] == count - 1 else choice.used
        x, y = some[group][:, used], some[group][:, target]
        weights, before = choice.weights, np.inf
        for _ in range(_TURNS):
            size = np.abs(y - x @ weights)
            if before == np.inf and size.mean() > _PEAKED * np.sqrt(np.mean(np.square(size))):
                return None
            bits = float(np.log2(1 + size).mean())
            if bits > before - few:
                break
            before = bits
            weights, _ = _once_reweighted(x, y, weights)
        return _once_reweighted(more[group][:, used], more[group][:, target], weights)

    def corrected(self, found: dict[int, tuple[_Choice, Floats]]) -> dict[int, _Choice]:
        """The choices of some columns, nearer still: by all rows, and products as they are."""
        of, choices = list(found), [choice for choice, _ in found.values()]
        better = {}
        for x, own, full, told in self._groups(of, choices):
            for _ in range(_CORRECTED):
                off = told - x @ full
                scale = 1 / np.maximum(np.abs(off), _LEAST)
                slope = x.T @ (off * scale) / scale.sum(axis=0)
                for place, at in enumerate(own):
                    used, products = choices[at].used, found[of[at]][1]
                    full[used, place] += _solved(products, slope[used, place])
            for place, at in enumerate(own):
                choice = choices[at]
                better[of[at]] = choice._replace(weights=full[choice.used, place])
        return better

    def costed(self, of: list[int], choices: list[_Choice]) -> list[_Choice]:
        """Choices of columns, in order, with what all rows take, by what they leave of some."""
        found = []
        for x, own, full, told in self._groups(of, choices):
            for at, left in zip(own, np.rint(told - x @ full).T, strict=True):
                size = _bytes(left, self.rows) + _WEIGHT_BYTES * len(choices[at].used)
                found.append(choices[at]._replace(bytes=size))
        return found

    def _groups(
        self, of: list[int], choices: list[_Choice]
    ) -> Iterator[tuple[Floats, list[int], Floats, Floats]]:
        """Of each group x, and which of the choices, for these columns, are its own.

        Of these the weights at all places, (places, own), and what they are to tell, (rows, own).
        """
        for group, x in enumerate(self.x):
            own = [at for at, column in enumerate(of) if self.of(column)[0] == group]
            full = np.zeros((x.shape[1], len(own)))
            for place, at in enumerate(own):
                full[choices[at].used, place] = choices[at].weights
            yield x, own, full, x[:, [self.of(of[at])[1] for at in own]]


def fit(q: Integers, roughly: bool = False) -> Predictor | None:
    """The predictor for q (R, D), or None where there are too many columns, or too few rows.

    roughly: sooner, and a little larger.
    """
    rows, columns = q.shape
    order = max((n for n in ORDERS if 8 * n < rows), default=0)
    if columns > MAX_COLUMNS or not order:
        return None
    size = columns if columns <= _CROSS_COLUMNS else 1
    sample, count = (_ROUGHLY, 1) if roughly else (_SAMPLE, _TRIED)
    together = max(size, _TOGETHER // (min(rows, _STRETCHES * sample) * (order + 2)))
    chosen: list[_Choice] = []
    for first in range(0, columns, together):
        design = _Design(q[:, first : first + together], order, size, sample)
        best = _chosen(design, count)
        chosen += best if roughly else _reweighted(design, best, q.size > MANY)
    return _put_together(chosen, order, size)


def _chosen(design: _Design, count: int) -> list[_Choice]:
    """For each column the cheapest of the least squares."""
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
    found = design.costed(places, tried)
    return [
        min(found[at : at + len(found) // columns], key=lambda choice: choice.bytes)
        for at in range(0, len(found), len(found) // columns)
    ]


def _reweighted(design: _Design, chosen: list[_Choice], thin: bool) -> list[_Choice]:
    found = {}
    some, more = (design.some(each if thin else 1) for each in _THINNED)
    for column, choice in enumerate(chosen):
        nearer = design.reweighted(choice, column, some, more, _FEW_BITS[thin])
        if nearer is not None:
            found[column] = choice._replace(weights=nearer[0]), nearer[1]
    best = list(chosen)
    for tried in ({at: choice for at, (choice, _) in found.items()}, design.corrected(found)):
        for at, choice in zip(tried, design.costed(list(tried), list(tried.values())), strict=True):
            best[at] = min(choice, best[at], key=lambda choice: choice.bytes)
    return best


def _bytes(left: Floats, rows: int) -> float:
    """What `rows` numbers like these take, by their entropy."""
    every = np.bincount(np.clip(left + _TAIL, 0, 2 * _TAIL).astype(np.int64))
    counts = every[every > 0]
    bits = -float(np.log2(counts / len(left)) @ counts)
    bits += float(np.log2(np.maximum(np.abs(left) / _TAIL, 1)).sum())
    bits += 0.72 * len(counts)  # a sample looks less random than what it is of (Miller, 1955)
    return bits / 8 * rows / len(left)


def _put_together(choices: list[_Choice], longest: int, size: int) -> Predictor:
    """Of each column's choice, from designs of the longest order, in groups of so many columns."""
    columns, order = len(choices), max(choice.order for choice in choices)
    before = np.zeros((order, columns, columns))
    beside = np.zeros((columns, columns))
    constant = np.zeros(columns)
    shift: NDArray[np.int64] = np.zeros(columns, np.int64)
    for column, choice in enumerate(choices):
        full = np.zeros(1 + (longest + 1) * size)
        full[choice.used] = choice.weights
        full[0] *= abs(full[0]) > _SMALL
        largest = float(np.abs(full[1:]).max(initial=0))
        # As many bits as leave the largest weight in 16.
        shift[column] = min(_FRACTION_BITS, max(0, 14 - int(np.ceil(np.log2(max(largest, 1e-9))))))
        whole = np.clip(np.rint(full * 2.0 ** shift[column]), -32767, 32767)
        constant[column] = np.clip(np.rint(full[0] * 2.0 ** shift[column]), -(2**47), 2**47)
        first = column // size * size
        told = whole[1:].reshape(longest + 1, size)
        before[:, first : first + size, column] = told[:order][::-1]
        beside[first : first + size, column] = told[longest]
    return Predictor(order, before.reshape(-1, columns), beside, constant, shift)


def _stretches(x: Integers, length: int) -> list[Integers]:
    """Stretches of rows over all of x, together no more than are worth looking at."""
    return [x] if len(x) <= _STRETCHES * length else spread_blocks(x, _STRETCHES, length)


def _once_reweighted(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weights that tell y (n,) by x (n, k), after some; the products, of which the mean is one."""
    scale = np.sqrt(1 / np.maximum(np.abs(y - x @ weights), _LEAST))
    scaled = x * scale[:, None]
    products = scaled.T @ scaled
    weights = _solved(products, scaled.T @ (y * scale))
    return weights, products / np.square(scale).sum()


def _solved(products: Floats, sums: Floats) -> Floats:
    """The weights (n,) of least squares, by products (n, n) and those with what is told (n,)."""
    ridged, _ = _ridged(products)
    return np.asarray(np.linalg.solve(ridged, sums), np.float64)


def _ridged(products: Floats) -> tuple[Floats, Floats]:
    """Products (..., n, n) with a touch of ridge, (..., n): columns may be constant, or equal."""
    ridge = np.asarray(1e-9 * np.diagonal(products, axis1=-2, axis2=-1) + 1e-9)
    return products + ridge[..., None] * np.eye(products.shape[-1]), ridge
