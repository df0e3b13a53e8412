"""Windows of rows told by few components and nothing else, as a root mean square error allows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import components
from ae_runtime.archive.components import MAX_SIZE, Coded, Directions, Likely
from ae_runtime.archive.grid import Gridded, to_grid
from ae_runtime.archive.numbers import guess_rows
from ae_runtime.archive.promise import Promise
from ae_runtime.archive.stretch import LONG, VALUES, spread

Array = NDArray[Any]
FINE = 1 / 8  # of the wanted root mean square: the grid that components are found on
_WINDOWS = (1, 8, 32, 128, 256)  # rows
_STRETCHES = 16  # of rows
_WINDOWS_GUESSED = 512  # in these, at least
_ALIKE = 0.95  # of the bytes of codes without neighbours, where these tell nothing
_CLOSE = 0.95  # of the bytes that a larger window looks to take, and may


class Coarse(NamedTuple):
    """How rows are told by components.

    codes, directions: bytes of these, about. alone: of codes, as if neighbours told nothing. made:
    the rows on the grid that components are found on. factor: of their steps, about.
    """

    codes: float
    directions: float
    alone: float
    made: Gridded
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
    made = to_grid(x, promise.bound_at(FINE, columns), promise.exact)
    free = ~promise.exact
    wanted = float(np.sqrt(np.mean(np.square((promise.bound / made.grid.step)[free]))))
    tried: list[Coarse] = []
    for window in _WINDOWS:
        if window * columns > MAX_SIZE or window > rows:
            break
        if x.size > LONG and tried and not _may_be_smaller(tried, window):
            break
        found = components.find(made.q, window, some=window > 1)
        likely = components.likely(found, wanted, rows / window)
        if likely is not None:
            tried.append(_tried(made, found, likely))
    return sorted(tried, key=lambda one: one.bytes)


def some(x: NDArray[Any], window: int) -> NDArray[Any]:
    """Stretches of windows of the rows (R, D), where these are long."""
    length = max(_WINDOWS_GUESSED, 2 * VALUES // x.shape[1] // window) // _STRETCHES * window
    if x.size <= LONG or _STRETCHES * length >= len(x):
        return x
    return np.concatenate(spread(x, _STRETCHES, length))


def _tried(made: Gridded, found: Directions, likely: Likely) -> Coarse:
    """With these components, of which some of the rows tell the bytes."""
    rows, kept, step = some(made.q, found.window), likely.kept, likely.step
    coded = components.code(components.coordinates(rows, found, kept), found, step)
    codes = guess_rows(coded.codes, len(made.q) / found.window / len(coded.codes))
    directions = components.guess_directions(coded)
    return Coarse(codes, directions, likely.bytes, made, found, kept, FINE * step)


def code(x: Array, promise: Promise, plan: Coarse) -> Coded | None:
    """All of x (R, D), in the widest steps that keep the root mean square; None where none do."""
    made, found = plan.made, plan.found
    places = components.coordinates(made.q, found, plan.kept)

    def coded(factor: float) -> Coded:
        return components.code(places, found, factor / FINE)

    def error_of(factor: float) -> float:
        return promise.error(made.grid.values(coded(factor).predicted(*x.shape)), x)

    factor = promise.widest(error_of, plan.factor)
    return None if factor is None else coded(factor)


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
