"""Types of the columns of a table, inferred from their values; a user can correct them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_runtime.tables.categories import BOOLEANS, OTHER, is_numbers, parse_number, to_text
from ae_runtime.tables.dates import DAY_S
from ae_runtime.tables.table import Table, parse_date, to_numbers
from ae_train.data.format_hints import format_hint

Array = NDArray[Any]
# Rows: a rarer category becomes OTHER, for nothing is learned from it, and it may name a person.
MIN_SEEN = 5
_SHOWN = 8  # columns of a type that are named in a line


def select(
    table: Table, columns: list[str] | None, drop: list[str] | None, left_out: Collection[str]
) -> Table:
    """The table with the columns to learn from, in its own order.

    columns: those wanted; None: all but `drop`. left_out: columns with another use. Raises
    DataError for names that the table lacks, and for columns that hold neither numbers nor text.
    """
    if columns and drop:
        raise DataError("columns and drop exclude each other; name one of them")
    known = [*table.columns, *table.unusable]
    columns, drop = _expanded(columns, known), _expanded(drop, known)
    options = {"columns": columns or [], "drop": drop or [], "id and split_by": left_out}
    for option, names in options.items():
        check_names(names, known, option)
    without = {*(drop or []), *left_out, *(() if columns else table.index)}
    wanted = [name for name in known if name not in without and (not columns or name in columns)]
    for name in wanted:
        if name in table.unusable:
            raise DataError(
                f"column {name!r} {table.unusable[name]}, and neither numbers nor categories; "
                f"leave it out with --drop {name}"
            )
    if not wanted:
        raise DataError(f"no columns are left of the {len(known)} found")
    return replace(table, columns={name: table.columns[name] for name in wanted}, unusable={})


def _expanded(names: list[str] | None, known: Collection[str]) -> list[str] | None:
    """The names of columns; the name of a vector stands for all its numbers."""
    if names is None:
        return None
    expanded = []
    for name in names:
        numbers = [other for other in known if other.startswith(f"{name}[")]
        expanded += numbers if numbers and name not in known else [name]
    return expanded


def check_names(names: Collection[str], known: Sequence[str], option: str) -> None:
    """Raise DataError for a name that is not known, with the one that may have been meant."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            hint = f". Did you mean {close[0]!r}?" if close else f"; there are {shown}"
            raise DataError(f"{option}: there is no column {name!r}{hint}")


def infer_columns(
    table: Table, types: Mapping[str, str], max_levels: int
) -> tuple[list[Column], list[str]]:
    """(columns, lines): the types, numbers and dates first, and what to tell the user.

    types: by column, those that the user sets. Categories seen fewer than MIN_SEEN times, and those
    beyond the `max_levels` most frequent ones, become OTHER. Raises DataError for text that
    differs in nearly every row, and for cells that are not of the column's type.
    """
    check_names(types, list(table.columns), "types")
    numbers: list[Column] = []
    categories: list[Column] = []
    lines: list[str] = []
    for name, values in table.columns.items():
        kind = types.get(name) or table.types.get(name) or _inferred_type(name, values)
        if kind in ("number", "date"):
            numbers.append(_number_column(name, values, kind, table))
        else:
            column, line = _category(name, to_text(values), kind, max_levels, name in types)
            categories.append(column)
            lines += [line] if line else []
            if name not in types and kind == "category" and _is_digits(values):
                lines.append(
                    f"{name}: text, all of whose values are numbers, is taken as a category; "
                    f"--set data.types.{name}=number takes them as numbers"
                )
    columns = numbers + categories
    empty = [name for name, values in table.columns.items() if is_empty(values)]
    if empty:
        lines.append(f"without any value, nothing to learn from: {_named(empty)}")
    if categories or any(column.type != "number" for column in numbers):
        lines.insert(0, _describe(columns))
    return columns, lines


