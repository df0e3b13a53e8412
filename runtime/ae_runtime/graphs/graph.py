"""What the loader reads of an ONNX graph, with the standard library: structure, never weights."""

from __future__ import annotations

from math import prod

from msgspec import Struct

from ae_runtime.graphs import protobuf

# TensorProto.DataType -> (name, bytes per element); others are refused by admission.
DTYPES = {
    1: ("float32", 4),
    2: ("uint8", 1),
    3: ("int8", 1),
    6: ("int32", 4),
    7: ("int64", 8),
    9: ("bool", 1),
    11: ("float64", 8),
}
REAL_DTYPES = (1, 11)
# AttributeProto.AttributeType -> the field that holds the value of an attribute of this type.
_HOLDS = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8, 8: 9, 9: 10, 10: 11, 11: 22, 12: 23}
_INT, _ONE_NUMBER, _NUMBERS = 2, 3, 8  # a type, and fields: AttributeProto.i and .ints
_LISTS = (7, 8, 9, 10, 11, 23)  # fields that may come more than once
_TYPED_DATA = (4, 5, 6, 7, 10, 11)  # TensorProto fields that hold values one by one
_RAW_DATA = 9
_EMPTY = memoryview(b"")


class Tensor(Struct):
    """An initializer: its name, type and dims, and a view of its bytes."""

    name: str = ""
    dtype: int = 0
    dims: list[int] = []
    raw: memoryview = _EMPTY
    typed_data: bool = False
    external: bool = False

    @property
    def size(self) -> int:
        """Number of elements that the dims promise."""
        return prod(self.dims)


class Node(Struct):
    """An operator: its type, domain, values, and what its attributes hold but for real numbers."""

    name: str = ""
    op: str = ""
    domain: str = ""
    inputs: list[str] = []
    outputs: list[str] = []
    subgraph: bool = False
    sparse: bool = False
    tensors: list[Tensor] = []
    attributes: list[str] = []
    integers: list[tuple[str, list[int]]] = []  # (attribute, its whole numbers)
    texts: dict[str, str] = {}  # of attributes that are one text
    ambiguous: bool = False  # whether another reader could find another value of an attribute


class Value(Struct):
    """An input or output: name, element type, and dims, with None for a named (dynamic) axis."""

    name: str = ""
    dtype: int = 0
    dims: list[int | None] = []


class Graph(Struct):
    """One ONNX model, flattened to what admission checks."""

    ir_version: int = 0
    opsets: list[tuple[str, int]] = []
    functions: int = 0
    training: int = 0
    sparse: int = 0
    nodes: list[Node] = []
    initializers: list[Tensor] = []
    inputs: list[Value] = []
    outputs: list[Value] = []

    @property
    def tensors(self) -> list[Tensor]:
        """Initializers, and the constants that sit in attributes."""
        return self.initializers + [t for node in self.nodes for t in node.tensors]


def read_graph(raw: bytes | bytearray) -> Graph:
    """The structure of the model in raw. Raises protobuf.WireError if raw is not one.

    The tensors' bytes are views of it, which of a bytearray may be written to.
    """
    graph = Graph()
    for number, _, value in protobuf.fields(memoryview(raw)):
        if number == 1 and isinstance(value, int):
            graph.ir_version = value
        elif number == 7:
            _read_body(graph, protobuf.message(value))
        elif number == 8:
            _read_opset(graph, protobuf.message(value))
        elif number == 20:
            graph.training += 1
        elif number == 25:
            graph.functions += 1
    return graph


def _read_body(graph: Graph, data: memoryview) -> None:
    for number, _, value in protobuf.fields(data):
        if number == 1:
            graph.nodes.append(_read_node(protobuf.message(value)))
        elif number == 5:
            graph.initializers.append(_read_tensor(protobuf.message(value)))
        elif number == 11:
            graph.inputs.append(_read_value(protobuf.message(value)))
        elif number == 12:
            graph.outputs.append(_read_value(protobuf.message(value)))
        elif number == 15:
            graph.sparse += 1


