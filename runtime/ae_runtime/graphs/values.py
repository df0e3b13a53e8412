"""What is known of a graph's values without running it: dims, element types, and whole numbers."""

from __future__ import annotations

from math import prod
from typing import Never

from msgspec import Struct

from ae_runtime.graphs.graph import DTYPES, Node, Tensor

MAX_RANK = 8
MAX_DIM = 1 << 28
MAX_BYTES = 1 << 40  # of one value, whatever a user allows
MAX_NUMBERS = 64  # values that a shape may be computed from
# So many rows that whatever is counted with them tells how it depends on them: of a + b * MANY the
# low bits are a and the others are b, as long as no number of a graph without them is as large.
_BITS = 128
MANY = 1 << _BITS
INT64, INT32, BOOL, FLOAT, UINT8 = 7, 6, 9, 1, 2
_FIXED = {  # operators whose first output has one type, whatever goes in
    **dict.fromkeys(("Shape", "ArgMax", "ArgMin"), INT64),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), BOOL),
    **dict.fromkeys(("And", "Or", "Xor", "Not", "IsNaN", "IsInf"), BOOL),
}
_SECOND = {"TopK": INT64, "MaxPool": INT64}  # indices

Dims = tuple[int, ...]


class Misfit(Exception):
    """A complaint: an operator and values that do not fit, or more than a graph may ask for."""


class Known(Struct, frozen=True):
    """What is known of one value.

    numbers: those that it holds, of a short one of int64 that a shape may be computed from; reals:
    those of a short weight of float32, which may be the factors of Resize.
    constant: whether it is computed from weights alone; onnxruntime does that once, and keeps it.
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


def of_tensor(tensor: Tensor) -> Known:
    """What is known of a weight."""
    numbers, reals, size = None, None, len(tensor.raw)
    if tensor.dtype == INT64 and size <= 8 * MAX_NUMBERS:
        numbers = tuple(tensor.raw.cast("q"))
    elif tensor.dtype == FLOAT and size <= 4 * MAX_RANK:
        reals = tuple(tensor.raw.cast("f"))
    return Known(tuple(tensor.dims), tensor.dtype, numbers, reals, constant=True)


class Call(Struct):
    """One operator and what goes in; its methods complain where that does not fit."""

    node: Node
    inputs: list[Known | None]  # None for those that are left out
    whole: dict[str, list[int]]  # attributes

    def refuse(self, what: str) -> Never:
        """Raise a complaint on this operator."""
        raise Misfit(f"operator {self.node.op} {what}")

    def given(self, at: int) -> Known | None:
        """Its input `at`, None if it is left out."""
        return self.inputs[at] if at < len(self.inputs) else None

    def input(self, at: int = 0) -> Known:
        """Its input `at`, which it must have."""
        value = self.given(at)
        if value is None:
            self.refuse("lacks one of its inputs")
        return value

    def dims(self, at: int = 0, least: int = 0) -> Dims:
        """Dims of its input `at`, at least so many."""
        dims = self.input(at).dims
        if len(dims) < least:
            self.refuse(f"takes {shown(dims)}; it must have {least} axes or more")
        return dims

    def sizes(self, at: int) -> Dims:
        """Whole numbers in its input `at`, which may depend on the rows."""
        value = self.input(at)
        if value.numbers is None or len(value.dims) > 1:
            self.refuse(
                "is given a shape that is not known; sizes must be constants, or come from Shape"
            )
        return value.numbers

    def numbers(self, at: int) -> Dims:
        """Whole numbers in its input `at`, the same for any number of rows."""
        numbers = self.sizes(at)
        if any(abs(number) >= 1 << 64 for number in numbers):
            self.refuse("is given numbers that depend on how many rows there are")
        return numbers

    def number(self, name: str, default: int) -> int:
        """An attribute that is one whole number."""
        numbers = self.whole.get(name)
        return default if numbers is None else numbers[0]

    def flag(self, name: str, default: bool = False) -> bool:
        """An attribute that is 0 or 1; what others mean differs from operator to operator."""
        number = self.number(name, default)
        if number not in (0, 1):
            self.refuse(f"has {name} {number}; 0 or 1 is taken")
        return number == 1

    def axis(self, number: int, rank: int) -> int:
        """The axis that a number stands for, which may count from the end."""
        if not -rank <= number < rank:
            self.refuse(f"has axis {number} of a value with {rank} axes")
        return number % rank


def parts(number: int) -> tuple[int, int]:
    """(a, b) of a number of things a + b * MANY, such as bytes; a may be below 0."""
    b = (number + (MANY >> 1)) >> _BITS
    return number - (b << _BITS), b


def with_rows(number: int, rows: int) -> int:
    """A number of things for so many rows, not for MANY."""
    a, b = parts(number)
    return a + b * rows


def shown(dims: Dims) -> str:
    """Dims in words of a message."""
    return "(" + ", ".join(_one(*parts(size)) for size in dims[:MAX_RANK]) + ")"


def _one(a: int, b: int) -> str:
    rows = "batch" if b == 1 else f"{b} * batch"
    return str(a) if not b else rows if not a else f"{rows} + {a}"


def checked(call: Call, dims: Dims, dtype: int) -> None:
    """Complain of a value that is larger than any may be, or that not all rows have alike."""
    if len(dims) > MAX_RANK:
        call.refuse(f"gives a value with {len(dims)} axes; at most {MAX_RANK} are taken")
    for size in dims:
        a, b = parts(size)
        if not (0 <= a <= MAX_DIM and 0 <= b <= MAX_DIM):
            call.refuse("gives a value whose size does not grow evenly with rows, or without end")
    a, b = parts(prod(dims))
    if b >= MANY:
        call.refuse(f"gives a value of {shown(dims)}, which grows faster than rows")
    if max(a, b) * DTYPES[dtype][1] > MAX_BYTES:
        call.refuse(f"gives a value of {shown(dims)}; at most {MAX_BYTES} bytes are taken")


def type_of(call: Call, at: int) -> int:
    """TensorProto.DataType of what an operator gives as its output `at`."""
    node = call.node
    found = _SECOND.get(node.op, 0) if at == 1 else _FIXED.get(node.op, 0)
    if found:
        return found
    if node.op == "Cast":
        return _taken(call, call.number("to", 0))
    if node.op == "ConstantOfShape":
        return node.tensors[0].dtype if node.tensors else FLOAT
    if node.op == "QuantizeLinear":
        zero = call.given(2)
        return _taken(call, call.number("output_dtype", 0) or (zero.dtype if zero else UINT8))
    return call.input({"Where": 1, "DequantizeLinear": 1}.get(node.op, 0)).dtype


def _taken(call: Call, dtype: int) -> int:
    if dtype not in DTYPES:
        call.refuse(f"gives data type {dtype}, which is not taken")
    return dtype
