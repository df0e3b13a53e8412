"""Categories of a column as codes, and those that a model does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column

Array = NDArray[np.generic]
OTHER = "other"  # the category that stands for all rare ones
# Pairs of text for false and true; a column that holds one of these pairs is boolean.
BOOLEANS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))
# What a boolean column may hold, in any case; the numbers 0 and 1 too.
_TRUTH = {text: code for pair in BOOLEANS for code, text in enumerate(pair)}
TRUTH_DIGITS = {"false": "0", "true": "1"}  # what booleans are in a column of numbers
_UNKNOWN = -2
_SHOWN_UNKNOWN, _SHOWN_KNOWN = 3, 5  # categories that a message names


def is_numbers(values: NDArray[np.generic]) -> bool:
    """Whether a column holds numbers, not text."""
    return values.dtype != object


def parse_number(text: str) -> float | None:
    """The number that a text writes with a decimal point; None for any other text."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def to_text(values: NDArray[np.generic]) -> NDArray[np.object_]:
    """A column as text, objects that are str or None; numbers in their fewest digits."""
    if not is_numbers(values):
        return values.astype(object, copy=False)
    known = {value: _written(value) for value in set(values.tolist()) if value == value}
    return np.array([known.get(value) for value in values.tolist()], object)


def _written(value: float) -> str:
    """The shortest text that is read as this number; integers without a fraction."""
    return repr(float(value)).removesuffix(".0")


def truth_as_digits(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """A column of numbers with 1 and 0 for the text true and false, in any case."""
    if is_numbers(values):
        return values
    cells = values.tolist()
    known = {cell: TRUTH_DIGITS.get(cell.lower(), cell) for cell in set(cells) - {None}}
    return np.array([known.get(cell) for cell in cells], object)


class UnknownCategories:
    """Counts of the values that a model does not know, for each of its categorical columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = [column for column in columns if column.levels]
        self._present = [0] * len(self._columns)
        self._unknown = [0] * len(self._columns)
        self._examples: list[dict[str, None]] = [{} for _ in self._columns]

    def add(self, at: int, present: int, unknown: Sequence[str]) -> None:
        """Count a block of column number `at`: rows that have a value, and unknown values."""
        self._present[at] += present
        self._unknown[at] += len(unknown)
        examples = self._examples[at]
        for value in unknown:
            if len(examples) == _SHOWN_UNKNOWN:
                break
            examples[value] = None

    def lines(self) -> dict[int, str]:
        """A line for each column whose values are unknown for more than half, by its number."""
        return {
            at: self._line(column, at)
            for at, column in enumerate(self._columns)
            if self._unknown[at] > self._present[at] / 2
        }

    def _line(self, column: Column, at: int) -> str:
        levels = [level for level in column.levels or [] if level != OTHER]
        examples = ", ".join(f"{value!r:.60}" for value in self._examples[at])
        known = ", ".join(f"{level!r:.60}" for level in levels[:_SHOWN_KNOWN])
        more = ", ..." if len(levels) > _SHOWN_KNOWN else ""
        taken = f"as {OTHER!r}" if _code_of_unknown(column) >= 0 else "as missing"
        return (
            f"column {column.name or at + 1!r}: {self._unknown[at]:,} of {self._present[at]:,} "
            f"values are not known to the model and are taken {taken} ({examples}); it knows "
            f"{known}{more}"
        )


def to_codes(
    values: NDArray[np.generic], column: Column
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(codes, unknown): the place of each value in the column's levels, and which are not there.

    The code is -1 where a value is missing or unknown, or the place of OTHER where the model has
    that one. Text is known by its exact writing; else without spaces around it; else, where both
    are numbers as a program writes them, by the number (3 and 3.0, but not 02116 and 2116). Numbers
    are known by their value, booleans by any text in BOOLEANS.
    """
    place = _place_of_number(column) if is_numbers(values) else _place_of_text(column)
    cells = values.tolist()
    known = {cell: place(cell) for cell in set(cells) if cell is not None and cell == cell}
    codes = np.array([known.get(cell, -1) for cell in cells], np.int32)
    unknown = codes == _UNKNOWN
    codes[unknown] = _code_of_unknown(column)
    return codes, unknown


def _code_of_unknown(column: Column) -> int:
    """The code of values that are unknown."""
    levels = column.levels or []
    return levels.index(OTHER) if column.type == "category" and OTHER in levels else -1


def _place_of_text(column: Column) -> Callable[[str], int]:
    levels = column.levels or []
    exact = {level: at for at, level in enumerate(levels)}
    if column.type == "boolean":
        truth = _TRUTH | {level.lower(): at for level, at in exact.items()}

        def of_boolean(text: str) -> int:
            text = text.strip().lower()
            return truth.get(text, _bit(parse_number(text)))

        return of_boolean
    alike: dict[str | float, int] = {}
    for level, at in exact.items():
        alike.setdefault(_key(level), at)

    def of_category(text: str) -> int:
        at = exact.get(text)
        return alike.get(_key(text), _UNKNOWN) if at is None else at

    return of_category


def _place_of_number(column: Column) -> Callable[[float], int]:
    if column.type == "boolean":
        return _bit
    by_text = _place_of_text(column)
    by_value: dict[float, list[int]] = {}
    for at, level in enumerate(column.levels or []):
        number = parse_number(level)
        if number is not None:
            by_value.setdefault(number, []).append(at)

    def of_number(value: float) -> int:
        at = by_text(_written(value))
        others = by_value.get(value, [])
        # 501 is "00501" where no other level writes this number.
        return others[0] if at == _UNKNOWN and len(others) == 1 else at

    return of_number


def _bit(number: float | None) -> int:
    return int(number) if number in (0, 1) else _UNKNOWN


def _key(text: str) -> str | float:
    """What all writings of one category have in common: see to_codes."""
    text = text.strip()
    number = parse_number(text)
    if number is None or number != number:
        return text
    return number if text in (repr(number), f"{number:.17g}", f"{number:.0f}") else text
