"""Error bound of an archive's values, and the widest steps that stay within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import tiled_blocks
from ae_archive.coding.grid import same_bits, steps_of, within
from ae_archive.header import Header
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
Encoded = TypeVar("Encoded")
_TRIES = 16  # of the search for a factor
_AIM, _NEAR = 0.9996, 0.999  # errors that it looks for, and is content with
_SURE, _NEARER = 5, 0.004  # tries, and how much further below is enough for each more
_FAILED = 3  # tries, all of them too wide, for the finest to be next
_NARROW = 0.003  # octaves
_WIDEST = 64.0  # times the target RMSE: all values are one by then


# Limit whose step is 1: integers come back as they were. To the last bit, since the product with a
# large number shows it.
_HALF = 0.5 / (1 - 2.0**-10)
EXACT_LIMIT = next(
    limit
    for limit in (_HALF, float(np.nextafter(_HALF, 0)), float(np.nextafter(_HALF, 1)))
    if steps_of(np.array([limit]), np.dtype(np.float64))[0] == 1
)


class WidestSteps(NamedTuple, Generic[Encoded]):
    """Factor of steps that stay within a target RMSE, rows encoded so, and the rows as decoded."""

    factor: float
    encoded: Encoded
    decoded: Array


@dataclass(frozen=True)
class ErrorBound:
    """limits (D,): largest error of each value, or, if `is_rmse`, target RMSE of a chunk.

    No limits: every bit is kept. Columns with a limit of 0 come back as they were. row_shape: how
    the D values of a row lie.
    """

    dtype: np.dtype[Any]
    limits: NDArray[np.float64]
    is_rmse: bool
    row_shape: tuple[int, ...]

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Columns (D,) that come back as they were."""
        return np.asarray(self.limits == 0)

    @property
    def has_grid(self) -> bool:
        """Whether values may change at all, or are integers that a grid holds."""
        if self.dtype.kind == "f":
            return len(self.limits) > 0 and bool((self.limits > 0).any())
        return self.dtype.itemsize <= 4

    def limits_at(self, factor: float, columns: int) -> NDArray[np.float64]:
        """Limits (D,) of a grid: those of the bound times the factor of a chunk."""
        if not len(self.limits):
            return np.zeros(columns)
        return np.where(self.exact, EXACT_LIMIT, self.limits * factor)

    def violations(self, decoded: Array, x: Array) -> NDArray[np.bool_]:
        """Where single values (R, D) of decoded are not within the bound of x."""
        wrong = np.empty(x.shape, np.bool_)
        limits = self.limits if len(self.limits) else np.zeros(x.shape[1])
        for part, (limit, exact) in tiled_blocks(len(x), limits, limits == 0):
            was, is_ = x[part].reshape(-1), decoded[part].reshape(-1)
            right = same_bits(is_, was)
            if len(self.limits):
                near = np.isfinite(was) if self.is_rmse else within(is_, was, limit)
                right |= near & ~exact
            np.logical_not(right, out=wrong[part].reshape(-1))
        return wrong

    def holds(self, decoded: Array, x: Array) -> bool:
        """Whether decoded is within the bound of x (R, D)."""
        within_limits = not self.violations(decoded, x).any()
        return within_limits and not (self.is_rmse and self.rmse(decoded, x) > 1)

    def rmse(self, decoded: Array, x: Array) -> float:
        """Root mean square of error / limit over finite values of columns that may change."""
        free = ~self.exact
        every, squares, count = bool(free.all()), 0.0, 0
        if not free.any():
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for part, (limit,) in tiled_blocks(len(x), self.limits[free]):
                was, is_ = x[part], decoded[part]
                if not every:
                    was, is_ = was[:, free], is_[:, free]
                off = is_.reshape(-1) - was.reshape(-1).astype(np.float64)
                off /= limit
                total = float(off @ off)
                if not np.isfinite(total):
                    off = off[np.isfinite(was.reshape(-1))]
                    total = float(off @ off)
                squares += total
                count += off.size
            return float(np.sqrt(squares / count)) if count else 0.0

    def widest_steps(
        self,
        encode: Callable[[float], tuple[Encoded, Array] | None],
        x: Array,
        near: float | None = None,
        finest: float = 1 / 64,
    ) -> WidestSteps[Encoded] | None:
        """About the widest steps in which x (R, D) has an RMSE of at most 1; None if none has.

        encode: by a factor of steps, the rows encoded, and as decoded; None to give up. near: a
        factor to begin with. Squares of errors grow about as those of steps do, from what is
        there without any: a secant leads through the last two, the further the more steps went to
        the same side before. Where errors jump, one further below 1 is enough after some tries.
        """
        least, high = float(np.log2(finest)), float(np.log2(_WIDEST))
        low = least
        at = low if near is None else min(max(float(np.log2(near)), low), high)
        before = last = 0.0, 0.0
        best: WidestSteps[Encoded] | None = None
        best_error = 0.0
        rises = 0  # the last steps up or down
        for tries in range(_TRIES):
            factor = float(np.float32(2.0**at))  # as a chunk keeps it
            tried = encode(factor)
            if tried is None:
                return None
            error = self.rmse(tried[1], x)
            before, last = last, (factor * factor, error * error)
            if error <= 1:
                low, best, rises = at, WidestSteps(factor, *tried), max(rises, 0) + 1
                best_error = error
            elif at == least:
                return None
            else:
                high, rises = at, min(rises, 0) - 1
            if high - low < _NARROW:
                break
            if best is not None and best_error > _NEAR - _NEARER * max(tries - _SURE, 0):
                break
            if best is None and rises <= -_FAILED:
                at = least
            else:
                at = _next(before, last, low, high, 2.0 ** (abs(rises) - 1))
        if best is None:
            tried = encode(finest)
            if tried is not None and self.rmse(tried[1], x) <= 1:
                best = WidestSteps(finest, *tried)
        return best


def _next(
    before: tuple[float, float], last: tuple[float, float], low: float, high: float, reach: float
) -> float:
    """Logarithm of the next factor, by the last two squares of (factor, error).

    reach: how many times as far as the secant to go. Half way where it leads nowhere.
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


def error_bound_of(header: Header) -> ErrorBound:
    """Error bound of all chunks of an archive."""
    is_rmse = header.rmse is not None and bool((header.limits > 0).any())
    return ErrorBound(header.numpy, header.limits, is_rmse, tuple(header.row_shape))


def factor_bytes(factor: float) -> bytes:
    """Bytes of a chunk's factor, a float32."""
    return np.array(factor, "<f4").tobytes()


def factor_of(raw: bytes) -> float:
    """Factor of a chunk's steps. Raises ArchiveCorrupt for bytes that are none."""
    factor = float(np.frombuffer(raw, "<f4")[0]) if len(raw) == 4 else 0.0
    if not 1e-9 < factor < 1e9:
        raise ArchiveCorrupt("a chunk names no factor of its steps")
    return factor
