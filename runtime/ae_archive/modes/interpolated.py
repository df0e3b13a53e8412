"""Rows of values that lie near a smooth line or face through some of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import interpolation
from ae_archive.coding.exceptions import pack_exceptions, put_back
from ae_archive.coding.grid import Grid, steps_of
from ae_archive.coding.integers import Integers
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.promise import Kept, Promise, factor_bytes, factor_of

Array = NDArray[Any]
_FINE = 256  # units of a step of floats, in which what is interpolated is rounded
_LEVELS = (3, 5, interpolation.MAX_LEVELS)
_LONG = 8  # of an axis of a row, for its values to be neighbours
_FAR = 1.15  # of the bytes of others, which no wider steps make up for


class Way(NamedTuple):
    """Along which axes of (R, *row_shape), in how many levels, and with which factor."""

    axes: tuple[int, ...]
    levels: int
    factor: float


class Units:
    """In which values (R, D) are whole numbers, and the width of a step in them, (D,) each.

    Whole values are met exactly, or to within half a step that is whole itself.
    """

    def __init__(self, promise: Promise, factor: float, columns: int) -> None:
        step = steps_of(promise.bound_at(factor, columns), promise.dtype)
        whole = promise.exact if promise.dtype.kind == "f" else step > 0
        self.width = np.where(whole, step, _FINE).astype(np.int64)
        self.grid = Grid(step / self.width, np.zeros(columns, np.int64), promise.dtype)

    def of(self, x: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(x (R, D) in units, where these can be told); 0 elsewhere."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a unit may be 0
            wanted = x.astype(np.float64) / self.grid.step
            usable = np.abs(wanted) < LIMIT * self.width
        return np.where(usable, wanted, 0), usable


def choose(
    x: Array, promise: Promise, factor: float, times: float, on_grid: float
) -> tuple[Way, float]:
    """How rows like x (R, D) are likely to take the fewest bytes, and about how many these are.

    factor: of a grid that keeps the promise, on which they take about so many bytes. times: how
    many times as many rows there are.
    """
    units = Units(promise, factor, x.shape[1])
    tried = [
        _found(x, promise, units, axes, levels)[0] for axes in _axes(promise) for levels in _LEVELS
    ]
    best = min(tried, key=interpolation.likely)
    way, shape = Way(best.axes, best.levels, factor), (len(x), *promise.row_shape)
    size = interpolation.guess(best, shape, times)
    kept = _widest(x, promise, way) if promise.mean and size < _FAR * on_grid else None
    if kept is not None:
        way = way._replace(factor=kept.factor)
        size = interpolation.guess(kept.told, shape, times)
    return way, size


def encode(x: Array, promise: Promise, way: Way, most: float = np.inf) -> bytes | None:
    """Of x (R, D); None where the finest steps do not keep the promise of a mean error.

    most: None, too, where more bytes are likely, of a mean error.
    """
    kept = (
        _widest(x, promise, way, most)
        if promise.mean
        else Kept(way.factor, *_told(x, promise, way, way.factor))
    )
    if kept is None:
        return None
    places = np.flatnonzero(promise.broken(kept.values, x))
    numbers = interpolation.dump(kept.told, (len(x), *promise.row_shape))
    return join([factor_bytes(kept.factor), numbers, pack_exceptions(x, places)])


def _widest(
    x: Array, promise: Promise, way: Way, most: float = np.inf
) -> Kept[interpolation.Interpolated] | None:
    """In the widest steps that keep a mean error, which may be near those of the way.

    None where these are likely to take more than most bytes.
    """

    def tell(factor: float) -> tuple[interpolation.Interpolated, Array] | None:
        told, values = _told(x, promise, way, factor)
        few = most == np.inf or interpolation.likely(told) <= 8 * _FAR * most
        return (told, values) if few else None

    return promise.widest(tell, x, way.factor)


def _told(
    x: Array, promise: Promise, way: Way, factor: float
) -> tuple[interpolation.Interpolated, Array]:
    """How x (R, D) is told in steps of this factor, and what a reader gets."""
    units = Units(promise, factor, x.shape[1])
    told, found = _found(x, promise, units, way.axes, way.levels)
    return told, units.grid.values(found)


def decode(payload: bytes, rows: int, columns: int, promise: Promise) -> Array:
    """The rows (R, D). Raises ArchiveCorrupt."""
    parts = Parts(payload)
    raw, numbers, kept = (parts.take() for _ in range(3))
    parts.end()
    units = Units(promise, factor_of(raw), columns)
    shape = rows, *promise.row_shape
    found = interpolation.load(numbers, shape, units.width.reshape(promise.row_shape))
    x = units.grid.values(found.reshape(rows, columns))
    put_back(x, kept)
    return x


def _axes(promise: Promise) -> list[tuple[int, ...]]:
    """Along which numbers are interpolated: rows, or long axes of a row, or both."""
    long = tuple(1 + at for at, size in enumerate(promise.row_shape) if size >= _LONG)
    return [(0,), (0, *long), long] if long else [(0,)]


def _found(
    x: Array, promise: Promise, units: Units, axes: tuple[int, ...], levels: int
) -> tuple[interpolation.Interpolated, Integers]:
    """How x (R, D) is told, and the numbers in units that a reader gets."""
    shape = len(x), *promise.row_shape
    wanted, usable = units.of(x)
    told, found = interpolation.find(
        wanted.reshape(shape),
        usable.reshape(shape),
        units.width.reshape(promise.row_shape),
        axes,
        levels,
    )
    return told, found.reshape(x.shape)
