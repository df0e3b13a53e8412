"""ONNX files as trees of numbered fields, and back: ten lines of protobuf of the tests' own."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

Field = tuple[int, int, Any]  # number, wire type, and an int or bytes
Array = np.ndarray
DTYPES = {1: "f4", 2: "u1", 3: "i1", 6: "i4", 7: "i8", 9: "?", 11: "f8"}


def fields(raw: bytes) -> list[Field]:
    """The fields of one message, in order; ValueError or IndexError where it is none."""
    found, at = [], 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(raw, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, at = _varint(raw, at)
            if size is None or not number or at + size > len(raw):
                raise ValueError(f"no message: field {number} of wire type {kind} at {at}")
            value, at = raw[at : at + size], at + size
        found.append((number, kind, value))
    return found


def write(message: list[Field]) -> bytes:
    """The bytes of a message, the inverse of fields."""
    out = bytearray()
    for number, kind, value in message:
        out += varint(number << 3 | kind)
        if kind == 0:
            out += varint(value)
        else:
            out += (varint(len(value)) if kind == 2 else b"") + value
    return bytes(out)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative number is its two's complement
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class Node(NamedTuple):
    """One operator: its name, the names of what it takes and gives, and its attributes."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Model(NamedTuple):
    """What a graph computes: operators in order, constants, and the inputs with their dtypes."""

    nodes: list[Node]
    constants: dict[str, Array]
    inputs: dict[str, str]
    outputs: list[str]


def read_model(raw: bytes) -> Model:
    """The graph of an ONNX file. Numbers are those of onnx.proto."""
    graph = fields(_one(fields(raw), 7))
    constants = dict(_tensor(fields(value)) for value in _all(graph, 5))
    nodes = [_node(fields(value)) for value in _all(graph, 1)]
    ports = {}
    for value in _all(graph, 11):
        port = fields(value)
        kind = _one(fields(_one(fields(_one(port, 2)), 1)), 1)  # TypeProto.tensor_type.elem_type
        ports[_one(port, 1).decode()] = DTYPES[kind]
    outputs = [_one(fields(value), 1).decode() for value in _all(graph, 12)]
    return Model(nodes, constants, ports, outputs)


def _all(message: list[Field], number: int) -> list[Any]:
    return [value for found, _, value in message if found == number]


def _one(message: list[Field], number: int, default: Any = None) -> Any:
    return (_all(message, number) or [default])[-1]


def _tensor(message: list[Field]) -> tuple[str, Array]:
    dtype = np.dtype(DTYPES[_one(message, 2)])
    values = np.frombuffer(_one(message, 9, b""), dtype).reshape(_all(message, 1))
    return _one(message, 8, b"").decode(), values


def _node(message: list[Field]) -> Node:
    attributes = dict(_attribute(fields(value)) for value in _all(message, 5))
    inputs, outputs = ([name.decode() for name in _all(message, side)] for side in (1, 2))
    return Node(_one(message, 4).decode(), inputs, outputs, attributes)


def _attribute(message: list[Field]) -> tuple[str, Any]:
    kind = _one(message, 20)
    value: Any = {
        1: lambda: struct.unpack("<f", _one(message, 2, bytes(4)))[0],
        2: lambda: np.int64(np.uint64(_one(message, 3, 0))).item(),
        3: lambda: _one(message, 4).decode(),
        7: lambda: [np.int64(np.uint64(number)).item() for number in _all(message, 8)],
    }[kind]()
    return _one(message, 1).decode(), value
