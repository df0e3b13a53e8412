"""Rows on a grid: whole numbers, told by a predictor or by components, and what no grid holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import components
from ae_runtime.archive.exceptions import pack_exceptions, put_back
from ae_runtime.archive.grid import Grid, Gridded, steps_of, to_grid
from ae_runtime.archive.integers import Integers, pack, unpack
from ae_runtime.archive.numbers import guess_rows, pack_rows, unpack_rows
from ae_runtime.archive.parts import Parts, join
from ae_runtime.archive.promise import Promise, factor_bytes, factor_of
from ae_runtime.archive.stretch import LONG, spread
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
_FINE = 1 / 8  # of the wanted root mean square: the grid that components are found on
_WINDOWS = (1, 8, 32, 128, 256)  # rows
_TRIED, _TRIED_ROWS = 4, 1024  # stretches, and rows of all, of which components are tried
_CHOSEN_ROWS = 8192
_NARROWER = (0.984375, 0.9375, 0.75)  # of the bound: exact, as float32
_MANY = 0.001  # of the values, for narrower steps to be tried
_EXCEPTION_BITS = 40.0
_STEP = 2.0  # of codes, in steps of the grid, where what they leave is stored
_MIN_COLUMNS = 17  # of fewer, the linear predictor knows all that components could


class Fitted(NamedTuple):
    """The grid that a promise of rows leads to, and the factor of its bound."""

    factor: float
    made: Gridded


def fit(x: Array, promise: Promise) -> Fitted:
    """Of x (R, D).

    Of single values the bound itself, or so much less that few values fall out of it when they are
    rounded to x's dtype. Of a mean error what keeps that.
    """
    if promise.mean:

        def error_of(factor: float) -> float:
            return promise.error(_values(_gridded(x, promise, factor), x), x)

        # The finest may still miss what rounding to integers costs; that is seen when decoded.
        factor = promise.widest(error_of) or 1.0
        return Fitted(factor, _gridded(x, promise, factor))
    found = [Fitted(1.0, _gridded(x, promise))]
    if (
        x.dtype.kind == "f"
        and len(found[0].made.exceptions) - (~np.isfinite(x)).sum() > _MANY * x.size
    ):
        found += [Fitted(factor, _gridded(x, promise, factor)) for factor in _NARROWER]
    # A narrower step takes log2(1 / factor) bits more of each value.
    return min(
        found,
        key=lambda one: _EXCEPTION_BITS * len(one.made.exceptions) - x.size * np.log2(one.factor),
    )


def encode(x: Array, fitted: Fitted) -> bytes:
    """Of x (R, D), by the linear predictor of numbers.py."""
    return _payload(x, *fitted, pack_rows(fitted.made.q))


def encode_components(x: Array, promise: Promise, fitted: Callable[[], Fitted]) -> bytes | None:
    """Of x (R, D), by components; None where there can be none.

    Of a mean error what they leave may be left away.
    """
    coarse = _coarse_components(x, promise) if promise.mean else None
    rows, columns = x.shape
    told = _has_components(rows, columns)
    if told and promise.mean and x.size > LONG:
        size, rest = _guessed(x, promise)
        told = size * x.size < len(coarse) if coarse is not None else size < rest
    if not told:
        return coarse
    q = fitted().made.q
    coded = _coded(q, rows)
    left = _payload(x, *fitted(), components.dump(coded, q - coded.predicted(rows, columns)))
    return left if coarse is None else min(coarse, left, key=len)


def components_share(x: Array, promise: Promise) -> float:
    """What components, and what they leave, take of the bytes of x (R, D) on a grid, about.

    Infinite where there can be none.
    """
    if not _has_components(*x.shape):
        return np.inf
    size, rest = _guessed(x, promise)
    return size / rest


def _guessed(x: Array, promise: Promise) -> tuple[float, float]:
    """Bytes of a value by components, with what they leave, and on a grid, as some rows have it."""
    rows = len(x)
    length = min(rows, _TRIED_ROWS) // _TRIED
    q = fit(np.concatenate(spread(x, _TRIED, length)), promise).made.q
    coded = _coded(q, rows)
    size = components.guess(coded, q - coded.predicted(*q.shape), len(q) / rows)
    return size / q.size, guess_rows(q) / q.size


def _has_components(rows: int, columns: int) -> bool:
    return _MIN_COLUMNS <= columns <= components.MAX_SIZE and rows >= columns // 4


def decode(payload: bytes, rows: int, columns: int, promise: Promise, by_components: bool) -> Array:
    """The rows (R, D). Raises ArchiveCorrupt, MissingExtra."""
    parts = Parts(payload)
    factor = factor_of(parts.take())
    base, numbers, kept = (parts.take() for _ in range(3))
    parts.end()
    step = steps_of(promise.bound_at(factor, columns), promise.dtype)
    bases = unpack(base, columns)
    if len(bases) and int(np.abs(bases).max()) > 1 << 53:
        raise ArchiveCorrupt("a grid begins beyond 2^53")
    q = (components.load if by_components else unpack_rows)(numbers, rows, columns)
    x = Grid(step, bases, promise.dtype).values(q)
    put_back(x, kept)
    return x


def _gridded(x: Array, promise: Promise, factor: float = 1.0) -> Gridded:
    return to_grid(
        x, promise.bound_at(factor, x.shape[1]), promise.exact if len(promise.bound) else None
    )


def _payload(x: Array, factor: float, made: Gridded, numbers: bytes) -> bytes:
    return join(
        [
            factor_bytes(factor),
            pack(made.grid.base),
            numbers,
            pack_exceptions(x, made.exceptions),
        ]
    )


def _coded(q: Integers, rows: int) -> components.Coded:
    """Of q (R, D), which are some of so many rows, along all directions that pay."""
    found = components.find(q, 1)
    return components.code(q, found, _STEP, components.worth(found, _STEP, rows))


def _coarse_components(x: Array, promise: Promise) -> bytes | None:
    """The fewest bytes that keep the root mean square, over windows and numbers of directions.

    These are chosen on a stretch of the rows, the steps of the codes then on all of them.
    """
    rows, columns = x.shape
    made = _gridded(x, promise, _FINE)
    begin = max(0, rows - _CHOSEN_ROWS) // 2
    part = slice(begin, begin + _CHOSEN_ROWS)

    def widest(of: slice, found: components.Directions, kept: int) -> float | None:
        q, true = made.q[of], x[of]

        def error_of(factor: float) -> float:
            coded = components.code(q, found, factor / _FINE, kept)
            values = made.grid.values(coded.predicted(*q.shape))
            return promise.error(values, true)

        return promise.widest(error_of)

    free = ~promise.exact
    wanted = float(np.sqrt(np.mean(np.square((promise.bound / made.grid.step)[free]))))
    best: tuple[float, components.Directions, int] | None = None
    for window in _WINDOWS:
        if window * columns > components.MAX_SIZE or window > rows:
            break
        found = components.find(made.q, window)
        kept = components.likely(found, wanted, rows / window)
        factor = widest(part, found, kept)
        if factor is None:
            continue
        coded = components.code(made.q[part], found, factor / _FINE, kept)
        codes = guess_rows(coded.codes) if x.size > LONG else len(pack_rows(coded.codes))
        size = codes * rows / len(x[part]) + len(pack(coded.directions))
        if best is None or size < best[0]:
            best = size, found, kept
    if best is None:
        return None
    _, found, kept = best
    factor = widest(slice(None), found, kept)
    if factor is None:
        return None
    coded = components.code(made.q, found, factor / _FINE, kept)
    values = made.grid.values(coded.predicted(rows, columns))
    places = np.flatnonzero(promise.broken(values, x))
    made = Gridded(made.grid, made.q, places)
    return _payload(x, _FINE, made, components.dump(coded, None))


def _values(made: Gridded, x: Array) -> Array:
    found = made.grid.values(made.q)
    found.reshape(-1)[made.exceptions] = x.reshape(-1)[made.exceptions]
    return found
