"""What a graph may hold to be loaded: small, checked lists, applied before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ae_runtime.asked import (
    MAX_DIM,
    MAX_RANK,
    axes,
    convolutions,
    recurrent_weights,
    shapes,
)
from ae_runtime.errors import BundleRefused
from ae_runtime.graph import DTYPES, REAL_DTYPES, Graph, Node, Tensor, Value, read_graph
from ae_runtime.manifest import Port
from ae_runtime.protobuf import WireError
from ae_runtime.values import (
    constants,
    element_types,
    full_values,
    integers,
    makers,
)

MAX_IR_VERSION = 10
OPSETS = range(18, 22)
MAX_NODES = 10_000
# The only operators of which an input may be left out by an empty name, and those that must not be
# given a tensor without elements: of Conv its weights. Others read at null, and the process ends.
MAY_HAVE_GAPS = ("Clip", "GRU", "LSTM", "Pad", "RNN", "Resize", "Slice")
FULL_ONLY = ("GRU", "LSTM", "RNN", "Conv", "ConvTranspose", "InstanceNormalization", "TopK")
# What a network may be made of; ae_export checks against this same list. A new operator must not
# fail by a signal, whatever its attributes, and must not take a shape that could ask for gigabytes
# (Reshape keeps the number of elements) without a check of that shape among CHECKS.
OPERATORS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Gemm", "MatMul"),
        *("Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Sign"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Tanh", "Softmax", "LogSoftmax"),
        *("Clip", "Round", "Floor", "Ceil", "Cast", "IsNaN", "IsInf", "Where"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not"),
        *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare"),
        *("ArgMax", "ArgMin", "TopK"),
        *("BatchNormalization", "LayerNormalization", "InstanceNormalization"),
        *("Conv", "ConvTranspose", "MaxPool", "AveragePool"),
        *("GlobalAveragePool", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth"),
        *("GRU", "LSTM", "RNN"),
        *("Constant", "Identity", "Shape", "Flatten", "Reshape", "Transpose", "Squeeze"),
        *("Unsqueeze", "Concat", "Split", "Slice", "Gather"),
        *("Expand", "ConstantOfShape", "Tile", "Pad", "Resize"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)


def admit(name: str, raw: bytes, feeds: Sequence[Port], fetches: Sequence[Port]) -> None:
    """Return if the graph in the file `name` may be loaded as one from `feeds` to `fetches`.

    Raises BundleRefused that says what it holds and what it may hold.
    """
    try:
        graph = read_graph(raw)
    except (WireError, UnicodeDecodeError) as error:
        raise BundleRefused(f"{name} is not an ONNX model: {error}") from None
    for check in CHECKS:
        for complaint in check(graph):
            raise BundleRefused(f"{name}: {complaint}")
    for what, found, wanted in (
        ("inputs", graph.inputs, feeds),
        ("outputs", graph.outputs, fetches),
    ):
        if [_port(value) for value in found] != list(wanted):
            raise BundleRefused(f"{name}: its {what} are not those that the manifest names")


def _versions(graph: Graph) -> list[str]:
    complaints = []
    if not 0 < graph.ir_version <= MAX_IR_VERSION:
        complaints.append(f"IR version {graph.ir_version}; at most {MAX_IR_VERSION} is taken")
    for domain, version in graph.opsets:
        if domain not in ("", "ai.onnx"):
            complaints.append(f"operator domain {domain!r:.60}; only the standard one is taken")
        elif version not in OPSETS:
            complaints.append(f"opset {version}; {OPSETS[0]} to {OPSETS[-1]} are taken")
    return complaints


def _structure(graph: Graph) -> list[str]:
    found = {
        "model-local functions": graph.functions,
        "training information": graph.training,
        # A few bytes of them say how many gigabytes onnxruntime should fill with zeros.
        "sparse tensors": graph.sparse + sum(node.sparse for node in graph.nodes),
        "graphs inside operators": sum(node.subgraph for node in graph.nodes),
    }
    complaints = [f"it holds {what}, which no bundle has" for what, count in found.items() if count]
    if len(graph.nodes) > MAX_NODES:
        complaints.append(f"it has {len(graph.nodes)} operators; at most {MAX_NODES} are taken")
    return complaints


def _operators(graph: Graph) -> list[str]:
    unknown = {
        f"{_full_name(node)!r:.60}"
        for node in graph.nodes
        if node.op not in OPERATORS or node.domain not in ("", "ai.onnx")
    }
    if not unknown:
        return []
    listed = ", ".join(sorted(unknown)[:10])
    return [f"operators that a bundle may not use: {listed}; update ae-toolkit, or export again"]


def _names(graph: Graph) -> list[str]:
    # Of two tensors or outputs with one name onnxruntime takes either, and so would a check.
    names = [value.name for value in graph.inputs]
    names += [tensor.name for tensor in graph.initializers]
    names += [output for node in graph.nodes for output in node.outputs if output]
    seen = set[str]()
    for name in names:
        if name in seen:
            return [f"the name {name!r:.60} is given to two values"]
        seen.add(name)
    return []


def _attributes(graph: Graph) -> list[str]:
    return [
        f"operator {node.op} has an attribute with more than one value, or of another type"
        for node in graph.nodes
        if node.ambiguous
    ]


def _traps(graph: Graph) -> list[str]:
    # onnxruntime reads past the end of a list, or at null, and the process ends.
    complaints, full, known, made_by = [], set[str](), constants(graph), makers(graph)
    for node in graph.nodes:
        if "" in node.inputs and node.op not in MAY_HAVE_GAPS:
            complaints.append(f"operator {node.op} lacks one of its inputs")
        elif "block_size" in node.attributes:  # onnxruntime 1.23 divides by what overflows
            complaints.append(f"operator {node.op} has block_size, which is not taken")
        elif node.op == "Split":
            said = dict(node.integers).get("num_outputs", [len(node.outputs)])
            if "" in node.outputs or said != [len(node.outputs)]:
                complaints.append("operator Split has not as many outputs as it says")
        elif node.op in FULL_ONLY and not _has_full_rows(node, known, made_by):
            full = full or full_values(graph)
            complaints += [
                f"operator {node.op} takes {name!r:.60}, which could be without elements"
                for name in node.inputs[node.op == "Conv" :]
                if name and name not in full
            ]
    return complaints


def _has_full_rows(node: Node, known: dict[str, Tensor], made_by: dict[str, Node]) -> bool:
    """Whether Reshape says that each row that a normalisation takes has elements."""
    maker = made_by.get(node.inputs[0], Node()) if node.inputs else Node()
    if node.op != "InstanceNormalization" or maker.op != "Reshape" or len(maker.inputs) != 2:
        return False
    sizes = list(integers(known.get(maker.inputs[1], Tensor())))
    return len(sizes) > 2 and all(size is not None and size > 0 for size in sizes[1:])


def _divisions(graph: Graph) -> list[str]:
    # The least whole number divided by -1 ends the process with a signal, which nothing catches.
    types = element_types(graph)
    return [
        f"operator Div takes {name!r:.60}, which is not known to be floating-point"
        for node in graph.nodes
        if node.op == "Div"
        for name in node.inputs
        if types.get(name) not in REAL_DTYPES
    ]


def _full_name(node: Node) -> str:
    return f"{node.domain or 'ai.onnx'}::{node.op}"


def _tensors(graph: Graph) -> list[str]:
    complaints = []
    for tensor in graph.tensors:
        if tensor.external:
            complaints.append(f"tensor {tensor.name!r:.60} points outside the file")
        elif tensor.dtype not in DTYPES:
            complaints.append(f"tensor {tensor.name!r:.60} has data type {tensor.dtype}")
        elif len(tensor.dims) > MAX_RANK or any(not 0 <= d <= MAX_DIM for d in tensor.dims):
            complaints.append(f"tensor {tensor.name!r:.60} has dims {tensor.dims[:MAX_RANK]}")
        elif tensor.typed_data or tensor.size * DTYPES[tensor.dtype][1] != len(tensor.raw):
            complaints.append(
                f"tensor {tensor.name!r:.60} does not hold the bytes its dims promise"
            )
    return complaints


# A new check of the loader is one function from Graph to complaints, and its line here.
CHECKS: tuple[Callable[[Graph], list[str]], ...] = (
    _versions,
    _structure,
    _operators,
    _tensors,
    _names,
    _attributes,
    _traps,
    _divisions,
    axes,
    convolutions,
    recurrent_weights,
    shapes,
)


def _port(value: Value) -> Port | None:
    """The manifest's form of a graph's input or output; None if no manifest could name it."""
    name, _ = DTYPES.get(value.dtype, ("", 0))
    if name not in ("uint8", "float32", "float64", "int32") or not value.dims:
        return None
    return Port(value.name, name, list(value.dims))  # type: ignore[arg-type]
