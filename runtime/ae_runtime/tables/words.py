"""Words of a column as codes: which category of a model each one is, and which it does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column

Array = NDArray[np.generic]
OTHER = "other"  # the word that stands for all rare ones
# Words for false and true that make a column of two words a boolean one.
BOOLEANS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))
# What is understood in any boolean column, in any case: one of these pairs, or the numbers 0 and 1.
_TRUTH = {word: code for pair in BOOLEANS for code, word in enumerate(pair)}
TRUTH_DIGITS = {"false": "0", "true": "1"}  # of booleans in a column of numbers
_UNKNOWN = -2
_SHOWN_UNKNOWN, _SHOWN_KNOWN = 3, 5  # words that are named in a line


def is_numbers(values: NDArray[np.generic]) -> bool:
    """Whether a column holds numbers, not words."""
    return values.dtype != object


def parse_number(text: str) -> float | None:
    """The number that a text writes with a decimal point; None for any other text."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def to_words(values: NDArray[np.generic]) -> NDArray[np.object_]:
    """A column as words, objects that are str or None; numbers in their shortest writing."""
    if not is_numbers(values):
        return values.astype(object, copy=False)
    known = {value: _written(value) for value in set(values.tolist()) if value == value}
    return np.array([known.get(value) for value in values.tolist()], object)


def _written(value: float) -> str:
    """The shortest text that is read as this number; whole ones without a fraction."""
    return repr(float(value)).removesuffix(".0")


def truth_as_digits(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """A column of numbers with 1 and 0 for the words true and false, in any case."""
    if is_numbers(values):
        return values
    cells = values.tolist()
    known = {word: TRUTH_DIGITS.get(word.lower(), word) for word in set(cells) - {None}}
    return np.array([known.get(word) for word in cells], object)


class UnknownWords:
    """Counts of the words that a model does not know, for each of its columns of words."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = [column for column in columns if column.levels]
        self._present = [0] * len(self._columns)
        self._unknown = [0] * len(self._columns)
        self._examples: list[dict[str, None]] = [{} for _ in self._columns]

    def add(self, at: int, present: int, unknown: Sequence[str]) -> None:
        """Count a block of column number `at`: rows that have a word, and words not known."""
        self._present[at] += present
        self._unknown[at] += len(unknown)
        examples = self._examples[at]
        for word in unknown:
            if len(examples) == _SHOWN_UNKNOWN:
                break
            examples[word] = None

    def lines(self) -> dict[int, str]:
        """A line for each column, by its number, more than half of whose words are not known."""
        return {
            at: self._line(column, at)
            for at, column in enumerate(self._columns)
            if self._unknown[at] > self._present[at] / 2
        }

    def _line(self, column: Column, at: int) -> str:
        levels = [level for level in column.levels or [] if level != OTHER]
        found = ", ".join(f"{word!r:.60}" for word in self._examples[at])
        known = ", ".join(f"{level!r:.60}" for level in levels[:_SHOWN_KNOWN])
        more = ", ..." if len(levels) > _SHOWN_KNOWN else ""
        taken = f"as {OTHER!r}" if _rest(column) >= 0 else "as missing"
        return (
            f"column {column.name or at + 1!r}: {self._unknown[at]:,} of {self._present[at]:,} "
            f"words are not known to the model and are taken {taken} ({found}); it knows "
            f"{known}{more}"
        )


def to_codes(
    values: NDArray[np.generic], column: Column
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(codes, unknown): the place of each word in the column's levels, and which are not there.

    -1 where a word is missing or not known, or the place of OTHER where the model has that one. A
    word is known by its exact writing; else without spaces around it; else, where both are numbers
    as a program writes them, by the number (3 and 3.0, but not 02116 and 2116). Numbers are known
    by their value, booleans by any of the words in BOOLEANS.
    """
    place = _place_of_number(column) if is_numbers(values) else _place_of_word(column)
    cells = values.tolist()
    known = {cell: place(cell) for cell in set(cells) if cell is not None and cell == cell}
    found = np.array([known.get(cell, -1) for cell in cells], np.int32)
    unknown = found == _UNKNOWN
    found[unknown] = _rest(column)
    return found, unknown


def _rest(column: Column) -> int:
    """The code of words that are not known."""
    levels = column.levels or []
    return levels.index(OTHER) if column.type == "category" and OTHER in levels else -1


def _place_of_word(column: Column) -> Callable[[str], int]:
    levels = column.levels or []
    exact = {word: at for at, word in enumerate(levels)}
    if column.type == "boolean":
        truth = _TRUTH | {word.lower(): at for word, at in exact.items()}

        def of_boolean(word: str) -> int:
            word = word.strip().lower()
            return truth.get(word, _bit(parse_number(word)))

        return of_boolean
    alike: dict[str | float, int] = {}
    for word, at in exact.items():
        alike.setdefault(_key(word), at)

    def of_category(word: str) -> int:
        at = exact.get(word)
        return alike.get(_key(word), _UNKNOWN) if at is None else at

    return of_category


def _place_of_number(column: Column) -> Callable[[float], int]:
    if column.type == "boolean":
        return _bit
    by_word = _place_of_word(column)
    by_value: dict[float, list[int]] = {}
    for at, word in enumerate(column.levels or []):
        number = parse_number(word)
        if number is not None:
            by_value.setdefault(number, []).append(at)

    def of_number(value: float) -> int:
        at = by_word(_written(value))
        others = by_value.get(value, [])
        # 501 is "00501" where no other word writes this number.
        return others[0] if at == _UNKNOWN and len(others) == 1 else at

    return of_number


def _bit(number: float | None) -> int:
    return int(number) if number in (0, 1) else _UNKNOWN


def _key(word: str) -> str | float:
    """What is common to the writings of one word: see to_codes."""
    word = word.strip()
    number = parse_number(word)
    if number is None or number != number:
        return word
    return number if word in (repr(number), f"{number:.17g}", f"{number:.0f}") else word
