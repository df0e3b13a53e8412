"""Arrays of all kinds that an archive may be given, each a matter of its generator alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Random = np.random.Generator
# The narrow ones more often: more values of them pass in the same time.
DTYPES = (
    *("float32",) * 6,
    *("float64",) * 3,
    *("int16", "uint8") * 3,
    *("int8", "uint16", "int32", "uint32", "int64", "uint64"),
)
ROW_SHAPES: tuple[tuple[int, ...], ...] = (
    *((), (1,), (2,), (3,), (4,), (8,), (17,), (40,), (100,), (300,), (1000,)),
    *((1, 1), (3, 5), (8, 8), (4, 5, 3)),
)


def walk(rng: Random, rows: int, columns: int) -> Floats:
    x = np.cumsum(rng.standard_normal((rows, columns)), axis=0)
    if rng.random() < 0.5:  # columns that know of each other
        x += x[:, :1]
    return x


def noise(rng: Random, rows: int, columns: int) -> Floats:
    return rng.standard_normal((rows, columns))


def bursts(rng: Random, rows: int, columns: int) -> Floats:
    """Quiet, and now and then a thousand times as loud."""
    loud = np.repeat(rng.random(rows // 64 + 1) < 0.05, 64)[:rows, None]
    return rng.standard_normal((rows, columns)) * np.where(loud, 1e3, 1.0)


def steps(rng: Random, rows: int, columns: int) -> Floats:
    jumps = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.01)
    return np.cumsum(jumps, axis=0)


def stretches(rng: Random, rows: int, columns: int) -> Floats:
    """A walk that stands still for most of the time, all columns together."""
    held = np.maximum.accumulate(np.where(rng.random(rows) < 0.05, np.arange(rows), 0))
    return walk(rng, rows, columns)[held]


def low_rank(rng: Random, rows: int, columns: int) -> Floats:
    """Smooth rows that vary in few directions, and a little noise."""
    rank = int(rng.integers(1, 6))
    at = np.linspace(0, 1, columns)
    directions = np.cos(np.pi * np.arange(1, rank + 1)[:, None] * (at + rng.random()))
    x: Floats = rng.standard_normal((rows, rank)) @ directions
    return x + 10.0 ** rng.uniform(-6, -1) * rng.standard_normal((rows, columns))


def waves(rng: Random, rows: int, columns: int) -> Floats:
    frequency, phase = 10.0 ** rng.uniform(-4, 0, columns), rng.uniform(0, 6, columns)
    return np.sin(frequency * np.arange(rows)[:, None] + phase)


def few(rng: Random, rows: int, columns: int) -> Floats:
    """A few numbers that have nothing to do with each other."""
    values = rng.standard_cauchy(int(rng.integers(1, 40)))
    return values[rng.integers(0, len(values), (rows, columns))]


def tails(rng: Random, rows: int, columns: int) -> Floats:
    return rng.standard_cauchy((rows, columns))


def far(rng: Random, rows: int, columns: int) -> Floats:
    """Small movements far from zero."""
    return 10.0 ** rng.uniform(2, 9) + rng.standard_normal((rows, columns))


def bits(rng: Random, rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """Anything: of floats every kind of NaN, too."""
    raw = rng.bytes(rows * columns * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(rows, columns).copy()


def extremes(rng: Random, rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """The ends of what a dtype holds, what lies just inside of them, and some anywhere between."""
    if dtype.kind == "f":
        largest = np.finfo(dtype).max
        ends = np.array([largest, -largest, np.nextafter(largest, dtype.type(0)), 0.0, -0.0], dtype)
        x = (rng.uniform(-1, 1, (rows, columns)) * float(largest)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        low, high = limits.min, limits.max
        ends = np.array([low, low + 1, high - 1, high, 0], dtype)
        x = rng.integers(low, high, (rows, columns), dtype, endpoint=True)
    here = rng.random((rows, columns)) < 0.5
    return np.where(here, ends[rng.integers(0, len(ends), (rows, columns))], x)


def tiny(rng: Random, rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """Whole numbers of the smallest float there is: most have fewer digits than others."""
    if dtype.kind != "f":
        return rng.integers(0, 3, (rows, columns), dtype)
    whole = np.rint(walk(rng, rows, columns) * 10.0 ** rng.uniform(0, 8))
    return (whole * float(np.finfo(dtype).smallest_subnormal)).astype(dtype)


Signal = Callable[[Random, int, int], Floats]
Typed = Callable[[Random, int, int, np.dtype[Any]], Array]
SCALED: tuple[Signal, ...] = (
    *(walk, noise, bursts, steps, stretches, low_rank, waves, few, tails, far),
)
TYPED: tuple[Typed, ...] = (bits, extremes, tiny)
SIGNALS = (*SCALED, *TYPED)


def array(rng: Random, seed: int, values: int) -> tuple[str, Array]:
    """(signal, (N, ...) of about so many values); the signal is the seed's turn."""
    dtype = np.dtype(str(rng.choice(DTYPES)))
    made = SIGNALS[seed % len(SIGNALS)]
    wide = made is low_rank and rng.random() < 0.7
    shapes = [shape for shape in ROW_SHAPES if not wide or 17 <= np.prod(shape) <= 300]
    row_shape = shapes[rng.integers(len(shapes))]
    columns = int(np.prod(row_shape))
    rows = max(1, values // columns)
    if made in TYPED:
        x = made(rng, rows, columns, dtype)  # type: ignore[call-arg]
    else:
        x = scaled(rng, made(rng, rows, columns), dtype)  # type: ignore[call-arg]
    if dtype.kind == "f" and rng.random() < 0.3:
        leave_gaps(rng, x)
    return made.__name__, x.reshape(rows, *row_shape)


def scaled(rng: Random, x: Floats, dtype: np.dtype[Any]) -> Array:
    """In any unit; integers fill some share of what they can be, or more."""
    if dtype.kind == "f":
        return (x * 10.0 ** rng.uniform(-9, 9)).astype(dtype)
    limits = np.iinfo(dtype)
    x = x * (10.0 ** rng.uniform(-4, 0.3) * float(limits.max) / max(float(np.abs(x).max()), 1e-9))
    low = 0.0 if dtype.kind == "i" else float(limits.max) / 2
    # 2^63 is no int64, though it is the float64 that is nearest to the largest one.
    high = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else float(limits.max)
    return np.clip(np.rint(x + low), float(limits.min), high).astype(dtype)


def leave_gaps(rng: Random, x: Array) -> None:
    """NaN over stretches of rows, and infinities, NaN and zeros of both signs anywhere."""
    rows, columns = x.shape
    for _ in range(int(rng.integers(1, 5))):
        begin, column = int(rng.integers(rows)), int(rng.integers(columns))
        x[begin : begin + int(rng.integers(1, max(2, rows // 8))), column] = np.nan
    odd = np.array([np.inf, -np.inf, np.nan, -0.0, 0.0], x.dtype)
    count = int(x.size * 10.0 ** rng.uniform(-5, -1)) + 1
    x.reshape(-1)[rng.integers(0, x.size, count)] = odd[rng.integers(0, len(odd), count)]
