"""Numbers with a bound on what float32 may make of them.

Every value is a centre and a radius: whatever order of sums, fused product or approximation of a
curve a float32 implementation takes, its value lies within. Where no such choice is left (subtract,
scale, cast, clip, compare, round) the radius is 0, and the value that of IEEE arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx_wire import Array

# Error of a logistic or hyperbolic tangent in float32: approximations by fractions, which are flat
# beyond about 18 and so wrong by that much, relative to 1.
OF_A_CURVE = 2.0**-21
TINY = 2.0**-149  # the least float32: what underflow may lose


class Value(NamedTuple):
    """Numbers known to lie within centre +- radius, and the dtype that holds them."""

    centre: Array
    radius: Array
    dtype: np.dtype[Any]


def exact(values: Array) -> Value:
    """Numbers that are just these."""
    wide = values.astype(np.float64) if values.dtype.kind == "f" else values
    return Value(wide, np.zeros(values.shape), values.dtype)


def eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) / 2 if dtype.kind == "f" else 0.0


def rounded(centre: Array, radius: Array, dtype: np.dtype[Any]) -> Value:
    """A result after its rounding to dtype, exactly that where the operands were exact.

    A sum or product in float64, rounded to float32, is the sum or product in float32.
    """
    known = centre.astype(dtype).astype(np.float64)
    slack = eps(dtype) * (np.abs(centre) + radius) + (TINY if dtype == np.float32 else 0)
    return Value(
        np.where(radius == 0, known, centre), np.where(radius == 0, 0, radius + slack), dtype
    )


def add(a: Value, b: Value) -> Value:
    return rounded(a.centre + b.centre, a.radius + b.radius, a.dtype)


def subtract(a: Value, b: Value) -> Value:
    return rounded(a.centre - b.centre, a.radius + b.radius, a.dtype)


def multiply(a: Value, b: Value) -> Value:
    of_a, of_b = np.abs(a.centre), np.abs(b.centre)
    radius = of_a * b.radius + of_b * a.radius + a.radius * b.radius
    radius = np.where((a.radius == 0) & (b.radius == 0), 0, radius)  # infinity times 0 is none
    return rounded(a.centre * b.centre, radius, a.dtype)


def matmul(a: Value, b: Value, c: Value) -> Value:
    """Rows @ b + c with any order of its sums: each of K products meets at most K + 1 roundings."""
    size = a.centre.shape[-1]
    gamma = (size + 2) * eps(a.dtype) * (1 + 1e-4)
    of_b, of_c = np.abs(b.centre), np.abs(c.centre)
    spread = a.radius + gamma * (np.abs(a.centre) + a.radius)
    radius = spread @ of_b + c.radius + gamma * (of_c + c.radius) + (size + 2) * TINY
    if b.radius.any():
        radius = radius + (np.abs(a.centre) + a.radius) * (1 + gamma) @ b.radius
    return Value(a.centre @ b.centre + c.centre, radius, a.dtype)


def rising(curve: Callable[[Array], Array], value: Value, error: float = 0.0) -> Value:
    """A function that never falls, from the ends of what a value may be."""
    low, high = curve(value.centre - value.radius), curve(value.centre + value.radius)
    same = (low == high) | (np.isnan(low) & np.isnan(high))
    radius = np.where(same, 0, (high - low) / 2 * (1 + 1e-12)) + error
    return Value(np.where(same, low, (low + high) / 2), radius, value.dtype)


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def logistic(value: Value) -> Value:
    return rising(_logistic, value, OF_A_CURVE)


def tanh(value: Value) -> Value:
    return rising(np.tanh, value, OF_A_CURVE)


def moved(value: Value, move: Callable[[Array], Array]) -> Value:
    return Value(move(value.centre), move(value.radius), value.dtype)
