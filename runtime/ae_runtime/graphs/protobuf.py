"""Read protobuf wire format with the standard library, without trusting a byte of it."""

from __future__ import annotations

from collections.abc import Iterator


class WireError(ValueError):
    """Bytes that are not protobuf."""


VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
# Google's parser keeps the low 32 bits of a longer key, and so sees a field that is not this one.
MAX_FIELDS = 1 << 29


Field = int | memoryview | bytes


def fields(data: memoryview) -> Iterator[tuple[int, int, Field]]:
    """Yield (field number, wire type, value) of one message.

    The value is an int for varints, a memoryview, not a copy, for what has a length, and bytes for
    fixed-width numbers. Raises WireError for a length past the end, for groups, which protobuf 3
    dropped, and for whatever a parser could read as another field or number than this one does.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if not 0 < number < MAX_FIELDS:
            raise WireError(f"field {number}")
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
        content = data[position : position + size]
        yield number, wire, content if wire == LENGTH else bytes(content)
        position += size


def varints(value: Field) -> list[int]:
    """The numbers of a repeated integer field, packed or one by one."""
    if isinstance(value, int):
        return [value]
    value, numbers, position = message(value), [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def text(value: Field) -> str:
    """The text of a string field."""
    return str(message(value), "utf-8")


def message(value: Field) -> memoryview:
    """The bytes of a length-delimited field."""
    if not isinstance(value, memoryview):
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
            if result >> 64:
                raise WireError("a number of more than 64 bits")
            return result, position
        shift += 7
