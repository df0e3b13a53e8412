"""What is known of a graph's values without running it: dims, element types, whole numbers."""

from __future__ import annotations

from math import prod

from msgspec import Struct

from ae_runtime.graphs.graph import DTYPES, Tensor

MAX_RANK = 8  # axes
MAX_DIM = 1 << 28  # elements along one axis
MAX_BYTES = 1 << 40  # of one value, whatever a user allows
MAX_NUMBERS = 64  # of a value that a shape may be computed from
# The number of rows that shapes are inferred for, so large that a size tells how it depends on the
# rows: of a + b * MANY the low bits are a and the others are b, as long as no number of a graph
# without rows is as large.
_BITS = 128
MANY = 1 << _BITS
# Element types, as TensorProto.DataType numbers them.
FLOAT, UINT8, INT32, INT64, BOOL = 1, 2, 6, 7, 9

Dims = tuple[int, ...]


class GraphError(Exception):
    """An operator and values that do not fit, or more than a graph may ask for."""


class TensorInfo(Struct, frozen=True):
    """What is known of one value.

    numbers: its elements, of a short value of int64, which a shape may be computed from. reals: its
    elements, of a short weight of float32, which may be the factors of Resize. constant: whether it
    is computed from weights alone; onnxruntime does that once, and keeps the result.
    """

    dims: Dims
    dtype: int
    numbers: Dims | None = None
    reals: tuple[float, ...] | None = None
    constant: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return prod(self.dims) * DTYPES[self.dtype][1]


def of_tensor(tensor: Tensor) -> TensorInfo:
    """What is known of a weight."""
    numbers, reals, size = None, None, len(tensor.raw)
    if tensor.dtype == INT64 and size <= 8 * MAX_NUMBERS:
        numbers = tuple(tensor.raw.cast("q"))
    elif tensor.dtype == FLOAT and size <= 4 * MAX_RANK:
        reals = tuple(tensor.raw.cast("f"))
    return TensorInfo(tuple(tensor.dims), tensor.dtype, numbers, reals, constant=True)


def parts(number: int) -> tuple[int, int]:
    """(a, b) of a size or a number of bytes a + b * MANY; a may be below 0."""
    b = (number + (MANY >> 1)) >> _BITS
    return number - (b << _BITS), b


def with_rows(number: int, rows: int) -> int:
    """A size or a number of bytes for so many rows in place of MANY."""
    a, b = parts(number)
    return a + b * rows


def shown(dims: Dims) -> str:
    """Dims as messages show them, such as (batch, 8)."""
    return "(" + ", ".join(_shown_size(*parts(size)) for size in dims[:MAX_RANK]) + ")"


def _shown_size(a: int, b: int) -> str:
    rows = "batch" if b == 1 else f"{b} * batch"
    return str(a) if not b else rows if not a else f"{rows} + {a}"
