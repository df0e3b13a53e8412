"""Datasets of tables in memory: columns chosen, their types inferred, categories coded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.readers.data_folder import Part, find_parts
from ae_runtime.tables.missing import without_missing
from ae_runtime.tables.table import Table, is_numbers, to_blocks, to_numbers, to_text
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.data.inference import infer_columns, is_empty, select
from ae_train.data.sentinels import sentinels
from ae_train.data.splitting import hold_out_last
from ae_train.recipe import Data, Recipe

Rows = TypeVar("Rows")


def dataset_of_frame(table: Table, recipe: Recipe, columns: list[Column] | None = None) -> Dataset:
    """The rows of a table in memory, called x. columns: as in dataset_of_tables."""
    if recipe.data.kind in (None, "table"):
        table = without_missing(table, recipe.data.reading)
        return dataset_of_tables([table], ["x"], recipe, columns=columns)
    raise DataError(
        f"x holds columns by name, which are a table, not of kind {recipe.data.kind}; pass windows "
        "(N, T, C) or images as an array"
    )


def dataset_of_tables(
    tables: Sequence[Table],
    names: Sequence[str],
    recipe: Recipe,
    held: int = 0,
    columns: list[Column] | None = None,
) -> Dataset:
    """The rows of all tables; those of the last `held` ones are validated on.

    names: what errors call each table. columns: those of an earlier run, whose categories keep
    their codes; None: inferred. Raises DataError.
    """
    data = recipe.data
    tables = [_dates_as_text(table, data.types) for table in tables]
    chosen = [choose(table, data, name) for table, name in zip(tables, names, strict=True)]
    learned = _joined(chosen[: len(chosen) - held], names)
    notes = list(dict.fromkeys(table.note for table in chosen if table.note))
    try:
        if columns is None:
            columns, lines = infer_columns(learned, data.types, data.max_levels)
            notes += lines
            notes += sentinels(_numbers(learned))
        else:
            _check_known(learned, columns)
        blocks = [to_blocks(table, columns) for table in chosen]
        x, codes = (np.concatenate(part) for part in zip(*blocks, strict=True))
        groups = None
        if data.split_by:
            groups = np.concatenate([table.columns[data.split_by] for table in tables])
        if not tables[0].named:
            columns = [msgspec.structs.replace(column, name=None) for column in columns]
        return make_dataset(
            x,
            "table",
            columns,
            "\n".join(notes),
            hold_out_last([len(block[0]) for block in blocks], held, data, recipe.seed),
            groups,
            codes if codes.shape[1] else None,
        )
    except DataError as error:
        raise DataError(f"{', '.join(names)}: {error}") from None


def read_parts(folder: Path, read: Callable[[Path], Table]) -> Table:
    """The table of a folder of Parquet or Arrow files, with a column for each key in its paths.

    Raises NoRows, DataError for files that do not go together.
    """
    parts, tables = [], []
    for part in find_parts(folder):
        try:
            tables.append(read(part.path))
            parts.append(part)
        except NoRows:
            continue
    if not parts:
        raise NoRows(f"{folder} holds no rows")
    return _joined(_with_keys(tables, parts), [str(part.path) for part in parts])


def _with_keys(tables: Sequence[Table], parts: Sequence[Part]) -> list[Table]:
    """The tables of parts with a column for each of their keys, of integers or of categories.

    A column that a file holds itself stays as it is.
    """
    tables = list(tables)
    for name in parts[0].keys:
        keys = [part.keys[name] for part in parts]
        is_integer = all(key is None or _is_integer(key) for key in keys)
        for at, (table, key) in enumerate(zip(tables, keys, strict=True)):
            if name in table.columns:
                continue
            if is_integer:
                cells = np.full(table.rows, np.nan if key is None else float(key))
            else:
                cells = np.full(table.rows, key, object)
            integer = table.integer | {name} if is_integer else table.integer
            tables[at] = replace(table, columns=table.columns | {name: cells}, integer=integer)
    return tables


def _is_integer(text: str) -> bool:
    return text.lstrip("-").isdecimal() and text.isascii() and len(text) < 16


def read_present(
    names: Sequence[str], held: int, read: Callable[[str], Rows]
) -> tuple[list[Rows], list[str], str]:
    """(contents, names, note) of the files that hold rows; the note names the others.

    Raises NoRows where none to learn from holds any, or one of the last `held` does not.
    """
    contents: list[Rows] = []
    present, empty = [], []
    for at, name in enumerate(names):
        try:
            contents.append(read(name))
            present.append(name)
        except NoRows:
            is_held = at >= len(names) - held
            if is_held or (at == len(names) - held - 1 and not contents):
                raise
            empty.append(name)
    more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
    note = f"without rows, and left out: {', '.join(empty[:5])}{more}" if empty else ""
    return contents, present, note


def read_all(
    names: Sequence[str], held: int, read: Callable[[str, Collection[str]], Table]
) -> tuple[list[Table], list[str]]:
    """(tables, their names) of the files that hold rows; the first table's note names the others.

    read: gives the table of a file, with the text of the named columns as it is. Columns that are
    text in one file are read as text from all: 007 is no 7.
    """
    tables, present, note = read_present(names, held, lambda name: read(name, ()))
    text = {
        name
        for table in tables
        for name, cells in table.columns.items()
        if not is_numbers(cells) and not is_empty(cells)
    }
    for at, table in enumerate(tables):
        digits = {name for name in text & table.columns.keys() if is_numbers(table.columns[name])}
        if any(not is_empty(table.columns[name]) for name in digits):
            tables[at] = read(present[at], digits)
    if note:
        tables[0] = replace(tables[0], note="\n".join(filter(None, (tables[0].note, note))))
    return tables, present


def _dates_as_text(table: Table, types: Mapping[str, str]) -> Table:
    """The table, with numbers that the user calls dates as text, which is parsed by its form."""
    dates = {
        name: to_text(table.columns[name])
        for name, kind in types.items()
        if kind == "date"
        and name in table.columns
        and is_numbers(table.columns[name])
        and table.types.get(name) != "date"
    }
    return replace(table, columns=table.columns | dates) if dates else table


def _check_known(table: Table, columns: Sequence[Column]) -> None:
    """Raise DataError for columns that a model with these ones does not have."""
    more = [name for name in table.columns if name not in {column.name for column in columns}]
    if table.named and all(column.name for column in columns) and more:
        raise DataError(f"the run to go on from has no column {', '.join(more)}; drop it")


def _numbers(table: Table) -> list[tuple[str, Any]]:
    return [(name, values) for name, values in table.columns.items() if is_numbers(values)]


def choose(table: Table, recipe: Data, name: str) -> Table:
    """The columns to learn from. Raises DataError that names the table."""
    left_out = [*(recipe.id or ()), *([recipe.split_by] if recipe.split_by else ())]
    try:
        chosen = select(table, recipe.columns, recipe.drop, left_out)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    known = {*chosen.columns, *left_out, *(recipe.drop or ())}
    index = [column for column in table.index if column not in known]
    if not index:
        return chosen
    shown = ", ".join(column or "the column without a name" for column in index)
    line = f"the index of pandas is left out: {shown}; --columns can bring it back"
    return replace(chosen, note="\n".join(filter(None, (chosen.note, line))))


def _joined(tables: Sequence[Table], names: Sequence[str]) -> Table:
    """The rows of all tables. Raises DataError unless they have the same columns."""
    first = tables[0]
    for table, name in zip(tables[1:], names[1:], strict=False):
        differing = first.columns.keys() ^ table.columns.keys()
        if differing:
            raise DataError(
                f"{names[0]} and {name} have different columns: {', '.join(sorted(differing)[:5])}"
            )
    types = {column: kind for table in tables for column, kind in table.types.items()}
    joined: dict[str, Any] = {}
    integer = set()
    for column in first.columns:
        parts = [table.columns[column] for table in tables]
        # A part without any value in a column says nothing of what it holds.
        telling = [at for at, part in enumerate(parts) if not is_empty(part)]
        _check_kinds(column, {names[at]: tables[at] for at in telling})
        if all(is_numbers(parts[at]) for at in telling):
            parts = [to_numbers(part, "number", column) for part in parts]
        else:  # what looks like numbers in one part is text still
            parts = [to_text(part) for part in parts]
        joined[column] = np.concatenate(parts)
        if all(column in tables[at].integer for at in telling or range(len(tables))):
            integer.add(column)
    return replace(first, columns=joined, integer=frozenset(integer), types=types)


def _check_kinds(column: str, tables: Mapping[str, Table]) -> None:
    """Raise DataError where a column is a date by its type in one file, and in another none."""
    dates = {name: table.types.get(column) == "date" for name, table in tables.items()}
    if len(set(dates.values())) > 1:
        date, other = (
            next(name for name in dates if dates[name] is which) for which in (True, False)
        )
        raise DataError(
            f"column {column!r} is a date in {date} and none in {other}; write it in one way"
        )
