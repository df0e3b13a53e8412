"""What a graph may hold to be loaded: small, checked lists, applied before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ae_runtime.errors import BundleRefused
from ae_runtime.graph import DTYPES, REAL_DTYPES, Graph, Node, Tensor, Value, read_graph
from ae_runtime.manifest import Port
from ae_runtime.protobuf import WireError
from ae_runtime.values import constants, element_types, integers, makers, reals, shape_numbers

MAX_IR_VERSION = 10
OPSETS = range(18, 22)
MAX_NODES = 10_000
MAX_RANK = 8
MAX_DIM = 1 << 28
# Of a convolution: the largest kernel, stride, padding and dilation; and by how much the transposed
# ones of a graph may widen an image or window altogether (six that double it).
MAX_STEP = 64
MAX_WIDENING = 64
_STEPS = ("kernel_shape", "strides", "dilations")  # of pools, that 0 would divide by
MAX_ASKED = 1 << 24  # product of the whole numbers in a shape that an operator is given
MAX_PAD = 1 << 16
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


def _divisions(graph: Graph) -> list[str]:
    # The least whole number divided by -1 ends the process with a signal, which nothing catches.
    types = element_types(graph)
    return [
        f"operator Div takes {node.inputs[0]!r:.60}, which is not known to be floating-point"
        for node in graph.nodes
        if node.op == "Div" and any(types.get(name) not in REAL_DTYPES for name in node.inputs)
    ]


def _convolutions(graph: Graph) -> list[str]:
    # A few bytes of padding, stride or output shape could ask for any amount of memory.
    complaints, widening = [], 1
    for node in graph.nodes:
        if node.op not in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            continue
        for name, numbers in node.integers:
            most = MAX_DIM if name == "group" else MAX_STEP
            least = 0 if "Conv" in node.op or name not in _STEPS else 1
            if name == "output_shape" or any(not least <= number <= most for number in numbers):
                complaints.append(
                    f"operator {node.op} has {name:.60} {numbers[:MAX_RANK]}; "
                    f"{least} to {most} are taken, and no output_shape"
                )
            elif name == "strides" and node.op == "ConvTranspose":
                widening *= max(numbers, default=1)
    if widening > MAX_WIDENING:
        complaints.append(
            f"its ConvTranspose operators widen {widening} times; at most {MAX_WIDENING} is taken"
        )
    return complaints


def _shapes(graph: Graph) -> list[str]:
    # A few bytes of shape could ask for any amount of memory.
    known, made_by = constants(graph), makers(graph)

    def asked(name: str) -> int:
        """Product of the numbers in a shape; more than MAX_ASKED if one is not known."""
        product = 1
        for number in shape_numbers(name, known, made_by):
            product *= MAX_ASKED + 1 if number is None else max(1, abs(number))
            if product > MAX_ASKED:
                break
        return product

    return [
        f"operator {node.op} is given a shape that is not bounded; sizes must be constants, at "
        f"most {MAX_ASKED} together, or come from Shape"
        for node in graph.nodes
        if not _is_bounded(node, known, asked)
    ]


def _is_bounded(node: Node, known: dict[str, Tensor], asked: Callable[[str], int]) -> bool:
    inputs = [*node.inputs, "", "", ""]
    if node.op == "Resize":
        scales, sizes = inputs[2:4]
        factors = reals(known[scales]) if scales in known else []
        usable = factors and all(0 < factor <= MAX_STEP for factor in factors)
        return bool(usable or not scales) and asked(sizes) <= MAX_ASKED
    if node.op == "Pad":
        pads = integers(known[inputs[1]]) if inputs[1] in known else [None]
        return all(number is not None and abs(number) <= MAX_PAD for number in pads)
    at = {"Expand": 1, "Tile": 1, "ConstantOfShape": 0}.get(node.op)
    return at is None or asked(inputs[at]) <= MAX_ASKED


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
    _divisions,
    _convolutions,
    _shapes,
)


def _port(value: Value) -> Port | None:
    """The manifest's form of a graph's input or output; None if no manifest could name it."""
    name, _ = DTYPES.get(value.dtype, ("", 0))
    if name not in ("uint8", "float32", "float64", "int32") or not value.dims:
        return None
    return Port(value.name, name, list(value.dims))  # type: ignore[arg-type]
