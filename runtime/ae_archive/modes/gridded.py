"""Rows on a grid: whole numbers, told by a predictor or by components, and what no grid holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import components
from ae_archive.coding.exceptions import pack_exceptions, put_back
from ae_archive.coding.grid import Grid, Gridded, nearest, steps_of, to_grid
from ae_archive.coding.integers import Integers, pack, unpack
from ae_archive.coding.numbers import pack_rows, unpack_rows
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.stretch import LONG
from ae_archive.modes import coarse
from ae_archive.modes.coarse import Coarse
from ae_archive.promise import Promise, factor_bytes, factor_of
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
_EVEN = 3**0.5  # the factor of steps of which no part is likelier than another
_NARROWER = (0.984375, 0.9375, 0.75)  # of the bound: exact, as float32
_MANY = 0.001  # of the values, for narrower steps to be tried
_EXCEPTION_BITS = 40.0
_STEP = 2.0  # of codes, in steps of the grid, where what they leave is stored
_MIN_COLUMNS = 17  # of fewer, the linear predictor knows all that components could


class Fitted(NamedTuple):
    """The grid that a promise of rows leads to, and the factor of its bound."""

    factor: float
    made: Gridded


def fit(x: Array, promise: Promise, near: float = _EVEN) -> Fitted:
    """Of x (R, D).

    Of single values the bound itself, or so much less that few values fall out of it when they are
    rounded to x's dtype. Of a mean error what keeps that, which may be near a factor.
    """
    if promise.mean:
        columns = x.shape[1]

        def tell(factor: float) -> tuple[None, Array]:
            return None, nearest(x, steps_of(promise.bound_at(factor, columns), x.dtype))

        kept = promise.widest(tell, x, near)
        # The finest may still miss what rounding to integers costs; that is seen when decoded.
        factor = 1.0 if kept is None else kept.factor
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


def encode_components(x: Array, fitted: Fitted) -> bytes | None:
    """Of x (R, D), by components and what these leave; None where there can be none."""
    rows, columns = x.shape
    if not has_components(rows, columns):
        return None
    q = fitted.made.q
    coded = _coded(q, rows)
    return _payload(x, *fitted, components.dump(coded, q - coded.predicted(rows, columns)))


def encode_coarse(x: Array, promise: Promise, plans: list[Coarse]) -> bytes | None:
    """Of x (R, D), by components alone; None where these do not keep the mean error.

    By the smallest of the plans; of long x by the first that does.
    """
    found: list[bytes] = []
    for plan in plans:
        kept = coarse.code(x, promise, plan)
        if kept is not None:
            places = np.flatnonzero(promise.broken(kept.values, x))
            made = Gridded(plan.fine.grid, plan.fine.whole.q, places)
            found.append(_payload(x, coarse.FINE, made, components.dump(kept.told, None)))
            if x.size > LONG:
                break
    return min(found, key=len, default=None)


def guess_components(q: Integers, rows: int) -> float:
    """Bytes by components and what they leave, about, of so many rows like these, q (R, D).

    Infinite where there can be no components.
    """
    if not has_components(rows, q.shape[1]):
        return np.inf
    coded = _coded(q, rows, some=True)
    return components.guess(coded, q - coded.predicted(*q.shape), rows / len(q))


def has_components(rows: int, columns: int) -> bool:
    """Whether components with what they leave may be worth it."""
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


def _coded(q: Integers, rows: int, some: bool = False) -> components.Coded:
    """Of q (R, D), which are some of so many rows, along all directions, or some, that pay."""
    found = components.find(q, 1, some)
    kept = components.worth(found, _STEP, rows)
    return components.code(components.coordinates(q, found, kept), found, _STEP)
