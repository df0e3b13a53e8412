"""Chunks of smooth values: some are stored, others by their distance from lines or cubics."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import interpolation
from ae_archive.coding.grid import Grid, steps_of
from ae_archive.coding.interpolation import Interpolated
from ae_archive.coding.outliers import pack_outliers, restore_outliers
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.error_bound import ErrorBound, WidestSteps, factor_bytes, factor_of

Array = NDArray[Any]
_FINE = 256  # units of a step of floats, to which interpolated numbers are rounded
_LEVELS = (3, 5, interpolation.MAX_LEVELS)
_LONG = 8  # values along an axis of a row, from which on they count as neighbours
_FAR = 1.15  # times the bytes of other modes, which no wider steps make up for


class Way(NamedTuple):
    """Axes of (R, *row_shape) along which numbers are interpolated, levels, and the factor."""

    axes: tuple[int, ...]
    levels: int
    factor: float


class Units:
    """Units in which values (R, D) are integers, and the width of a step in them, (D,).

    Exact columns have steps of one unit, integers as many units as a step is wide.
    """

    def __init__(self, bound: ErrorBound, factor: float, columns: int) -> None:
        step = steps_of(bound.limits_at(factor, columns), bound.dtype)
        exact = bound.exact if bound.dtype.kind == "f" else step > 0
        self.width = np.where(exact, step, _FINE).astype(np.int64)
        self.grid = Grid(step / self.width, np.zeros(columns, np.int64), bound.dtype)

    def of(self, x: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values x (R, D) in units, 0 where that is not possible; and where it is."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a unit may be 0
            wanted = x.astype(np.float64) / self.grid.step
            usable = np.abs(wanted) < LIMIT * self.width
        return np.where(usable, wanted, 0), usable


def choose(
    x: Array, bound: ErrorBound, factor: float, times: float, on_grid: float
) -> tuple[Way, float]:
    """Way that is likely to be the smallest for x (R, D), and bytes for `times` as many rows.

    factor: of a grid within the error bound, on which rows take `on_grid` bytes.
    """
    tried = [
        _encoded(x, bound, Way(axes, levels, factor))[0]
        for axes in _axes(bound)
        for levels in _LEVELS
    ]
    best = min(tried, key=interpolation.estimate_bits)
    way, shape = Way(best.axes, best.levels, factor), (len(x), *bound.row_shape)
    size = interpolation.estimate(best, shape, times)
    widest = _widest(x, bound, way) if bound.is_rmse and size < _FAR * on_grid else None
    if widest is not None:
        way = way._replace(factor=widest.factor)
        size = interpolation.estimate(widest.encoded, shape, times)
    return way, size


def encode(x: Array, bound: ErrorBound, way: Way, most: float = np.inf) -> bytes | None:
    """Payload of x (R, D); None where the finest steps miss a target RMSE.

    most: None, too, where a target RMSE is likely to take more bytes.
    """
    if bound.is_rmse:
        widest = _widest(x, bound, way, most)
    else:
        widest = WidestSteps(way.factor, *_encoded(x, bound, way))
    if widest is None:
        return None
    places = np.flatnonzero(bound.violations(widest.decoded, x))
    numbers = interpolation.dump(widest.encoded, (len(x), *bound.row_shape))
    return join([factor_bytes(widest.factor), numbers, pack_outliers(x, places)])


def _widest(
    x: Array, bound: ErrorBound, way: Way, most: float = np.inf
) -> WidestSteps[Interpolated] | None:
    """Rows x (R, D) in the widest steps within a target RMSE, which may be near those of the way.

    None where these are likely to take more than `most` bytes.
    """

    def encode_at(factor: float) -> tuple[Interpolated, Array] | None:
        encoded, decoded = _encoded(x, bound, way._replace(factor=factor))
        few = most == np.inf or interpolation.estimate_bits(encoded) <= 8 * _FAR * most
        return (encoded, decoded) if few else None

    return bound.widest_steps(encode_at, x, way.factor)


def decode(payload: bytes, rows: int, columns: int, bound: ErrorBound) -> Array:
    """Rows (R, D) of a payload. Raises ArchiveCorrupt."""
    parts = Parts(payload)
    raw, numbers, outliers = (parts.take() for _ in range(3))
    parts.end()
    units = Units(bound, factor_of(raw), columns)
    shape = rows, *bound.row_shape
    q = interpolation.load(numbers, shape, units.width.reshape(bound.row_shape))
    x = units.grid.values(q.reshape(rows, columns))
    restore_outliers(x, outliers)
    return x


def _axes(bound: ErrorBound) -> list[tuple[int, ...]]:
    """Axes that may be interpolated along: rows, or long axes of a row, or both."""
    long = tuple(1 + at for at, size in enumerate(bound.row_shape) if size >= _LONG)
    return [(0,), (0, *long), long] if long else [(0,)]


def _encoded(x: Array, bound: ErrorBound, way: Way) -> tuple[Interpolated, Array]:
    """Interpolated numbers of x (R, D), and the rows as decoded."""
    shape = len(x), *bound.row_shape
    units = Units(bound, way.factor, x.shape[1])
    wanted, usable = units.of(x)
    width = units.width.reshape(bound.row_shape)
    encoded, q = interpolation.interpolate(
        wanted.reshape(shape), usable.reshape(shape), width, way.axes, way.levels
    )
    return encoded, units.grid.values(q.reshape(x.shape))
