"""Read protobuf wire format with the standard library, without trusting a byte of it."""

from __future__ import annotations

from collections.abc import Iterator


class WireError(ValueError):
    """Bytes that are not protobuf."""


VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of one message.

    The value is an int for varints and a memoryview, not a copy, for everything else. Groups,
    which protobuf 3 dropped, and any length past the end raise WireError.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        if wire == LENGTH:
            size, position = _varint(data, position)
        elif wire == FIXED64:
            size = 8
        elif wire == FIXED32:
            size = 4
        else:
            raise WireError(f"wire type {wire} of field {number}")
        if size > end - position:
            raise WireError(f"field {number} ends past its message")
        yield number, wire, data[position : position + size]
        position += size


def varints(value: int | memoryview) -> list[int]:
    """The numbers of a repeated integer field, packed or one by one."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def text(value: int | memoryview) -> str:
    """The text of a string field."""
    return str(message(value), "utf-8")


def message(value: int | memoryview) -> memoryview:
    """The bytes of a length-delimited field."""
    if isinstance(value, int):
        raise WireError("a number where a message should be")
    return value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise WireError("a number ends past its message")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
