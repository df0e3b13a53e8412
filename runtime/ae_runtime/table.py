"""Tables of numbers and words: as columns by name, and as the blocks that a model takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.digits import LOSES_DIGITS, loses_digits, parse_moment
from ae_runtime.errors import DataError
from ae_runtime.manifest import Column

Array = NDArray[Any]
OTHER = "other"  # the word that stands for all rare ones
_INFINITE = {"infinity": math.inf, "-infinity": -math.inf}  # of dates, as databases write them
# Words for false and true that make a column of two words a boolean one.
BOOLEANS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))


@dataclass(frozen=True)
class Table:
    """The columns of a file by name, in its order.

    columns: arrays (N,), float64 with NaN for missing, or objects that are str or, for missing,
    None. named: whether the file has names; if not, they are "1", "2", ... note: how it was read.
    integer: columns of numbers written as whole ones. types: what the file itself says of a
    column. unusable: columns that hold neither numbers nor words, with what they hold. index:
    columns that are no columns where the file was made, but name the rows.
    """

    columns: dict[str, Array]
    named: bool = True
    note: str = ""
    integer: frozenset[str] = frozenset()
    types: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    index: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return next((len(values) for values in self.columns.values()), 0)


def is_numbers(values: Array) -> bool:
    """Whether a column holds numbers, not words."""
    return values.dtype != object


def parse_date(text: str) -> float | None:
    """Seconds since 1970-01-01 UTC of an ISO 8601 date or time; None for any other text.

    A time without a zone is taken as UTC. Infinite for the words that databases write for it.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _INFINITE.get(text.lower())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _parse_date_or_moment(text: str) -> float | None:
    seconds = parse_date(text)
    return parse_moment(text) if seconds is None else seconds


def to_blocks(
    table: Table, columns: Sequence[Column]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(x_num (N, P) float64, NaN = missing; x_cat (N, Q) int32, -1 = missing or unknown).

    columns: of a model, numbers and dates before categories; without names they are taken by
    position. Words that the model does not know are OTHER where it knows that one. Raises
    DataError for columns that the table lacks, and for text where numbers are wanted.
    """
    names = _names(table, columns)
    numbers, codes = [], []
    for name, column in zip(names, columns, strict=True):
        values = table.columns[name]
        if not column.levels:
            numbers.append(to_numbers(values, column.type, name))
        else:
            codes.append(_to_codes(to_words(values), column))
    rows = table.rows
    return (
        np.stack(numbers, axis=1) if numbers else np.empty((rows, 0)),
        np.stack(codes, axis=1) if codes else np.empty((rows, 0), np.int32),
    )


def _names(table: Table, columns: Sequence[Column]) -> list[str]:
    names = [column.name for column in columns]
    if not table.named or None in names:
        if len(table.columns) != len(columns):
            raise DataError(
                f"{len(table.columns)} columns found, {len(columns)} wanted; without names they "
                "are taken by position"
            )
        return list(table.columns)
    known = [name for name in names if name is not None]
    missing = [name for name in known if name not in table.columns]
    if missing:
        raise DataError(f"{len(missing)} columns are missing: {', '.join(missing[:5])}")
    return known


def to_numbers(values: Array, kind: str, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where missing; dates in seconds since 1970-01-01 UTC.

    Raises DataError that names the first cell that is text.
    """
    if is_numbers(values):
        return np.asarray(values, np.float64)
    parse = _parse_date_or_moment if kind == "date" else parse_number
    known: dict[str, float | None] = {word: parse(word) for word in set(values) - {None}}
    for row, word in enumerate(values):
        if word is not None and known[word] is None:
            wanted = "an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)" if kind == "date" else (
                "a number; write it as numbers with a point before decimals"
            )  # fmt: skip
            raise DataError(f"row {row + 1}, column {name!r}: {word!r:.60} is not {wanted}")
        if kind != "date" and word is not None and loses_digits(word):
            raise DataError(f"row {row + 1}, column {name!r}: {word} {LOSES_DIGITS}")
    return np.array([np.nan if word is None else known[word] for word in values], np.float64)


def parse_number(text: str) -> float | None:
    """The number that a text writes with a decimal point; None for any other text."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def to_words(values: Array) -> Array:
    """A column as words, objects that are str or None; whole numbers without a fraction."""
    if not is_numbers(values):
        return values
    words = [None if value != value else f"{value:.17g}" for value in values.tolist()]
    return np.array(words, object)


def _to_codes(words: Array, column: Column) -> NDArray[np.int32]:
    levels = column.levels or []
    if column.type == "boolean":  # True, TRUE and true are one word
        # Python's own False and True stand for either pair of words, as no and yes.
        code = {"false": 0, "true": 1} | {word.lower(): at for at, word in enumerate(levels)}
        words = np.array([None if word is None else word.lower() for word in words], object)
    else:
        code = {word: at for at, word in enumerate(levels)}
    rest = code.get(OTHER, -1) if column.type == "category" else -1
    found = [-1 if word is None else code.get(word, rest) for word in words]
    return np.array(found, np.int32)


def from_blocks(
    x_num: NDArray[np.float64], x_cat: NDArray[np.int32], columns: Sequence[Column]
) -> dict[str, Array]:
    """The columns by name, the inverse of to_blocks: float64 numbers, and words as objects.

    Columns without a name are called "1", "2", ...; code -1 is None.
    """
    out: dict[str, Array] = {}
    numbers, codes = iter(x_num.T), iter(x_cat.T)
    for at, column in enumerate(columns):
        name = column.name or str(at + 1)
        if not column.levels:
            out[name] = next(numbers)
        else:
            words = np.array([*column.levels, None], object)
            out[name] = words[next(codes)]
    return out
