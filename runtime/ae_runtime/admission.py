"""What a graph may hold to be loaded: small, checked lists, applied before onnxruntime sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod

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
    reals,
    shape_numbers,
)

MAX_IR_VERSION = 10
OPSETS = range(18, 22)
MAX_NODES = 10_000
MAX_RANK = 8
MAX_DIM = 1 << 28
# Of a convolution: the largest kernel, stride, padding and dilation; and by how much the transposed
# ones of a graph may widen an image or window altogether (six that double it).
MAX_STEP = 64
MAX_WIDENING = 64
_STEPS = ("kernel_shape", "strides", "dilations")  # one number for each axis
_RANGES = {
    **dict.fromkeys((*_STEPS, "blocksize"), (1, MAX_STEP)),
    "group": (1, MAX_DIM),
    "hidden_size": (1, 1 << 16),
}
_RANGED = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth"),
    *("GRU", "LSTM", "RNN"),
)
_NOT_TAKEN = ("output_shape", "activation_alpha", "activation_beta")
MAX_ASKED = 1 << 24  # product of the whole numbers in a shape that an operator is given
MAX_GROWTH = 1 << 16  # of a value by all Tile and Resize operators together, or by one Pad of 1
MAX_PADDED = 1 << 12  # by all Pad operators together
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


def _convolutions(graph: Graph) -> list[str]:
    # A few bytes of padding, stride or output shape could ask for any amount of memory, and by
    # sizes of 0 onnxruntime divides.
    complaints, widening = [], 1
    for node in graph.nodes:
        if node.op not in _RANGED:
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
        if not _is_even(dict(node.integers)):
            complaints.append(f"operator {node.op} has numbers for more axes, and for fewer")
        if node.op == "ConvTranspose":
            widening *= max(dict(node.integers).get("strides", [1]))
    if widening > MAX_WIDENING:
        complaints.append(
            f"its ConvTranspose operators widen {widening} times; at most {MAX_WIDENING} is taken"
        )
    return complaints


def _is_even(lists: dict[str, list[int]]) -> bool:
    """Whether all lists of numbers of a convolution are for as many axes as each other."""
    axes = {len(lists[name]) for name in (*_STEPS, "output_padding") if name in lists}
    alone = "output_padding" in lists and "strides" not in lists
    return not alone and len(axes | {len(lists["pads"]) / 2} if "pads" in lists else axes) < 2


def _shapes(graph: Graph) -> list[str]:
    # A few bytes of shape could ask for any amount of memory.
    known, made_by = constants(graph), makers(graph)

    def asked(name: str) -> int:
        """Product of the numbers in a shape; more than MAX_ASKED if one is not known."""
        product, taken = 1, 0
        for number in shape_numbers(name, known, made_by):
            taken += isinstance(number, str)
            if number is None or taken > 1:  # a second Shape would square what is there
                return MAX_ASKED + 1
            product *= max(1, abs(number)) if isinstance(number, int) else 1
            if product > MAX_ASKED:
                break
        return product

    complaints, growth, padded = [], 1.0, 0
    for node in graph.nodes:
        inputs = [*node.inputs, "", "", "", ""]
        limit, found = MAX_ASKED, 1.0
        if node.op in ("Expand", "ConstantOfShape"):
            found = asked(inputs[node.op == "Expand"])
        elif node.op == "Tile":
            found = asked(inputs[1])
            growth *= found
        elif node.op == "Resize":
            found = asked(inputs[3]) if inputs[3] else _scaled(known.get(inputs[2], Tensor()))
            growth *= 1 if inputs[3] else found
            # Others say "at least": of an axis of 1, they could make any size.
            if node.texts.get("keep_aspect_ratio_policy", "stretch") != "stretch":
                found = inf
        elif node.op == "Pad":
            pads = list(integers(known.get(inputs[1], Tensor())))
            limit, found = MAX_GROWTH, _widened(pads)
            padded += sum(abs(number or 0) for number in pads)
        if found > limit:
            complaints.append(
                f"operator {node.op} is given a shape that is not bounded; sizes must be "
                f"constants, at most {limit} together, or come from one Shape"
            )
    if growth > MAX_GROWTH:
        complaints.append(f"its Tile and Resize operators ask for more than {MAX_GROWTH} times")
    if padded > MAX_PADDED:
        complaints.append(f"its Pad operators add {padded}; at most {MAX_PADDED} is taken")
    return complaints


def _scaled(scales: Tensor) -> float:
    """How many times more elements Resize gives; infinity if that is not known."""
    factors = reals(scales)
    usable = factors and all(0 < factor <= MAX_STEP for factor in factors)
    return prod(max(1, factor) for factor in factors) if usable else inf


def _widened(pads: list[int | None]) -> float:
    """How many times more elements Pad gives of axes of 1; infinity if that is not known."""
    half = len(pads) // 2
    if len(pads) % 2 or None in pads:
        return inf
    return prod(
        1 + abs(before or 0) + abs(after or 0)
        for before, after in zip(pads[:half], pads[half:], strict=True)
    )


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
    _convolutions,
    _shapes,
)


def _port(value: Value) -> Port | None:
    """The manifest's form of a graph's input or output; None if no manifest could name it."""
    name, _ = DTYPES.get(value.dtype, ("", 0))
    if name not in ("uint8", "float32", "float64", "int32") or not value.dims:
        return None
    return Port(value.name, name, list(value.dims))  # type: ignore[arg-type]
