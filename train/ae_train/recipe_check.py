"""Checks of the fields of a recipe: a line of text for each mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

fields_of = cache(msgspec.structs.fields)  # its types are strings that are evaluated each time


def complaints(
    where: str, struct: type[Struct], values: dict[str, Any], sections: Iterable[str] = ()
) -> list[str]:
    """A line for each key that the struct does not know, and each value that it does not allow.

    where: put before each. sections: names that an unknown key may have been meant for, too.
    """
    lines = []
    known = {field.name: field.type for field in fields_of(struct)}
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *sections], 1)
            hint = f'. Did you mean "{close[0]}"?' if close else f" (known: {', '.join(known)})"
            lines.append(f"{where}{key}: unknown key{hint}")
            continue
        try:
            msgspec.convert(value, known[key])
        except msgspec.ValidationError as error:
            lines.append(f"{where}{key} = {value!r}: {_wanted(known[key], value, error)}")
    return lines


def choices(annotation: Any) -> tuple[list[str], bool]:
    """(words that a field may hold, whether it may hold nothing else)."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)], True
    parts = [part for part in get_args(annotation) if part is not type(None)]
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return words, len(parts) == 1


def _wanted(annotation: Any, value: Any, error: msgspec.ValidationError) -> str:
    """Values that a field may hold, as text."""
    words, only_words = choices(annotation)
    if words and (only_words or isinstance(value, str)):
        return f"one of {', '.join(words)}" + ("" if only_words else ", or a number")
    return str(error).lower().replace(" | null", "")  # TOML has no null
