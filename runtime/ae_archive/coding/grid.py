"""Values as whole numbers on a grid, each within a bound of what it was on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.integers import Integers
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.stretch import abreast
from ae_runtime.errors import DataError

Array = NDArray[Any]
_EXACT = 1 << 53  # whole numbers up to here are exact in float64
_ABREAST = 256  # rows that are looked at side by side
# Of a step, in bounds. Twice the bound would leave values half way between two points outside of it
# once they are rounded to float32; each of these would be an exception, of 5 bytes and more.
_WIDTH = 2 * (1 - 2.0**-10)


@dataclass(frozen=True)
class Grid:
    """x = (q + base) * step, rounded once to float64, then to x's dtype.

    step: (D,) float64, larger than 0; whole numbers for integers. base: (D,) int64, so that q is
    small. dtype: of x, float32, float64 or an integer of at most 4 bytes.
    """

    step: NDArray[np.float64]
    base: Integers
    dtype: np.dtype[Any]

    def values(self, q: Integers) -> Array:
        """(R, D) in `dtype` of q (R, D): one product of exact numbers, the same bits everywhere."""
        x = np.empty(q.shape, self.dtype)
        for part, (base, step) in abreast(len(q), self.base, self.step):
            x[part].reshape(-1)[:] = _value(q[part].reshape(-1), base, step, self.dtype)
        return x


@dataclass(frozen=True)
class Gridded:
    """Rows on a grid. exceptions: places, in C order, of values that the grid does not hold.

    There q repeats the value above, which costs nothing, and x is kept as it was.
    """

    grid: Grid
    q: Integers
    exceptions: Integers


def steps_of(bound: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The widest steps (D,) whose points come within `bound` (D,) of every value.

    bound: absolute, in x's units, at least 0; 0 keeps integers as they are, of floats it has no
    grid. Raises DataError for a bound that no grid has.
    """
    if not (np.isfinite(bound) & (bound >= 0)).all():
        raise DataError(f"an error bound must be a number of at least 0, found {bound.min()}")
    if dtype.kind != "f":
        # Of more, every value is the same point, and the products stay exact.
        whole: NDArray[np.float64] = 2 * np.floor(np.minimum(bound, 2.0**32)) + 1
        return whole
    if not bound.all():
        raise DataError("an error bound of 0 has no grid for floats")
    return _WIDTH * bound


def grid_of(x: Array, bound: NDArray[np.float64]) -> Grid:
    """The widest grid for the rows x (R, D) within `bound` (D,)."""
    step = steps_of(bound, x.dtype)
    return Grid(step, _bases(x, step), x.dtype)


def to_grid(
    x: Array,
    bound: NDArray[np.float64],
    exact: NDArray[np.bool_] | None = None,
    grid: Grid | None = None,
) -> Gridded:
    """The rows x (R, D) on the widest grid within `bound` (D,), taken back and checked.

    exact (D,): columns whose values must be points of the grid, bit for bit. NaN, infinite
    values, and those that rounding leaves outside of the bound are exceptions. grid: where it is
    known, of more rows.
    """
    grid = grid or grid_of(x, bound)
    q, usable = np.empty(x.shape, np.int64), np.empty(x.shape, np.bool_)
    kept = np.zeros(x.shape[1], np.bool_) if exact is None else exact
    for part, of_columns in abreast(len(x), grid.step, grid.base, bound, kept):
        found = _places(x[part].reshape(-1), *of_columns)
        for into, each in zip((q, usable), found, strict=True):
            into[part].reshape(-1)[:] = each
    if not usable.all():
        q = repeated(q, usable)
    return Gridded(grid, q, np.flatnonzero(~usable))


def nearest(x: Array, step: NDArray[np.float64]) -> Array:
    """The points of a grid that are nearest to x (R, D), in its dtype: what most values become."""
    found = np.empty(x.shape, x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for part, (of_columns,) in abreast(len(x), step):
            exact = _points(x[part].reshape(-1), of_columns)
            exact *= of_columns
            found[part].reshape(-1)[:] = _cut(exact, x.dtype)
    return found


def _cut(exact: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Itself, no value beyond those that integers have: the outermost points may be."""
    if dtype.kind == "f":
        return exact
    limits = np.iinfo(dtype)
    return np.clip(exact, limits.min, limits.max, out=exact)


def _value(q: Integers, base: Integers, step: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Of numbers (N,), each with its own base and step."""
    with np.errstate(over="ignore"):  # the outermost points may lie outside of the dtype
        return _cut((q + base) * step, dtype).astype(dtype)


def _places(
    x: Array,
    step: NDArray[np.float64],
    base: Integers,
    bound: NDArray[np.float64],
    exact: NDArray[np.bool_],
) -> tuple[Integers, NDArray[np.bool_]]:
    """The points nearest to values (N,), each on its own grid; where these are as they must be."""
    points = _points(x, step)
    usable = np.abs(points) < _EXACT  # nowhere for NaN
    if not usable.all():
        points[~usable] = 0
    q = points.astype(np.int64)
    q -= base
    usable &= np.abs(q) < LIMIT
    q[~usable] = 0
    found = _value(q, base, step, x.dtype)
    usable &= within(found, x, bound)
    if exact.any():
        usable &= ~exact | (found.view(f"u{x.itemsize}") == x.view(f"u{x.itemsize}"))
    return q, usable


def _points(x: Array, step: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.rint(x.astype(np.float64) / step))


def within(found: Array, x: Array, bound: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where found is at most `bound` away from x, in float64; nowhere for NaN and infinities."""
    with np.errstate(over="ignore", invalid="ignore"):
        near: NDArray[np.bool_] = np.abs(found.astype(np.float64) - x.astype(np.float64)) <= bound
    return near


def _bases(x: Array, step: NDArray[np.float64]) -> Integers:
    """The middle of each column's points where these are large, 0 elsewhere: q is small then."""
    base = np.zeros(x.shape[1], np.int64)
    if not len(x):
        return base
    small = np.abs(_points(_ends(x), step)).max(axis=0) < LIMIT // 2  # not for NaN
    for column in np.flatnonzero(~small).tolist():
        points = _points(x[:, column], step[column])
        known = points[np.abs(points) < _EXACT]
        if len(known) and np.abs(known).max() >= LIMIT // 2:
            base[column] = int(np.median(known))
    return base


def _ends(x: Array) -> Array:
    """The smallest and the largest of each column, (2, D); NaN of a column that holds no more."""
    columns = x.shape[1]
    # numpy looks at long rows in a fraction of the time that many short ones take.
    wide = x[: len(x) // _ABREAST * _ABREAST].reshape(-1, _ABREAST * columns)
    found = []
    for end in (np.fmin, np.fmax):
        rows = [x[len(x) // _ABREAST * _ABREAST :]]
        if len(wide):
            rows.append(end.reduce(wide, axis=0).reshape(-1, columns))
        found.append(end.reduce(np.concatenate(rows), axis=0))
    return np.stack(found)


def repeated(q: Integers, usable: NDArray[np.bool_]) -> Integers:
    """The rows q with the last usable value above, or 0, where it is not usable."""
    rows = np.where(usable, np.arange(1, len(q) + 1)[:, None], 0)
    last = np.maximum.accumulate(rows, axis=0)
    return np.take_along_axis(np.vstack([np.zeros((1, q.shape[1]), np.int64), q]), last, axis=0)
