"""What the loader knows of an operator, and one use of it in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

from msgspec import Struct

from ae_runtime.graphs.graph import Node
from ae_runtime.graphs.values import Dims, GraphError, TensorInfo, shown


class Call(Struct, frozen=True):
    """One operator of a graph and its inputs; its methods raise GraphError where these do not fit.

    inputs: None for those that are left out. integers: the attributes that are whole numbers.
    """

    node: Node
    inputs: list[TensorInfo | None]
    integers: dict[str, list[int]]

    def refuse(self, what: str) -> Never:
        """Raise a GraphError that names this operator."""
        raise GraphError(f"operator {self.node.op} {what}")

    def optional(self, at: int) -> TensorInfo | None:
        """Input number `at`, None if it is left out."""
        return self.inputs[at] if at < len(self.inputs) else None

    def input(self, at: int = 0) -> TensorInfo:
        """Input number `at`, which must be there."""
        value = self.optional(at)
        if value is None:
            self.refuse("lacks one of its inputs")
        return value

    def dims(self, at: int = 0, least: int = 0) -> Dims:
        """Dims of input number `at`, which must be `least` or more."""
        dims = self.input(at).dims
        if len(dims) < least:
            self.refuse(f"takes {shown(dims)}; it must have {least} axes or more")
        return dims

    def sizes(self, at: int) -> Dims:
        """Whole numbers that input number `at` holds; they may depend on the rows."""
        value = self.input(at)
        if value.numbers is None or len(value.dims) > 1:
            self.refuse(
                "is given a shape that is not known; sizes must be constants, or come from Shape"
            )
        return value.numbers

    def numbers(self, at: int) -> Dims:
        """Whole numbers that input number `at` holds, the same for any number of rows."""
        numbers = self.sizes(at)
        if any(abs(number) >= 1 << 64 for number in numbers):
            self.refuse("is given numbers that depend on how many rows there are")
        return numbers

    def number(self, name: str, default: int) -> int:
        """An attribute that is one whole number."""
        numbers = self.integers.get(name)
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

    def broadcast(self, *shapes: Dims) -> Dims:
        """Dims that all of these broadcast to, as in numpy."""
        common = list(shapes[0])
        for dims in shapes[1:]:
            if dims == tuple(common):
                continue
            common[:0] = [1] * (len(dims) - len(common))
            for at, size in enumerate(dims, len(common) - len(dims)):
                if common[at] == 1:
                    common[at] = size
                elif size not in (1, common[at]):
                    self.refuse(f"takes {shown(shapes[0])} and {shown(dims)}, which do not fit")
        return tuple(common)

    def check_fits(self, at: int, into: Dims) -> None:
        """Refuse input number `at`, if there is one, unless it broadcasts to these dims."""
        value = self.optional(at)
        if value is not None and self.broadcast(into, value.dims) != into:
            self.refuse(f"takes {shown(value.dims)}, which does not fit {shown(into)}")

    def check_dims(self, at: int, dims: Dims) -> None:
        """Refuse input number `at`, if there is one, unless it has these dims."""
        value = self.optional(at)
        if value is not None and value.dims != dims:
            self.refuse(f"takes {shown(value.dims)} where it needs {shown(dims)}")


Outputs = list[TensorInfo]


def numbers_of_first(call: Call) -> Dims | None:
    """The whole numbers of the first input, which are those of the output."""
    return call.input().numbers


class Op(Struct, frozen=True):
    """What the loader knows of an operator; its rules raise GraphError for what does not fit.

    shape: dims of each output. dtype: element type of the outputs, a number or a rule, None for
    that of the first input; second_dtype: of the second one, where it differs. numbers: the whole
    numbers that the first output holds, None where they are not known. workspace: bytes that it
    takes while it runs, beside its outputs. products: numbers that it multiplies and adds up.

    Limits: skips_inputs: whether an empty name may leave an input out; for some others onnxruntime
    1.23 and 1.32 read at null, and the process ends. bounds_attributes: whether admission bounds
    its attributes. nonempty_from: the first input that must have elements; without them onnxruntime
    1.23 reads at null, aborts, or gives a value of other dims.

    Memory: folds: whether constant inputs make it computed once, at loading. reorders_weights:
    whether its weights are copied into another layout. blocks_channels: whether images of its graph
    are kept in blocks of channels.
    """

    shape: Callable[[Call], list[Dims]]
    dtype: int | Callable[[Call], int] | None = None
    second_dtype: int | None = None
    numbers: Callable[[Call], Dims | None] | None = None
    workspace: Callable[[Call, Outputs], int] | None = None
    products: Callable[[Call, Outputs], int] | None = None
    skips_inputs: bool = False
    bounds_attributes: bool = False
    nonempty_from: int | None = None
    folds: bool = True
    reorders_weights: bool = False
    blocks_channels: bool = False

    def dtype_of(self, call: Call, at: int) -> int:
        """TensorProto.DataType of output number `at`."""
        if at == 1 and self.second_dtype:
            return self.second_dtype
        if self.dtype is None:
            return call.input().dtype
        return self.dtype if isinstance(self.dtype, int) else self.dtype(call)
