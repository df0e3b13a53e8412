"""What can be known of a graph's values without running it: element types, and parts of shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

from ae_runtime.graph import Graph, Node, Tensor

INT64, BOOL, FLOAT = 7, 9, 1
_FIXED = {  # operators whose first output has one type, whatever goes in
    **dict.fromkeys(("Shape", "ArgMax", "ArgMin"), INT64),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), BOOL),
    **dict.fromkeys(("And", "Or", "Xor", "Not", "IsNaN", "IsInf"), BOOL),
}
_SECOND = {"TopK": INT64, "MaxPool": INT64}  # indices
_LONGEST_SHAPE = 64  # values that a shape may be computed from
_FAR = 1 << 28  # past the end of every axis
# What exporters compute shapes with: each gives numbers of its first input, and none twice.
_SHAPE_STEPS = {"Gather", "Slice", "Squeeze", "Unsqueeze", "Cast", "Identity"}


def element_types(graph: Graph) -> dict[str, int]:
    """TensorProto.DataType of every value that a node gives, a weight or an input is; 0: unknown.

    Right for the operators that admission admits.
    """
    types = {value.name: value.dtype for value in graph.inputs}
    types |= {tensor.name: tensor.dtype for tensor in graph.initializers}
    for node in graph.nodes:
        for at, name in enumerate(node.outputs):
            second = _SECOND.get(node.op) if at == 1 else None
            types[name] = second or _type_of(node, types)
    return types


def _type_of(node: Node, types: dict[str, int]) -> int:
    if node.op in _FIXED:
        return _FIXED[node.op]
    if node.op == "Cast":
        return _cast_to(node)
    if node.op in ("Constant", "ConstantOfShape"):
        return node.tensors[0].dtype if node.tensors else FLOAT * (node.op == "ConstantOfShape")
    # The type of a quantized value is its zero point's, of one made real again its scale's.
    at = {"Where": 1, "QuantizeLinear": 2, "DequantizeLinear": 1}.get(node.op, 0)
    return types.get(node.inputs[at], 0) if at < len(node.inputs) else 0


def _cast_to(node: Node) -> int:
    return next((numbers[0] for name, numbers in node.integers if name == "to"), 0)


def constants(graph: Graph) -> dict[str, Tensor]:
    """Weights, and what Constant operators give, by name."""
    known = {tensor.name: tensor for tensor in graph.initializers}
    for node in graph.nodes:
        if node.op == "Constant" and node.tensors:
            known |= dict.fromkeys(node.outputs, node.tensors[0])
    return known


def makers(graph: Graph) -> dict[str, Node]:
    """The node that gives each value, by the value's name."""
    return {output: node for node in graph.nodes for output in node.outputs}


def shape_numbers(
    name: str, known: dict[str, Tensor], makers: dict[str, Node]
) -> Iterator[int | str | None]:
    """Whole numbers that a shape operand is put together from; None for what is not known.

    known: of constants; makers: of makers. Where dims of one of the graph's own values are taken,
    by Shape, the value's name stands for them.
    """
    todo, taken = [name], 0
    while todo:
        name = todo.pop()
        node = makers.get(name, Node())
        taken += 1
        if name in known:
            yield from integers(known[name])
        elif taken > _LONGEST_SHAPE:  # one that doubles with every step would not end
            yield None
            return
        elif node.op == "Shape":
            yield node.inputs[0] if node.inputs else None
        elif node.op == "Concat":
            todo += node.inputs
        elif node.op in _SHAPE_STEPS and _only_chooses(node, known):
            todo += node.inputs[:1]
        else:
            yield None


def _only_chooses(node: Node, known: dict[str, Tensor]) -> bool:
    if node.op == "Gather":  # several indices could repeat a number
        return len(node.inputs) > 1 and node.inputs[1] in known and known[node.inputs[1]].size == 1
    return node.op != "Cast" or _cast_to(node) == INT64  # -1 as uint8 is 255


def full_values(graph: Graph) -> set[str]:
    """Names of values that are sure to have elements when the inputs have rows.

    Not all that have: what becomes of an axis under a pool, for one, depends on its length.
    """
    known, made_by = constants(graph), makers(graph)
    full = {value.name for value in graph.inputs if 0 not in value.dims}
    full |= {name for name, tensor in known.items() if tensor.size}

    def positive(name: str) -> bool:
        numbers = shape_numbers(name, known, made_by)
        return all(n in full if isinstance(n, str) else n is not None and n > 0 for n in numbers)

    for node in graph.nodes:
        at = _OPERANDS.get(node.op, -1)
        data = node.inputs if at == -1 else node.inputs[: at != 0]
        if all(name in full for name in data if name) and _keeps_elements(node, known, positive):
            full.update(node.outputs)
    return full


# Operators that take one value, and how to change it: in input `at` whole numbers, of which none
# may be 0 or less.
_OPERANDS: dict[str, int | None] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Slice", "Pad", "Resize", "Clip"), None),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), None),
    **{"ReduceSumSquare": None, "Expand": 1, "Tile": 1, "TopK": 1, "Split": 1},
    "ConstantOfShape": 0,  # which takes nothing else
}


def _keeps_elements(node: Node, known: dict[str, Tensor], positive: Callable[[str], bool]) -> bool:
    """Whether a node gives elements where its inputs have some."""
    inputs = [*node.inputs, "", "", "", "", ""]
    constant = [known.get(name, Tensor()) for name in inputs]
    if node.op in ("Shape", "Constant", "MaxPool", "AveragePool"):
        return False
    if node.op == "Slice":
        steps = integers(constant[4]) if inputs[4] else repeat(1)
        ranges = zip(integers(constant[1]), integers(constant[2]), steps, strict=False)
        return all(_leaves_some(*one) for one in ranges)
    if node.op == "Pad":
        return all(number is not None and number >= 0 for number in integers(constant[1]))
    if node.op == "Resize":
        factors = reals(constant[2])
        return positive(inputs[3]) if inputs[3] else all(factor >= 1 for factor in factors or [0])
    at = _OPERANDS.get(node.op)
    return at is None or positive(inputs[at])


def _leaves_some(start: int | None, end: int | None, step: int | None) -> bool:
    """Whether Slice leaves something of an axis, however short."""
    if start is None or end is None or step is None:
        return False
    if step < 0:
        return start == -1 and end <= -_FAR
    return (start == 0 and end > 0) or (start < 0 and end >= _FAR)


def integers(tensor: Tensor) -> Iterator[int | None]:
    """The numbers of an int64 tensor; None for any other, and for more than a shape has."""
    if tensor.dtype != INT64 or len(tensor.raw) % 8 or len(tensor.raw) > 8 * _LONGEST_SHAPE:
        yield None
    else:
        yield from tensor.raw.cast("q")


def reals(tensor: Tensor) -> list[float]:
    """The numbers of a float32 tensor; empty for any other, and for more than a shape has."""
    is_float = tensor.dtype == FLOAT and len(tensor.raw) % 4 == 0
    return list(tensor.raw.cast("f")) if is_float and tensor.size <= _LONGEST_SHAPE else []
