"""The dims of all values of a graph, known before onnxruntime sees it, or what does not fit."""

from __future__ import annotations

from msgspec import Struct

from ae_runtime.graphs import shape_rules, window_rules
from ae_runtime.graphs.arithmetic import numbers_of
from ae_runtime.graphs.graph import Graph, Node
from ae_runtime.graphs.values import (
    FLOAT,
    INT64,
    MAX_NUMBERS,
    Call,
    Known,
    Misfit,
    checked,
    of_tensor,
    parts,
    type_of,
)
from ae_runtime.graphs.workspace import workspace

# Operators that must not be given a tensor without elements: of Conv its weights.
FULL_ONLY = (
    *("GRU", "LSTM", "RNN", "Conv", "ConvTranspose", "InstanceNormalization", "TopK"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare"),
)
RULES = shape_rules.RULES | window_rules.RULES


class Step(Struct, frozen=True):
    """One operator: what it gives, and the bytes that it needs for itself while it does."""

    made: list[Known]
    workspace: int


class Walk(Struct, frozen=True):
    """What is known of the values of a graph by their names, and its operators in their order."""

    values: dict[str, Known]
    steps: list[Step]


def walk(graph: Graph, rows: int) -> Walk:
    """What is known of every value of a graph that is given so many rows.

    Raises Misfit where an operator does not take what it is given, or too much is asked for.
    """
    values = {
        port.name: Known(tuple(rows if size is None else size for size in port.dims), port.dtype)
        for port in graph.inputs
    }
    values |= {tensor.name: of_tensor(tensor) for tensor in graph.initializers}
    steps = []
    for node in graph.nodes:
        call = _call(node, values)
        made = [_constant(call)] if node.op == "Constant" else _made(call)
        if not 0 < len(node.outputs) <= len(made):
            call.refuse(f"has {len(node.outputs)} outputs")
        values.update(
            (name, value) for name, value in zip(node.outputs, made, strict=False) if name
        )
        steps.append(Step(made[: len(node.outputs)], workspace(call, made)))
    return Walk(values, steps)


def _call(node: Node, values: dict[str, Known]) -> Call:
    inputs: list[Known | None] = []
    for name in node.inputs:
        value = values.get(name)
        if name and value is None:
            raise Misfit(f"operator {node.op} takes {name!r:.60}, which nothing gives before it")
        inputs.append(value if name else None)
    return Call(node, inputs, dict(node.integers))


def _made(call: Call) -> list[Known]:
    """What an operator gives."""
    _full(call)
    constant = all(value.constant for value in call.inputs if value)
    made = []
    for at, dims in enumerate(RULES[call.node.op](call)):
        dtype = type_of(call, at)
        checked(call, dims, dtype)
        numbers = numbers_of(call, dims, dtype) if at == 0 else None
        always = numbers is not None and not any(parts(number)[1] for number in numbers)
        made.append(Known(dims, dtype, numbers, None, constant or always))
    return made


def _full(call: Call) -> None:
    """Complain of a tensor without elements of which onnxruntime 1.23 makes what is not there.

    It reads at null, aborts, or gives a value of other dims.
    """
    op, names = call.node.op, call.node.inputs
    if op in FULL_ONLY:
        for name, value in list(zip(names, call.inputs, strict=True))[op == "Conv" :]:
            if value and 0 in value.dims:
                call.refuse(f"takes {name!r:.60}, which is without elements")


def _constant(call: Call) -> Known:
    """What the one attribute of a Constant says."""
    node = call.node
    if node.tensors:
        return of_tensor(node.tensors[0])
    ((name, numbers),) = node.integers or [("", [])]
    if "value_float" in node.attributes:
        return Known((), FLOAT, constant=True)
    if name == "value_int" and len(numbers) == 1:
        return Known((), INT64, tuple(numbers), constant=True)
    if name == "value_ints" and len(numbers) <= MAX_NUMBERS:
        return Known((len(numbers),), INT64, tuple(numbers), constant=True)
    call.refuse(f"has {', '.join(node.attributes)[:60]!r}, which is not taken")