def _inferred_type(name: str, values: Array) -> str:
    """The type of a column that neither the user nor the file gives."""
    if is_numbers(values):
        return "number"
    counts = Counter(values.tolist())
    counts.pop(None, None)
    if {text.lower() for text in counts} in [set(pair) for pair in BOOLEANS]:
        return "boolean"
    if not counts:
        return "number"
    if all(parse_date(text) is not None for text in counts):
        return "date"
    seen = counts.total()
    are_numbers = sum(count for text, count in counts.items() if parse_number(text) is not None)
    if seen > are_numbers > 0.9 * seen:
        row, text = next(
            (row, text)
            for row, text in enumerate(values)
            if text is not None and parse_number(text) is None
        )
        raise DataError(
            f"column {name!r} holds numbers, but for {seen - are_numbers} of {seen:,} cells (row "
            f"{row + 1}: {text!r:.60}); correct them, or say --set data.types.{name}=category"
        )
    if hint := format_hint(name, counts):
        raise DataError(hint)
    if len(counts) > max(1, seen / 2):
        raise DataError(
            f"column {name!r} is text with {len(counts):,} different values in {seen:,} rows; "
            f"leave it out with --drop {name}, or with --id {name} if it names the rows"
            + (f"; --set data.types.{name}=number takes it as numbers" * (are_numbers == seen))
        )
    return "category"


def _is_digits(values: Array) -> bool:
    """Whether a column is text that could be numbers, as post codes are."""
    if is_numbers(values):
        return False
    texts = {text for text in values.tolist() if text is not None}
    return bool(texts) and all(parse_number(text) is not None for text in texts)


def _number_column(name: str, values: Array, kind: str, table: Table) -> Column:
    if kind == "date":
        seconds = to_numbers(values, kind, name)
        seconds = seconds[np.isfinite(seconds)]
        integer = bool(np.all(seconds % 1 == 0)) and len(seconds) > 0
        days = integer and bool(np.all(seconds % DAY_S == 0))
        return Column(name, type="date", integer=integer, whole_days=days)
    to_numbers(values, kind, name)  # raises for text
    return Column(name, integer=name in table.integer)


def _category(
    name: str, cells: Array, kind: str, max_levels: int, is_asked: bool
) -> tuple[Column, str]:
    """(column, line): the line says how many categories become OTHER; "" for none."""
    counts = Counter(cells.tolist())
    counts.pop(None, None)
    if kind == "boolean":
        return Column(name, type="boolean", levels=_boolean_levels(name, counts)), ""
    frequent = [text for text, count in counts.most_common() if count >= MIN_SEEN]
    if not frequent and not is_asked and len(counts) > 1:
        raise DataError(
            f"column {name!r} has no category that is seen {MIN_SEEN} times; leave it out with "
            f"--drop {name}"
        )
    levels = frequent[:max_levels]
    lost = len(set(counts) - set(levels))
    if not lost:
        return Column(name, type="category", levels=levels), ""
    if OTHER not in levels:
        levels.append(OTHER)
    share = (counts.total() - sum(counts[text] for text in levels)) / len(cells)
    rare = f"{lost:,} rare " + ("category" if lost == 1 else "categories")
    line = f"{name}: {rare} in {share:.1%} of the rows become {OTHER!r}"
    if share > 0.5:
        line += f"; --drop {name} leaves the column out"
    return Column(name, type="category", levels=levels), line


def _boolean_levels(name: str, counts: Counter[str]) -> list[str]:
    """The categories for false and true, each in its most frequent spelling."""
    lower = {text.lower() for text in counts}
    for pair in BOOLEANS:
        if lower <= set(pair):
            spelled = {text.lower(): text for text, _ in reversed(counts.most_common())}
            return [spelled.get(text, text) for text in pair]
    shown = ", ".join(sorted(lower)[:4])
    raise DataError(f"column {name!r} is not boolean: it holds {shown}; say category")


def is_empty(values: Array) -> bool:
    """Whether a column holds no value at all."""
    return bool(np.isnan(values).all()) if is_numbers(values) else not any(values)


def _describe(columns: list[Column]) -> str:
    """The types of the columns in one line."""
    parts = []
    for kind, one, many in (
        ("number", "number", "numbers"),
        ("date", "date", "dates"),
        ("boolean", "boolean", "booleans"),
        ("category", "category", "categories"),
    ):
        names = [
            f"{column.name} {len(column.levels)}" if kind == "category" and column.levels
            else str(column.name)
            for column in columns
            if column.type == kind
        ]  # fmt: skip
        if names:
            parts.append(f"{len(names)} {one if len(names) == 1 else many} ({_named(names)})")
    return f"columns: {', '.join(parts)}; --set data.types.COLUMN=TYPE corrects one"


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
