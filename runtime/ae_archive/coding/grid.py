"""Values rounded to a grid of integers, each within a bound of what it was on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import tiled_blocks
from ae_archive.coding.integers import Integers
from ae_archive.coding.predictor import LIMIT
from ae_runtime.errors import DataError

Array = NDArray[Any]
_EXACT = 1 << 53  # integers up to here are exact in float64
_ABREAST = 256  # rows that are searched side by side for the smallest and largest
# Step in bounds. Twice the bound would leave values half way between two points outside of it once
# they are rounded to float32; each of these would be an outlier, of 5 bytes and more.
_WIDTH = 2 * (1 - 2.0**-10)


@dataclass(frozen=True)
class Grid:
    """x = (q + base) * step, rounded once to float64, then to x's dtype.

    step: (D,) float64, larger than 0; integers for integers. base: (D,) int64, so that q is
    small. dtype: of x, float32, float64 or an integer of at most 4 bytes.
    """

    step: NDArray[np.float64]
    base: Integers
    dtype: np.dtype[Any]

    def values(self, q: Integers) -> Array:
        """Values (R, D) of q (R, D): one product of exact numbers, the same bits everywhere."""
        x = np.empty(q.shape, self.dtype)
        for part, (base, step) in tiled_blocks(len(q), self.base, self.step):
            x[part].reshape(-1)[:] = _value(q[part].reshape(-1), base, step, self.dtype)
        return x


@dataclass(frozen=True)
class Gridded:
    """Rows on a grid. outliers: places, in C order, of values that the grid does not hold.

    There q repeats the value above, which costs nothing.
    """

    grid: Grid
    q: Integers
    outliers: Integers


def steps_of(bound: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Widest steps (D,) whose points come within `bound` (D,) of every value.

    bound: absolute, in x's units, at least 0; 0 keeps integers as they are, and has no grid of
    floats. Raises DataError for a bound that no grid has.
    """
    if not (np.isfinite(bound) & (bound >= 0)).all():
        raise DataError(f"an error bound must be a number of at least 0, found {bound.min()}")
    if dtype.kind != "f":
        # Beyond 2^32 every value is the same point, and the products stay exact.
        steps: NDArray[np.float64] = 2 * np.floor(np.minimum(bound, 2.0**32)) + 1
        return steps
    if not bound.all():
        raise DataError("an error bound of 0 has no grid for floats")
    return _WIDTH * bound


def grid_of(x: Array, bound: NDArray[np.float64]) -> Grid:
    """Widest grid for the rows x (R, D) within `bound` (D,)."""
    step = steps_of(bound, x.dtype)
    return Grid(step, _bases(x, step), x.dtype)


def to_grid(
    x: Array,
    bound: NDArray[np.float64],
    exact: NDArray[np.bool_] | None = None,
    grid: Grid | None = None,
) -> Gridded:
    """Rows x (R, D) on the widest grid within `bound` (D,), decoded and checked.

    exact (D,): columns whose values must be points of the grid, bit for bit. NaN, infinite
    values, and those that rounding leaves outside of the bound are outliers. grid: where it is
    known, of more rows.
    """
    grid = grid or grid_of(x, bound)
    q, usable = np.empty(x.shape, np.int64), np.empty(x.shape, np.bool_)
    exact = np.zeros(x.shape[1], np.bool_) if exact is None else exact
    for part, per_column in tiled_blocks(len(x), grid.step, grid.base, bound, exact):
        rounded = _rounded(x[part].reshape(-1), *per_column)
        q[part].reshape(-1)[:], usable[part].reshape(-1)[:] = rounded
    if not usable.all():
        q = repeated(q, usable)
    return Gridded(grid, q, np.flatnonzero(~usable))


def nearest(x: Array, step: NDArray[np.float64]) -> Array:
    """Points of a grid nearest to x (R, D), in its dtype: what most values become."""
    points = np.empty(x.shape, x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for part, (tiled_step,) in tiled_blocks(len(x), step):
            exact = _points(x[part].reshape(-1), tiled_step)
            exact *= tiled_step
            points[part].reshape(-1)[:] = _clipped(exact, x.dtype)
    return points


def _clipped(exact: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Values within the range of the dtype, in place: the outermost points may lie beyond."""
    if dtype.kind == "f":
        return exact
    limits = np.iinfo(dtype)
    return np.clip(exact, limits.min, limits.max, out=exact)


def _value(q: Integers, base: Integers, step: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Values of numbers (N,), each with its own base and step."""
    with np.errstate(over="ignore"):  # the outermost points may lie outside of the dtype
        return _clipped((q + base) * step, dtype).astype(dtype)


def _rounded(
    x: Array,
    step: NDArray[np.float64],
    base: Integers,
    bound: NDArray[np.float64],
    exact: NDArray[np.bool_],
) -> tuple[Integers, NDArray[np.bool_]]:
    """Points nearest to values (N,), each on its own grid, and where these are usable."""
    points = _points(x, step)
    usable = np.abs(points) < _EXACT  # nowhere for NaN
    if not usable.all():
        points[~usable] = 0
    q = points.astype(np.int64)
    q -= base
    usable &= np.abs(q) < LIMIT
    q[~usable] = 0
    decoded = _value(q, base, step, x.dtype)
    usable &= within(decoded, x, bound)
    if exact.any():
        usable &= ~exact | same_bits(decoded, x)
    return q, usable


def _points(x: Array, step: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.rint(x.astype(np.float64) / step))


def within(decoded: Array, x: Array, bound: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where decoded is at most `bound` away from x, in float64; nowhere for NaN and infinities."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(decoded.astype(np.float64) - x.astype(np.float64))
        return np.asarray(off <= bound)


def same_bits(decoded: Array, x: Array) -> NDArray[np.bool_]:
    """Where decoded has the very bits of x, which tells NaNs and signs of zeros apart."""
    return np.asarray(decoded.view(f"u{x.itemsize}") == x.view(f"u{x.itemsize}"))


def _bases(x: Array, step: NDArray[np.float64]) -> Integers:
    """Middle of each column's points where these are large, else 0: q is small then, (D,)."""
    base = np.zeros(x.shape[1], np.int64)
    if not len(x):
        return base
    small = np.abs(_points(_ends(x), step)).max(axis=0) < LIMIT // 2  # not for NaN
    for column in np.flatnonzero(~small).tolist():
        points = _points(x[:, column], step[column])
        exact = points[np.abs(points) < _EXACT]
        if len(exact) and np.abs(exact).max() >= LIMIT // 2:
            base[column] = int(np.median(exact))
    return base


def _ends(x: Array) -> Array:
    """Smallest and largest value of each column, (2, D); NaN of a column that holds no other."""
    columns = x.shape[1]
    # numpy handles long rows in a fraction of the time that many short ones take.
    cut = len(x) // _ABREAST * _ABREAST
    wide = x[:cut].reshape(-1, _ABREAST * columns)
    ends = []
    for end in (np.fmin, np.fmax):
        rows = [x[cut:]]
        if len(wide):
            rows.append(end.reduce(wide, axis=0).reshape(-1, columns))
        ends.append(end.reduce(np.concatenate(rows), axis=0))
    return np.stack(ends)


def repeated(q: Integers, usable: NDArray[np.bool_]) -> Integers:
    """Rows q with the last usable value above, or 0, where a value is not usable."""
    rows = np.where(usable, np.arange(1, len(q) + 1)[:, None], 0)
    last = np.maximum.accumulate(rows, axis=0)
    return np.take_along_axis(np.vstack([np.zeros((1, q.shape[1]), np.int64), q]), last, axis=0)
