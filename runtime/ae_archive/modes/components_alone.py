"""Plans for chunks of few components without residuals, as a target RMSE allows."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import components
from ae_archive.coding.blocks import CACHED, MANY, spread_blocks
from ae_archive.coding.components import MAX_SIZE, Cheapest, Coded, Directions
from ae_archive.coding.grid import Gridded, grid_of, to_grid
from ae_archive.coding.integers import Integers
from ae_archive.coding.row_coder import estimate_rows
from ae_archive.error_bound import ErrorBound, WidestSteps

Array = NDArray[Any]
FINE = 1 / 8  # of the target RMSE: bound of the grid that components are found on
_WINDOWS = (1, 8, 32, 128, 256)  # rows
_BLOCKS = 16  # blocks of rows of a sample
_WINDOWS_SAMPLED = 512  # windows in these, at least
_ALIKE = 0.95  # of the bytes of codes without neighbours, where these do not help
_CLOSE = 0.95  # of the bytes that a larger window looks to take, and may


class FineGrid:
    """Grid that components of the rows x (R, D) are found on."""

    def __init__(self, x: Array, bound: ErrorBound) -> None:
        self.x, self.exact = x, bound.exact
        self.limits = bound.limits_at(FINE, x.shape[1])
        self.grid = grid_of(x, self.limits)

    @cached_property
    def all_rows(self) -> Gridded:
        return to_grid(self.x, self.limits, self.exact, self.grid)

    def of(self, rows: Array) -> Integers:
        """Integers (R, D) of some rows of x, or all."""
        if rows is self.x:
            return self.all_rows.q
        return to_grid(rows, self.limits, self.exact, self.grid).q


class Plan(NamedTuple):
    """Components by which rows may be stored.

    codes, directions: estimated bytes of these. alone: of codes, as if neighbours did not help.
    fine: the grid that components are found on. k: number of directions. factor: the codes' steps,
    about.
    """

    codes: float
    directions: float
    alone: float
    fine: FineGrid
    basis: Directions
    k: int
    factor: float

    @property
    def bytes(self) -> float:
        return self.codes + self.directions


def plans(x: Array, bound: ErrorBound) -> list[Plan]:
    """Windows and numbers of directions for a target RMSE, the fewest estimated bytes first.

    By variances and some of the rows x (R, D): it may be that they miss it.
    """
    rows, columns = x.shape
    fine = FineGrid(x, bound)
    free = ~bound.exact
    rmse = float(np.sqrt(np.mean(np.square((bound.limits / fine.grid.step)[free]))))
    tried: list[Plan] = []
    for window in _WINDOWS:
        if window * columns > MAX_SIZE or window > rows:
            break
        if x.size > MANY and tried and not _may_be_smaller(tried, window):
            break
        sample = fine.of(components.sampled(x, window))
        directions = components.directions_of(sample, window, some=window > 1)
        cheapest = components.cheapest_alone(directions, rmse, rows / window)
        if cheapest is not None:
            tried.append(_plan(fine, directions, cheapest))
    return sorted(tried, key=lambda one: one.bytes)


def sample_of(x: NDArray[Any], window: int) -> NDArray[Any]:
    """Blocks of windows of the rows (R, D), where there are many; else all rows."""
    length = max(_WINDOWS_SAMPLED, 2 * CACHED // x.shape[1] // window) // _BLOCKS * window
    if x.size <= MANY or _BLOCKS * length >= len(x):
        return x
    return np.concatenate(spread_blocks(x, _BLOCKS, length))


def _plan(fine: FineGrid, directions: Directions, cheapest: Cheapest) -> Plan:
    """Plan with these components, whose bytes are estimated from some of the rows."""
    rows, k, step = fine.of(sample_of(fine.x, directions.window)), cheapest.k, cheapest.step
    coded = components.code(components.coordinates(rows, directions, k), directions, step)
    codes = estimate_rows(coded.codes, len(fine.x) / directions.window / len(coded.codes))
    size = components.estimate_directions(coded)
    return Plan(codes, size, cheapest.bytes, fine, directions, k, FINE * step)


def code(x: Array, bound: ErrorBound, plan: Plan) -> WidestSteps[Coded] | None:
    """Codes of x (R, D) in the widest steps within the target RMSE; None where none are."""
    gridded, directions = plan.fine.all_rows, plan.basis
    places = components.coordinates(gridded.q, directions, plan.k)

    def encode_at(factor: float) -> tuple[Coded, Array]:
        coded = components.code(places, directions, factor / FINE)
        return coded, gridded.grid.values(coded.predicted(*x.shape))

    return bound.widest_steps(encode_at, x, plan.factor)


def _may_be_smaller(tried: list[Plan], window: int) -> bool:
    """Whether a larger window may take fewer bytes, as those before it did."""
    last, size = tried[-1], tried[-1].basis.window
    if len(tried) == 1:
        return last.codes < _ALIKE * last.alone
    before = tried[-2]
    # Bytes that a row adds to the codes of a window; later rows add no more.
    added = last.codes * size - before.codes * before.basis.window
    added = max(added, 0) / (size - before.basis.window)
    codes = (last.codes * size + added * (window - size)) / window
    best = min(one.bytes for one in tried)
    return _CLOSE * (codes + last.directions * window / size) < best
