"""Windows of rows told by few components and nothing else, as a root mean square error allows."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import components
from ae_archive.coding.components import MAX_SIZE, Coded, Directions, Likely
from ae_archive.coding.grid import Gridded, grid_of, to_grid
from ae_archive.coding.integers import Integers
from ae_archive.coding.numbers import guess_rows
from ae_archive.coding.stretch import LONG, VALUES, spread
from ae_archive.promise import Kept, Promise

Array = NDArray[Any]
FINE = 1 / 8  # of the wanted root mean square: the grid that components are found on
_WINDOWS = (1, 8, 32, 128, 256)  # rows
_STRETCHES = 16  # of rows
_WINDOWS_GUESSED = 512  # in these, at least
_ALIKE = 0.95  # of the bytes of codes without neighbours, where these tell nothing
_CLOSE = 0.95  # of the bytes that a larger window looks to take, and may


class Fine:
    """Rows x (R, D) on the grid that components are found on: some of them, or all."""

    def __init__(self, x: Array, promise: Promise) -> None:
        self.x, self.exact = x, promise.exact
        self.bound = promise.bound_at(FINE, x.shape[1])
        self.grid = grid_of(x, self.bound)

    @cached_property
    def whole(self) -> Gridded:
        return to_grid(self.x, self.bound, self.exact, self.grid)

    def of(self, rows: Array) -> Integers:
        """Of rows of x, the numbers (R, D)."""
        made = self.whole if rows is self.x else to_grid(rows, self.bound, self.exact, self.grid)
        return made.q


class Coarse(NamedTuple):
    """How rows are told by components.

    codes, directions: bytes of these, about. alone: of codes, as if neighbours told nothing. fine:
    the grid that components are found on. factor: of their steps, about.
    """

    codes: float
    directions: float
    alone: float
    fine: Fine
    found: Directions
    kept: int
    factor: float

    @property
    def bytes(self) -> float:
        return self.codes + self.directions


def plans(x: Array, promise: Promise) -> list[Coarse]:
    """Windows and numbers of directions for a root mean square error, of the fewest bytes first.

    As variances and some of the rows x (R, D) tell; it may be that they do not keep it.
    """
    rows, columns = x.shape
    fine = Fine(x, promise)
    free = ~promise.exact
    wanted = float(np.sqrt(np.mean(np.square((promise.bound / fine.grid.step)[free]))))
    tried: list[Coarse] = []
    for window in _WINDOWS:
        if window * columns > MAX_SIZE or window > rows:
            break
        if x.size > LONG and tried and not _may_be_smaller(tried, window):
            break
        found = components.find(fine.of(components.sampled(x, window)), window, some=window > 1)
        likely = components.likely(found, wanted, rows / window)
        if likely is not None:
            tried.append(_tried(fine, found, likely))
    return sorted(tried, key=lambda one: one.bytes)


def some(x: NDArray[Any], window: int) -> NDArray[Any]:
    """Stretches of windows of the rows (R, D), where these are long."""
    length = max(_WINDOWS_GUESSED, 2 * VALUES // x.shape[1] // window) // _STRETCHES * window
    if x.size <= LONG or _STRETCHES * length >= len(x):
        return x
    return np.concatenate(spread(x, _STRETCHES, length))


def _tried(fine: Fine, found: Directions, likely: Likely) -> Coarse:
    """With these components, of which some of the rows tell the bytes."""
    rows, kept, step = fine.of(some(fine.x, found.window)), likely.kept, likely.step
    coded = components.code(components.coordinates(rows, found, kept), found, step)
    codes = guess_rows(coded.codes, len(fine.x) / found.window / len(coded.codes))
    directions = components.guess_directions(coded)
    return Coarse(codes, directions, likely.bytes, fine, found, kept, FINE * step)


def code(x: Array, promise: Promise, plan: Coarse) -> Kept[Coded] | None:
    """All of x (R, D), in the widest steps that keep the root mean square; None where none do."""
    made, found = plan.fine.whole, plan.found
    places = components.coordinates(made.q, found, plan.kept)

    def tell(factor: float) -> tuple[Coded, Array]:
        coded = components.code(places, found, factor / FINE)
        return coded, made.grid.values(coded.predicted(*x.shape))

    return promise.widest(tell, x, plan.factor)


def _may_be_smaller(tried: list[Coarse], window: int) -> bool:
    """Whether a larger window may take fewer bytes, as those before it did."""
    last, size = tried[-1], tried[-1].found.window
    if len(tried) == 1:
        return last.codes < _ALIKE * last.alone
    before = tried[-2]
    # What a row adds to the codes of a window, of which more rows add no more.
    added = last.codes * size - before.codes * before.found.window
    added = max(added, 0) / (size - before.found.window)
    codes = (last.codes * size + added * (window - size)) / window
    best = min(one.bytes for one in tried)
    return _CLOSE * (codes + last.directions * window / size) < best