def _read_opset(graph: Graph, data: memoryview) -> None:
    domain, version = "", 0
    for number, _, value in protobuf.fields(data):
        if number == 1:
            domain = protobuf.text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    graph.opsets.append((domain, version))


def _read_node(data: memoryview) -> Node:
    node = Node()
    for number, _, value in protobuf.fields(data):
        if number == 1:
            node.inputs.append(protobuf.text(value))
        elif number == 2:
            node.outputs.append(protobuf.text(value))
        elif number == 3:
            node.name = protobuf.text(value)
        elif number == 4:
            node.op = protobuf.text(value)
        elif number == 7:
            node.domain = protobuf.text(value)
        elif number == 5:
            _read_attribute(node, protobuf.message(value))
    # Of a Constant, onnxruntime reads the first attribute alone.
    alone = len(node.attributes) == 1 if node.op == "Constant" else True
    node.ambiguous |= not alone or len(set(node.attributes)) < len(node.attributes)
    return node


def _read_attribute(node: Node, data: memoryview) -> None:
    name, text, kind, integers, seen = "", "", 0, list[int](), list[int]()
    for number, wire, value in protobuf.fields(data):
        if number not in _LISTS or number not in seen:
            seen.append(number)
        if number == 1:
            name = protobuf.text(value)
        elif number == 20 and isinstance(value, int):
            kind = value
        elif number in (_ONE_NUMBER, _NUMBERS):
            integers.extend(map(_signed, protobuf.varints(value)))
            # Parsers leave a packed single number aside.
            node.ambiguous |= number == _ONE_NUMBER and wire != protobuf.VARINT
        elif number == 4:  # .s
            text = protobuf.text(value)
        elif number in (6, 11):  # .g and .graphs
            node.subgraph = True
        elif number in (22, 23):  # .sparse_tensor and .sparse_tensors
            node.sparse = True
        elif number in (5, 10):  # .t and .tensors
            node.tensors.append(_read_tensor(protobuf.message(value)))
    holds = [number for number in seen if number not in (1, 13, 20)]
    node.ambiguous |= len(set(seen)) < len(seen) or holds not in ([], [_HOLDS.get(kind)])
    if kind == _INT and not integers:
        integers = [0]  # what is not written
    node.attributes.append(name)
    if text:
        node.texts[name] = text
    if integers:
        node.integers.append((name, integers))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _read_tensor(data: memoryview) -> Tensor:
    tensor = Tensor()
    for number, _, value in protobuf.fields(data):
        if number == 1:
            tensor.dims.extend(protobuf.varints(value))
        elif number == 2 and isinstance(value, int):
            tensor.dtype = value
        elif number == 8:
            tensor.name = protobuf.text(value)
        elif number == _RAW_DATA:
            tensor.raw = protobuf.message(value)
        elif number in _TYPED_DATA:
            tensor.typed_data = True
        elif number == 13 or (number == 14 and value != 0):
            tensor.external = True
    return tensor


def _read_value(data: memoryview) -> Value:
    result = Value()
    for number, _, value in protobuf.fields(data):
        if number == 1:
            result.name = protobuf.text(value)
        elif number == 2:  # TypeProto -> tensor_type -> elem_type and shape -> dim
            for kind, _, tensor in protobuf.fields(protobuf.message(value)):
                if kind == 1:
                    _read_tensor_type(result, protobuf.message(tensor))
    return result


def _read_tensor_type(result: Value, data: memoryview) -> None:
    for number, _, value in protobuf.fields(data):
        if number == 1 and isinstance(value, int):
            result.dtype = value
        elif number == 2:
            for _, _, dim in protobuf.fields(protobuf.message(value)):
                size: int | None = None
                for which, _, content in protobuf.fields(protobuf.message(dim)):
                    if which == 1 and isinstance(content, int):
                        size = content
                result.dims.append(size)
