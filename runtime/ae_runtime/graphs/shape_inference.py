"""The dims of all values of a graph, known before onnxruntime sees it."""

from __future__ import annotations

from math import prod

from msgspec import Struct

from ae_runtime.graphs.graph import DTYPES, Graph, Node
from ae_runtime.graphs.operators import OPERATORS, Call
from ae_runtime.graphs.operators.op import numbers_of_first
from ae_runtime.graphs.operators.shapes import constant
from ae_runtime.graphs.values import (
    INT64,
    MANY,
    MAX_BYTES,
    MAX_DIM,
    MAX_NUMBERS,
    MAX_RANK,
    Dims,
    GraphError,
    TensorInfo,
    of_tensor,
    parts,
    shown,
)


class Step(Struct, frozen=True):
    """One operator of a graph, its outputs, and the bytes that it takes for itself."""

    call: Call
    outputs: list[TensorInfo]
    workspace: int


class Inference(Struct, frozen=True):
    """What is known of a graph's values, by name, and of its operators, in their order."""

    values: dict[str, TensorInfo]
    steps: list[Step]


def infer(graph: Graph, rows: int) -> Inference:
    """What is known of every value of a graph that is given so many rows.

    Raises GraphError where an operator does not take its inputs, or too much is asked for.
    """
    values = {
        port.name: TensorInfo(
            tuple(rows if size is None else size for size in port.dims), port.dtype
        )
        for port in graph.inputs
    }
    values |= {tensor.name: of_tensor(tensor) for tensor in graph.initializers}
    steps = []
    for node in graph.nodes:
        call = _call(node, values)
        outputs = [constant(call)] if node.op == "Constant" else _outputs(call)
        if not 0 < len(node.outputs) <= len(outputs):
            call.refuse(f"has {len(node.outputs)} outputs")
        named = zip(node.outputs, outputs, strict=False)
        values.update((name, value) for name, value in named if name)
        workspace = OPERATORS[node.op].workspace
        steps.append(Step(call, outputs, workspace(call, outputs) if workspace else 0))
    return Inference(values, steps)


def _call(node: Node, values: dict[str, TensorInfo]) -> Call:
    inputs: list[TensorInfo | None] = []
    for name in node.inputs:
        value = values.get(name)
        if name and value is None:
            raise GraphError(
                f"operator {node.op} takes {name!r:.60}, which nothing gives before it"
            )
        inputs.append(value if name else None)
    return Call(node, inputs, dict(node.integers))


def _outputs(call: Call) -> list[TensorInfo]:
    _check_not_empty(call)
    op = OPERATORS[call.node.op]
    constant = all(value.constant for value in call.inputs if value)
    outputs = []
    for at, dims in enumerate(op.shape(call)):
        dtype = op.dtype_of(call, at)
        _check_size(call, dims, dtype)
        numbers = _numbers(call, dims, dtype) if at == 0 else None
        is_fixed = numbers is not None and not any(parts(number)[1] for number in numbers)
        outputs.append(TensorInfo(dims, dtype, numbers, None, constant or is_fixed))
    return outputs


def _check_not_empty(call: Call) -> None:
    first = OPERATORS[call.node.op].nonempty_from
    if first is None:
        return
    for name, value in list(zip(call.node.inputs, call.inputs, strict=True))[first:]:
        if value and 0 in value.dims:
            call.refuse(f"takes {name!r:.60}, which is without elements")


def _check_size(call: Call, dims: Dims, dtype: int) -> None:
    """Refuse a value that is larger than any may be, or whose size does not follow the rows."""
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


def _numbers(call: Call, dims: Dims, dtype: int) -> Dims | None:
    """The whole numbers in an output of these dims; None where they are not known."""
    rule = OPERATORS[call.node.op].numbers
    if rule is None or dtype != INT64 or (len(dims) > 1 and rule is not numbers_of_first):
        return None
    if prod(dims) > MAX_NUMBERS:
        return None
    numbers = rule(call)
    return numbers if numbers is None or all(map(_is_exact, numbers)) else None


def _is_exact(number: int) -> bool:
    """Whether onnxruntime's int64 holds a number, for any number of rows."""
    a, b = parts(number)
    return -(1 << 63) <= a < 1 << 63 and abs(b) <= MAX_DIM
