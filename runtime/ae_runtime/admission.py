"""What a graph may hold to be loaded: small, checked lists, applied before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable

from ae_runtime.errors import BundleRefused
from ae_runtime.graph import DTYPES, REAL_DTYPES, Graph, Node, Value, read_graph
from ae_runtime.manifest import Port
from ae_runtime.protobuf import WireError

MAX_IR_VERSION = 10
OPSETS = range(18, 22)
MAX_NODES = 10_000
MAX_RANK = 8
MAX_DIM = 1 << 28
# Of a convolution: the largest kernel, stride, padding and dilation; and by how much the transposed
# ones of a graph may widen an image or window altogether (six that double it).
MAX_STEP = 64
MAX_WIDENING = 64
# What the networks of ae_train need and no more; ae_export checks against this same list. A new
# operator must not let rows influence each other as our graphs use it, and must not take a shape
# that could ask for gigabytes (Reshape keeps the number of elements): one that does (Expand, Tile,
# ...) needs a check of its shape among CHECKS.
OPERATORS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Gemm", "MatMul"),
        *("Relu", "Sigmoid", "Tanh", "Erf"),
        *("Cast", "Clip", "IsNaN", "Round", "Where"),
        *("Constant", "Flatten", "Identity", "Reshape", "Transpose"),
        *("Conv", "ConvTranspose"),
    }
)


def admit(name: str, raw: bytes, feed: Port, fetch: Port) -> None:
    """Return if the graph in the file `name` may be loaded as one from `feed` to `fetch`.

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
        ("inputs", graph.inputs, feed),
        ("outputs", graph.outputs, fetch),
    ):
        if [_port(value) for value in found] != [wanted]:
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
    real = {tensor.name for tensor in graph.initializers if tensor.dtype in REAL_DTYPES}
    whole = {tensor.name for tensor in graph.initializers if tensor.dtype not in REAL_DTYPES}
    return [
        f"operator Div divides by {divisor!r:.60}, which is no floating-point weight"
        for node in graph.nodes
        for divisor in node.inputs[1:2]
        if node.op == "Div" and divisor not in real - whole
    ]


def _convolutions(graph: Graph) -> list[str]:
    # A few bytes of padding, stride or output shape could ask for any amount of memory.
    complaints, widening = [], 1
    for node in graph.nodes:
        if node.op not in ("Conv", "ConvTranspose"):
            continue
        for name, integers in node.integers:
            most = MAX_DIM if name == "group" else MAX_STEP
            if name == "output_shape" or any(not 0 <= number <= most for number in integers):
                complaints.append(
                    f"operator {node.op} has {name:.60} {integers[:MAX_RANK]}; "
                    f"0 to {most} are taken, and no output_shape"
                )
            elif name == "strides" and node.op == "ConvTranspose":
                widening *= max(integers, default=1)
    if widening > MAX_WIDENING:
        complaints.append(
            f"its ConvTranspose operators widen {widening} times; at most {MAX_WIDENING} is taken"
        )
    return complaints


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
)


def _port(value: Value) -> Port | None:
    """The manifest's form of a graph's input or output; None if no manifest could name it."""
    name, _ = DTYPES.get(value.dtype, ("", 0))
    if name not in ("uint8", "float32", "float64") or not value.dims:
        return None
    return Port(value.name, name, list(value.dims))  # type: ignore[arg-type]
