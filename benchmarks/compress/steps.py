"""Values as whole numbers of steps, for coders of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def whole(a: Array, bound: float) -> Array:
    """The nearest multiples of twice the bound, as int32."""
    return np.rint(a.astype(np.float64) / (2 * bound)).astype(np.int32)


def values(q: Array, bound: float) -> Array:
    """What whole steps of twice the bound stand for."""
    return (q * (2.0 * bound)).astype(np.float32)


def narrow(q: Array) -> Array:
    for dtype in (np.int8, np.int16):
        if (q == q.astype(dtype)).all():
            return q.astype(dtype)
    return q
