"""What can be known of a graph's values without running it: element types, and parts of shapes."""

from __future__ import annotations

from collections.abc import Iterator

from ae_runtime.graph import Graph, Node, Tensor

INT64, BOOL, FLOAT = 7, 9, 1
_FIXED = {  # operators whose first output has one type, whatever goes in
    **dict.fromkeys(("Shape", "ArgMax", "ArgMin"), INT64),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), BOOL),
    **dict.fromkeys(("And", "Or", "Xor", "Not", "IsNaN", "IsInf"), BOOL),
}
_LONGEST_SHAPE = 64  # values that a shape may be computed from
# What exporters compute shapes with.
_SHAPE_STEPS = {"Shape", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "Identity"}


def element_types(graph: Graph) -> dict[str, int]:
    """TensorProto.DataType of every value that a node gives, a weight or an input is; 0: unknown.

    Right for the operators that admission admits.
    """
    types = {value.name: value.dtype for value in graph.inputs}
    types |= {tensor.name: tensor.dtype for tensor in graph.initializers}
    for node in graph.nodes:
        for at, name in enumerate(node.outputs):
            types[name] = INT64 if node.op == "TopK" and at == 1 else _type_of(node, types)
    return types


def _type_of(node: Node, types: dict[str, int]) -> int:
    if node.op in _FIXED:
        return _FIXED[node.op]
    if node.op == "Cast":
        return next((numbers[0] for name, numbers in node.integers if name == "to"), 0)
    if node.op in ("Constant", "ConstantOfShape"):
        return node.tensors[0].dtype if node.tensors else FLOAT * (node.op == "ConstantOfShape")
    # The type of a quantized value is its zero point's, of one made real again its scale's.
    at = {"Where": 1, "QuantizeLinear": 2, "DequantizeLinear": 1}.get(node.op, 0)
    return types.get(node.inputs[at], 0) if at < len(node.inputs) else 0


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
) -> Iterator[int | None]:
    """Whole numbers that a shape operand is put together from; None for what is not known.

    known: of constants; makers: of makers. Dims of the graph's own values, taken by Shape, are not
    among the numbers.
    """
    todo, seen = [name], set[str]()
    while todo:
        name = todo.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if len(seen) > _LONGEST_SHAPE:
            yield None
        elif name in known:
            yield from integers(known[name])
        elif name in makers and makers[name].op in _SHAPE_STEPS:
            todo += [] if makers[name].op == "Shape" else makers[name].inputs
        else:
            yield None


def integers(tensor: Tensor) -> Iterator[int | None]:
    """The numbers of an int64 tensor; None for any other."""
    if tensor.dtype != INT64 or len(tensor.raw) % 8:
        yield None
    else:
        yield from tensor.raw.cast("q")


def reals(tensor: Tensor) -> list[float]:
    """The numbers of a float32 tensor; empty for any other."""
    is_float = tensor.dtype == FLOAT and len(tensor.raw) % 4 == 0
    return list(tensor.raw.cast("f")) if is_float else []
