"""Tables of numbers and categories: as columns by name, and as the arrays that a model takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_runtime.tables.categories import (
    UnknownCategories,
    is_numbers,
    parse_number,
    to_codes,
    to_text,
    truth_as_digits,
)
from ae_runtime.tables.digits import LOSES_DIGITS, loses_digits, parse_moment

__all__ = [
    "Table",
    "from_blocks",
    "is_numbers",
    "parse_date",
    "parse_number",
    "to_blocks",
    "to_text",
]

Array = NDArray[Any]
_INFINITE = {"infinity": math.inf, "-infinity": -math.inf}  # dates, as databases write them
# Prefixes of names that only number the columns: ours, those of pandas, those of polars.
_PREFIXES = ("x", "", "column_")


@dataclass(frozen=True)
class Table:
    """The columns of a file by name, in its order.

    columns: arrays (N,), float64 with NaN for missing, or objects that are str or, for missing,
    None. named: whether the file has names; if not, they are "1", "2", ... note: how the file was
    read. integer: columns of numbers written as integers. types: what the file itself says of a
    column. unusable: what columns hold that have neither numbers nor categories. index: columns
    that name the rows where the file was made. left_out: columns that were there and not wanted.
    seconds: whether real numbers in a column of dates may be seconds since 1970-01-01 UTC, as a
    decoder gives them.
    """

    columns: dict[str, Array]
    named: bool = True
    note: str = ""
    integer: frozenset[str] = frozenset()
    types: Mapping[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    index: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds: bool = False

    @property
    def rows(self) -> int:
        return next((len(values) for values in self.columns.values()), 0)


def parse_date(text: str) -> float | None:
    """Seconds since 1970-01-01 UTC of an ISO 8601 date or time; None for any other text.

    A time without a zone is taken as UTC. Infinite for the text that databases write for it.
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


def seconds_of(moments: Array) -> NDArray[np.float64]:
    """Seconds since 1970-01-01 UTC of datetime64 of any unit, to the microsecond; NaT is NaN."""
    unit, count = np.datetime_data(moments.dtype)
    if unit in ("s", "ms", "us") and count == 1:
        per_second = {"s": 1, "ms": 1e3, "us": 1e6}[unit]
        seconds = moments.astype(np.int64) / per_second
    elif unit in ("ns", "ps", "fs", "as"):
        seconds = moments.astype("datetime64[us]").astype(np.int64) / 1e6
    else:  # days and longer: as microseconds, far years would not fit
        seconds = moments.astype("datetime64[s]").astype(np.float64)
    return np.where(np.isnat(moments), np.nan, seconds)


def check_names(names: list[str]) -> None:
    """Raise DataError where two columns have one name."""
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"two columns are named {repeated[0]!r}; rename one")


def columns_with(names: Collection[str]) -> set[str]:
    """The columns that hold these names, of which v[0] is a number of the vectors in v."""
    return {name.partition("[")[0] for name in names} | set(names)


def check_vectors(columns: Collection[str], wanted: Collection[str]) -> None:
    """Raise DataError for longer vectors than those that were trained on: they are others."""
    rest = dict.fromkeys(name for name in columns if "[" in name and name not in wanted)
    for column in dict.fromkeys(name.partition("[")[0] for name in rest):
        length = sum(other.startswith(f"{column}[") for other in columns)
        count = sum(f"{column}[{at}]" in wanted for at in range(length))
        if count and f"{column}[{count - 1}]" in wanted:
            raise DataError(f"column {column!r} holds lists of {length}, the bundle takes {count}")


