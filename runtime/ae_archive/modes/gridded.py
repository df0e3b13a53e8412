"""Chunks of rows on a grid: integers by the row coder or by components, and outliers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import components
from ae_archive.coding.blocks import MANY
from ae_archive.coding.grid import Grid, Gridded, nearest, steps_of, to_grid
from ae_archive.coding.integers import Integers, pack, unpack
from ae_archive.coding.outliers import pack_outliers, restore_outliers
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.row_coder import pack_rows, unpack_rows
from ae_archive.error_bound import ErrorBound, factor_bytes, factor_of
from ae_archive.modes import components_alone
from ae_archive.modes.components_alone import Plan
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
_EVEN = 3**0.5  # factor of steps in which no place is likelier than another
_NARROWER = (0.984375, 0.9375, 0.75)  # factors of the bound: exact, as float32
_MANY_OUTLIERS = 0.001  # share of the values, for narrower steps to be tried
_OUTLIER_BITS = 40.0
_STEP = 2.0  # step of codes, in those of the grid, where residuals are stored
_MIN_COLUMNS = 17  # of fewer columns the linear predictor uses all


class Fitted(NamedTuple):
    """Rows on a grid, and the factor of the error bound for it."""

    factor: float
    gridded: Gridded


def fit(x: Array, bound: ErrorBound, near: float = _EVEN) -> Fitted:
    """Rows x (R, D) on a grid within the error bound.

    Where single values are bounded, the factor is 1, or so much less that few values fall out of
    the bound when they are rounded to x's dtype. near: a factor for a target RMSE to begin with.
    """
    if bound.is_rmse:

        def encode_at(factor: float) -> tuple[None, Array]:
            return None, nearest(x, steps_of(bound.limits_at(factor, x.shape[1]), x.dtype))

        widest = bound.widest_steps(encode_at, x, near)
        # The finest may still miss what rounding to integers costs; that is seen when decoded.
        factor = 1.0 if widest is None else widest.factor
        return Fitted(factor, _gridded(x, bound, factor))
    tried = [Fitted(1.0, _gridded(x, bound))]
    outliers = len(tried[0].gridded.outliers) - (~np.isfinite(x)).sum()
    if x.dtype.kind == "f" and outliers > _MANY_OUTLIERS * x.size:
        tried += [Fitted(factor, _gridded(x, bound, factor)) for factor in _NARROWER]
    # A narrower step takes log2(1 / factor) bits more of each value.
    return min(
        tried,
        key=lambda one: _OUTLIER_BITS * len(one.gridded.outliers) - x.size * np.log2(one.factor),
    )


def encode(x: Array, fitted: Fitted) -> bytes:
    """Payload of x (R, D), by the row coder."""
    return _payload(x, *fitted, pack_rows(fitted.gridded.q))


def encode_components(x: Array, fitted: Fitted) -> bytes | None:
    """Payload of x (R, D), by components and residuals; None where there can be none."""
    rows, columns = x.shape
    if not has_components(rows, columns):
        return None
    q = fitted.gridded.q
    coded = _coded(q, rows)
    return _payload(x, *fitted, components.dump(coded, q - coded.predicted(rows, columns)))


def encode_components_alone(x: Array, bound: ErrorBound, plans: list[Plan]) -> bytes | None:
    """Payload of x (R, D), by components alone; None where these miss the target RMSE.

    By the smallest of the plans; of many values by the first that meets it.
    """
    payloads: list[bytes] = []
    for plan in plans:
        widest = components_alone.code(x, bound, plan)
        if widest is not None:
            places = np.flatnonzero(bound.violations(widest.decoded, x))
            gridded = Gridded(plan.fine.grid, plan.fine.all_rows.q, places)
            numbers = components.dump(widest.encoded, None)
            payloads.append(_payload(x, components_alone.FINE, gridded, numbers))
            if x.size > MANY:
                break
    return min(payloads, key=len, default=None)


def estimate_components(q: Integers, rows: int) -> float:
    """Estimated bytes by components and residuals, of `rows` rows like q (R, D).

    Infinite where there can be no components.
    """
    if not has_components(rows, q.shape[1]):
        return np.inf
    coded = _coded(q, rows, some=True)
    return components.estimate(coded, q - coded.predicted(*q.shape), rows / len(q))


def has_components(rows: int, columns: int) -> bool:
    """Whether components with residuals may be worth it."""
    return _MIN_COLUMNS <= columns <= components.MAX_SIZE and rows >= columns // 4


def decode(
    payload: bytes, rows: int, columns: int, bound: ErrorBound, by_components: bool
) -> Array:
    """Rows (R, D) of a payload. Raises ArchiveCorrupt, MissingExtra."""
    parts = Parts(payload)
    factor = factor_of(parts.take())
    base, numbers, outliers = (parts.take() for _ in range(3))
    parts.end()
    step = steps_of(bound.limits_at(factor, columns), bound.dtype)
    bases = unpack(base, columns)
    if len(bases) and int(np.abs(bases).max()) > 1 << 53:
        raise ArchiveCorrupt("a grid begins beyond 2^53")
    q = (components.load if by_components else unpack_rows)(numbers, rows, columns)
    x = Grid(step, bases, bound.dtype).values(q)
    restore_outliers(x, outliers)
    return x


def _gridded(x: Array, bound: ErrorBound, factor: float = 1.0) -> Gridded:
    exact = bound.exact if len(bound.limits) else None
    return to_grid(x, bound.limits_at(factor, x.shape[1]), exact)


def _payload(x: Array, factor: float, gridded: Gridded, numbers: bytes) -> bytes:
    outliers = pack_outliers(x, gridded.outliers)
    return join([factor_bytes(factor), pack(gridded.grid.base), numbers, outliers])


def _coded(q: Integers, rows: int, some: bool = False) -> components.Coded:
    """Codes of q (R, D), some of `rows` rows, along the directions that pay."""
    directions = components.directions_of(q, 1, some)
    count = components.cheapest_count(directions, _STEP, rows)
    return components.code(components.coordinates(q, directions, count), directions, _STEP)
