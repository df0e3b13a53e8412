"""What an archive promises of its values, and the widest steps that keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.grid import steps_of, within
from ae_archive.coding.stretch import abreast
from ae_archive.header import Header
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
Told = TypeVar("Told")
_TRIES = 16  # of the search for a factor
_AIM, _NEAR = 0.9996, 0.999  # errors that it looks for, and is content with
_SURE, _NEARER = 5, 0.004  # tries, and how much further below is enough for each more
_FAILED = 3  # tries, all of them too wide, for the finest to be next
_NARROW = 0.003  # octaves
_WIDEST = 64.0  # times the wanted root mean square: all values are one by then


# The bound of which the step is 1: whole numbers come back as they were. To the last bit, since the
# product with a large number shows it.
_HALF = 0.5 / (1 - 2.0**-10)
WHOLE = next(
    bound
    for bound in (_HALF, float(np.nextafter(_HALF, 0)), float(np.nextafter(_HALF, 1)))
    if steps_of(np.array([bound]), np.dtype(np.float64))[0] == 1
)


class Kept(NamedTuple, Generic[Told]):
    """Rows in steps that keep a promise: these, over the bound's; how rows are told; as read."""

    factor: float
    told: Told
    values: Array


@dataclass(frozen=True)
class Promise:
    """bound (D,): of each value, or, if `mean`, of a chunk's root mean square; empty: every bit.

    Columns with a bound of 0 come back as they were. row_shape: how the D values of a row lie.
    """

    dtype: np.dtype[Any]
    bound: NDArray[np.float64]
    mean: bool
    row_shape: tuple[int, ...]

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Columns (D,) that come back as they were."""
        kept: NDArray[np.bool_] = self.bound == 0
        return kept

    @property
    def has_grid(self) -> bool:
        """Whether values may move at all, or are integers that a grid holds."""
        if self.dtype.kind == "f":
            return len(self.bound) > 0 and bool((self.bound > 0).any())
        return self.dtype.itemsize <= 4

    def bound_at(self, factor: float, columns: int) -> NDArray[np.float64]:
        """(D,) of a grid: the promised one, times the factor that a chunk names."""
        if not len(self.bound):
            return np.zeros(columns)
        return np.where(self.exact, WHOLE, self.bound * factor)

    def broken(self, found: Array, x: Array) -> NDArray[np.bool_]:
        """Which values (R, D) of found are not what was promised of single values of x."""
        wrong = np.empty(x.shape, np.bool_)
        bound = self.bound if len(self.bound) else np.zeros(x.shape[1])
        for part, (most, exact) in abreast(len(x), bound, bound == 0):
            was, is_ = x[part].reshape(-1), found[part].reshape(-1)
            same = is_.view(f"u{x.itemsize}") == was.view(f"u{x.itemsize}")
            if len(self.bound):
                near = np.isfinite(was) if self.mean else within(is_, was, most)
                same |= near & ~exact
            np.logical_not(same, out=wrong[part].reshape(-1))
        return wrong

    def keeps(self, found: Array, x: Array) -> bool:
        """Whether found is what was promised of x (R, D)."""
        return not self.broken(found, x).any() and not (self.mean and self.error(found, x) > 1)

    def error(self, found: Array, x: Array) -> float:
        """The root mean square of error / bound over finite values of columns that may change."""
        free = ~self.exact
        every, squares, count = bool(free.all()), 0.0, 0
        if not free.any():
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for part, (bound,) in abreast(len(x), self.bound[free]):
                was, is_ = x[part], found[part]
                if not every:
                    was, is_ = was[:, free], is_[:, free]
                off = is_.reshape(-1) - was.reshape(-1).astype(np.float64)
                off /= bound
                total = float(off @ off)
                if not np.isfinite(total):
                    off = off[np.isfinite(was.reshape(-1))]
                    total = float(off @ off)
                squares += total
                count += off.size
            return float(np.sqrt(squares / count)) if count else 0.0

    def widest(
        self,
        tell: Callable[[float], tuple[Told, Array] | None],
        x: Array,
        near: float | None = None,
        finest: float = 1 / 64,
    ) -> Kept[Told] | None:
        """In about the widest steps x (R, D) has an error of at most 1; None if in none.

        tell: by a factor of steps, how x is told, and what a reader gets; None to give up. near: a
        factor where it may be. Squares of errors grow about as those of steps do, from what is
        there without any: a secant leads through the last two, the further the more steps went to
        the same side before. Of errors that jump one further below 1 is enough after some tries.
        """
        least, high = float(np.log2(finest)), float(np.log2(_WIDEST))
        low = least
        at = low if near is None else min(max(float(np.log2(near)), low), high)
        before = last = 0.0, 0.0
        kept: Kept[Told] | None = None
        kept_error = 0.0
        rises = 0  # the last steps up or down
        for tries in range(_TRIES):
            factor = float(np.float32(2.0**at))  # as a chunk keeps it
            found = tell(factor)
            if found is None:
                return None
            error = self.error(found[1], x)
            before, last = last, (factor * factor, error * error)
            if error <= 1:
                low, kept, rises = at, Kept(factor, *found), max(rises, 0) + 1
                kept_error = error
            elif at == least:
                return None
            else:
                high, rises = at, min(rises, 0) - 1
            if high - low < _NARROW:
                break
            if kept is not None and kept_error > _NEAR - _NEARER * max(tries - _SURE, 0):
                break
            if kept is None and rises <= -_FAILED:
                at = least
            else:
                at = _next(before, last, low, high, 2.0 ** (abs(rises) - 1))
        if kept is None:
            found = tell(finest)
            if found is not None and self.error(found[1], x) <= 1:
                kept = Kept(finest, *found)
        return kept


def _next(
    before: tuple[float, float], last: tuple[float, float], low: float, high: float, reach: float
) -> float:
    """The logarithm of a factor between two, to which two squares (of factor, of error) lead.

    Reach: how far to go of the way. Half way between where they lead nowhere.
    """
    rise, run = last[1] - before[1], last[0] - before[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.divide(rise, run)
        if not slope > 0:
            slope = np.divide(last[1], last[0])
        square = last[0] + reach * np.divide(_AIM**2 - last[1], slope)
    if not (slope < np.inf and 4.0**low < square < np.inf):  # nor for NaN
        return low + (high - low) / 2
    edge = (high - low) / 1000
    return float(np.clip(np.log2(square) / 2, low + edge, high - edge))


def promise_of(header: Header) -> Promise:
    """Of all chunks of an archive."""
    mean = header.rmse is not None and bool((header.bound > 0).any())
    return Promise(header.numpy, header.bound, mean, tuple(header.row_shape))


def factor_bytes(factor: float) -> bytes:
    """A factor that a chunk names, as float32."""
    return np.array(factor, "<f4").tobytes()


def factor_of(raw: bytes) -> float:
    """Raises ArchiveCorrupt for what is none."""
    factor = float(np.frombuffer(raw, "<f4")[0]) if len(raw) == 4 else 0.0
    if not 1e-9 < factor < 1e9:
        raise ArchiveCorrupt("a chunk names no factor of its steps")
    return factor
