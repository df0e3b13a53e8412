"""What a graph may hold to be loaded: small, checked lists, applied before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import BundleRefused
from ae_runtime.graphs.graph import DTYPES, Graph, Node, Value, read_graph
from ae_runtime.graphs.memory import Needs, memory_needs
from ae_runtime.graphs.operators import OPERATORS
from ae_runtime.graphs.protobuf import WireError
from ae_runtime.graphs.values import MAX_DIM, MAX_RANK, GraphError

MAX_IR_VERSION = 10
OPSETS = range(18, 22)
MAX_NODES = 10_000
MAX_ROW_BYTES = 256 << 20  # what a graph may need for one row, unless a user allows more
ANY_BYTES = 1 << 62  # of a graph that one trusts, such as one's own
# Of convolutions, pools and recurrent operators: the largest kernel, stride, padding and dilation.
MAX_STEP = 64
_RANGES = {
    **dict.fromkeys(("kernel_shape", "strides", "dilations", "blocksize"), (1, MAX_STEP)),
    "group": (1, MAX_DIM),
    "hidden_size": (1, 1 << 16),
}
_NOT_TAKEN = ("output_shape", "activation_alpha", "activation_beta")


def admit(
    name: str,
    raw: bytes,
    feeds: Sequence[Port],
    fetches: Sequence[Port],
    limit: int = MAX_ROW_BYTES,
) -> Needs:
    """The memory that the graph in the file `name` needs, if it may be loaded.

    feeds, fetches: the inputs and outputs that it must have. limit: bytes that it may need for one
    row. Raises BundleRefused that says what the graph holds and what it may hold.
    """
    try:
        graph = read_graph(raw)
    except (WireError, UnicodeDecodeError) as error:
        raise BundleRefused(f"{name} is not an ONNX model: {error}") from None
    for check in CHECKS:
        for complaint in check(graph):
            raise BundleRefused(f"{name}: {complaint}")
    for what, values, ports in (
        ("inputs", graph.inputs, feeds),
        ("outputs", graph.outputs, fetches),
    ):
        if [_port(value) for value in values] != list(ports):
            raise BundleRefused(f"{name}: its {what} are not those that the manifest names")
    try:
        return memory_needs(graph, limit)
    except GraphError as error:
        raise BundleRefused(f"{name}: {error}") from None


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
    counts = {
        "model-local functions": graph.functions,
        "training information": graph.training,
        # A few bytes of them say how many gigabytes onnxruntime should fill with zeros.
        "sparse tensors": graph.sparse + sum(node.sparse for node in graph.nodes),
        "graphs inside operators": sum(node.subgraph for node in graph.nodes),
    }
    complaints = [
        f"it holds {what}, which no bundle has" for what, count in counts.items() if count
    ]
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
    # onnxruntime 1.23 reads past the end of a list, or at null, and the process ends.
    complaints = []
    for node in graph.nodes:
        if "" in node.inputs and not OPERATORS[node.op].skips_inputs:
            complaints.append(f"operator {node.op} lacks one of its inputs")
        elif "block_size" in node.attributes:  # onnxruntime 1.23 divides by what overflows
            complaints.append(f"operator {node.op} has block_size, which is not taken")
        elif node.op == "Split":
            count = dict(node.integers).get("num_outputs", [len(node.outputs)])
            if "" in node.outputs or count != [len(node.outputs)]:
                complaints.append("operator Split has not as many outputs as it says")
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


def _attribute_limits(graph: Graph) -> list[str]:
    # By sizes of 0 onnxruntime divides, and of absurd ones it keeps some of the bits.
    complaints = []
    for node in graph.nodes:
        if not OPERATORS[node.op].bounds_attributes:
            continue
        complaints += [
            f"operator {node.op} has {name}, which is not taken"
            for name in _NOT_TAKEN
            if name in node.attributes
        ]
        for name, numbers in node.integers:
            least, most = _RANGES.get(name, (0, MAX_STEP))
            if any(not least <= number <= most for number in numbers):
                complaints.append(
                    f"operator {node.op} has {name:.60} {numbers[:MAX_RANK]}; "
                    f"{least} to {most} are taken"
                )
    return complaints


# A new check of the loader is one function from Graph to complaints, and its line here. All
# behind _operators may look the operators up.
CHECKS: tuple[Callable[[Graph], list[str]], ...] = (
    _versions,
    _structure,
    _operators,
    _tensors,
    _names,
    _attributes,
    _traps,
    _attribute_limits,
)


def _port(value: Value) -> Port | None:
    """The manifest's form of a graph's input or output; None if no manifest could name it."""
    name, _ = DTYPES.get(value.dtype, ("", 0))
    if name not in ("uint8", "float32", "float64", "int32") or not value.dims:
        return None
    return Port(value.name, name, list(value.dims))  # type: ignore[arg-type]
