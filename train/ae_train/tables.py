"""From tables in memory to a dataset: columns chosen, their types found, words coded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from ae_runtime.errors import DataError
from ae_runtime.manifest import Column
from ae_runtime.table import Table, to_blocks
from ae_train.data import Dataset, make_dataset
from ae_train.inference import infer_columns, select
from ae_train.recipe import Data, Recipe
from ae_train.splitting import hold_out_last


def dataset_of_tables(
    tables: Sequence[Table],
    names: Sequence[str],
    recipe: Recipe,
    held: int = 0,
    columns: list[Column] | None = None,
) -> Dataset:
    """The rows of all tables; those of the last `held` ones are validated on.

    names: what errors call each table. columns: of an earlier run, whose words keep their codes;
    None: found out. Raises DataError.
    """
    data = recipe.data
    chosen = [choose(table, data, name) for table, name in zip(tables, names, strict=True)]
    learned = _joined(chosen[: len(chosen) - held], names)
    notes = [table.note for table in tables if table.note]
    try:
        if columns is None:
            columns, lines = infer_columns(learned, data.types, data.max_levels)
            notes += lines
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


def choose(table: Table, recipe: Data, name: str) -> Table:
    """The columns to learn from. Raises DataError that names the table."""
    left_out = [*(recipe.id or ()), *([recipe.split_by] if recipe.split_by else ())]
    try:
        return select(table, recipe.columns, recipe.drop, left_out)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _joined(tables: Sequence[Table], names: Sequence[str]) -> Table:
    """The rows of all tables. Raises DataError unless they have the same columns."""
    first = tables[0]
    for table, name in zip(tables[1:], names[1:], strict=False):
        differing = [
            column
            for column in first.columns.keys() | table.columns.keys()
            if column not in table.columns
            or column not in first.columns
            or (table.columns[column].dtype == object) != (first.columns[column].dtype == object)
        ]
        if differing:
            raise DataError(
                f"{names[0]} and {name} have different columns: {', '.join(sorted(differing)[:5])}"
            )
    joined: dict[str, Any] = {
        name: np.concatenate([table.columns[name] for table in tables]) for name in first.columns
    }
    integer = frozenset.intersection(*(table.integer for table in tables))
    return replace(first, columns=joined, integer=integer)
