"""Arrays as applications have them: any dtype, layout and length, with the values that hurt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_wire import Array

Random = np.random.Generator
FLOATS = ("e", "f", "d", "g", ">e", ">f", ">d")
INTEGERS = ("b", "B", "h", "H", "i", "I", "q", "Q", ">h", ">i", ">q", "?")
EXACT = {"float32": 1 << 24, "float64": 1 << 53, "int32": (1 << 31) - 1, "uint8": 255}
LENGTHS = (255, 256, 257, 511, 512, 513)  # about one tile or two


def length(random: Random) -> int:
    """How many rows: mostly few, none at times, up to 5,000."""
    kind = random.random()
    if kind < 0.04:
        return 0
    if kind < 0.24:
        return 1
    if kind < 0.75:
        return int(random.integers(2, 21))
    if kind < 0.95:
        return int(random.integers(21, 301))
    return int(random.choice(LENGTHS) if kind < 0.98 else random.integers(301, 5001))


def near(random: Random, rows: Array, n: int) -> Array:
    """Rows of float64, n of them, about those given, some far from them."""
    if not n:
        return np.empty((0, *rows.shape[1:]))
    x = rows[random.integers(len(rows), size=n)].astype(np.float64)
    spread = np.nan_to_num(rows.astype(np.float64)).std(0) + 1e-12
    return x + spread * random.normal(size=x.shape) * random.choice([0, 0.1, 1, 30, 1e4])


def hurting(random: Random, x: Array, wanted: np.dtype[Any]) -> Array:
    """An array in a random dtype that the runtime takes for `wanted`, with awkward values.

    NaN, infinities, subnormal, huge and negative zero where it is floating-point; the largest whole
    numbers that `wanted` holds exactly where it is not.
    """
    taken = FLOATS + INTEGERS if wanted.kind == "f" else INTEGERS
    dtype = np.dtype(str(random.choice(taken)))
    awkward = random.random(x.shape) < random.choice([0, 0, 0.02, 0.3])
    if dtype.kind == "b":
        return random.random(x.shape) < 0.5
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        info = np.finfo(dtype)
        strange = [np.nan, np.inf, -np.inf, info.max, info.min, info.tiny, info.tiny / 4, 0, -0.0]
        x[awkward] = random.choice(np.array(strange, dtype), awkward.sum())
        return x.astype(dtype)
    info = np.iinfo(dtype)
    limit = EXACT[wanted.name]
    low = max(int(info.min), 0 if wanted.kind == "u" else -limit)
    high = min(int(info.max), limit)
    whole = np.clip(np.nan_to_num(np.round(x), posinf=0, neginf=0), low, high).astype(dtype)
    whole[awkward] = random.choice(np.array([low, high, 0, 1], dtype), awkward.sum())
    return whole


def unaligned(x: Array) -> Array:
    buffer = bytearray(x.nbytes + 1)
    buffer[1:] = x.tobytes()
    return np.frombuffer(buffer, x.dtype, offset=1).reshape(x.shape)


def read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


def sliced(x: Array) -> Array:
    wide = np.zeros((3 * len(x) + 2, *x.shape[1:-1], 2 * x.shape[-1] + 1), x.dtype)
    part = wide[2::3, ..., 1::2]
    part[...] = x
    return part


def in_records(x: Array) -> Array:
    """A field of packed records: neither aligned nor contiguous."""
    records = np.zeros(len(x), [("before", "u1"), ("x", x.dtype, x.shape[1:]), ("after", "u2")])
    records["x"] = x
    return records["x"]


LAYOUTS: tuple[Callable[[Array], Array], ...] = (
    lambda x: x,
    np.asfortranarray,
    lambda x: x[::-1].copy()[::-1],
    lambda x: x[..., ::-1].copy()[..., ::-1],
    lambda x: np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1),
    lambda x: np.broadcast_to(x[:1], x.shape) if len(x) else x,
    sliced,
    in_records,
    unaligned,
    read_only,
)


def laid_out(random: Random, x: Array) -> Any:
    """An array in some memory layout, or as nested lists; one of them repeats its first row."""
    if 0 < len(x) < 20 and x.dtype != np.longdouble and random.random() < 0.1:
        return x.tolist()
    return LAYOUTS[random.integers(len(LAYOUTS))](x)