def to_blocks(
    table: Table, columns: Sequence[Column], unknown: UnknownCategories | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(x_num (N, P) float64, NaN = missing; x_cat (N, Q) int32, -1 = missing or unknown).

    columns: those of a model, numbers and dates before categories; see names_in. unknown: where to
    count categories that the model does not know, which become OTHER where it has that one. Raises
    DataError for columns that the table lacks, and for text where numbers are wanted.
    """
    names = names_in(table, columns)
    numbers: list[Array] = []
    codes: list[Array] = []
    for name, column in zip(names, columns, strict=True):
        values = table.columns[name]
        if not column.levels:
            if column.type == "date":
                numbers.append(_dates(table, name))
            else:
                numbers.append(to_numbers(truth_as_digits(values), column.type, name))
            continue
        column_codes, is_unknown = to_codes(values, column)
        if unknown is not None:
            present = np.count_nonzero((column_codes >= 0) | is_unknown)
            unknown.add(len(codes), int(present), to_text(values[is_unknown]).tolist())
        codes.append(column_codes)
    rows = table.rows
    return (
        np.stack(numbers, axis=1) if numbers else np.empty((rows, 0)),
        np.stack(codes, axis=1) if codes else np.empty((rows, 0), np.int32),
    )


def _dates(table: Table, name: str) -> NDArray[np.float64]:
    """A column of dates in seconds; numbers are read by their digits, as in a text file."""
    values = table.columns[name]
    if table.types.get(name) == "date":
        return to_numbers(values, "date", name)
    as_seconds = table.seconds and is_numbers(values) and name not in table.integer
    if as_seconds and np.any(values % 1 > 0):
        return to_numbers(values, "date", name)
    try:
        return to_numbers(to_text(values), "date", name)
    except DataError:
        if not as_seconds:
            raise
        return to_numbers(values, "date", name)


def names_in(table: Table, columns: Sequence[Column]) -> list[str]:
    """The table's name for each of the model's columns.

    Where the model or the table has no names, columns are taken by position; but where the table's
    names only number them, as x0, x1 or 0, 1, by that number. Raises DataError for columns that are
    not there.
    """
    names = [column.name for column in columns]
    if not table.named or None in names:
        if len(table.columns) != len(columns):
            raise DataError(
                f"{len(table.columns)} columns found, {len(columns)} wanted; without names they "
                "are taken by position"
            )
        in_order = list(table.columns)
        return (numbered(in_order) if table.named else None) or in_order
    known = [name for name in names if name is not None]
    for name in known:
        if name in table.unusable:
            raise DataError(
                f"column {name!r} {table.unusable[name]}, and neither numbers nor categories"
            )
    missing = [name for name in known if name not in table.columns]
    if missing:
        raise DataError(f"{len(missing)} columns are missing: {', '.join(missing[:5])}")
    return known


def numbered(names: Sequence[str], prefixes: Sequence[str] = _PREFIXES) -> list[str] | None:
    """The names in the order of their numbers; None unless they only number columns from 0 or 1."""
    for prefix in prefixes:
        for first in (0, 1):
            wanted = [f"{prefix}{at}" for at in range(first, first + len(names))]
            if set(wanted) == set(names):
                return wanted
    return None


def to_numbers(values: Array, kind: str, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where missing; dates in seconds since 1970-01-01 UTC.

    Raises DataError that names the first cell that is text.
    """
    if is_numbers(values):
        return np.asarray(values, np.float64)
    parse = _parse_date_or_moment if kind == "date" else parse_number
    known: dict[str, float | None] = {cell: parse(cell) for cell in set(values) - {None}}
    for row, cell in enumerate(values):
        if cell is not None and known[cell] is None:
            wanted = "an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)" if kind == "date" else (
                "a number; write it as numbers with a point before decimals"
            )  # fmt: skip
            raise DataError(f"row {row + 1}, column {name!r}: {cell!r:.60} is not {wanted}")
        if kind != "date" and cell is not None and loses_digits(cell):
            raise DataError(f"row {row + 1}, column {name!r}: {cell} {LOSES_DIGITS}")
    return np.array([np.nan if cell is None else known[cell] for cell in values], np.float64)


def from_blocks(
    x_num: NDArray[np.float64], x_cat: NDArray[np.int32], columns: Sequence[Column]
) -> dict[str, Array]:
    """The columns by name, the inverse of to_blocks: float64 numbers, and categories as objects.

    Columns without a name are called "1", "2", ...; code -1 is None.
    """
    out: dict[str, Array] = {}
    numbers, codes = iter(x_num.T), iter(x_cat.T)
    for at, column in enumerate(columns):
        name = column.name or str(at + 1)
        if not column.levels:
            out[name] = next(numbers)
        else:
            levels = np.array([*column.levels, None], object)
            out[name] = levels[next(codes)]
    return out
