"""Missing values: NaN and None for what stands for one in tables and in arrays of numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Reading
from ae_runtime.tables.table import Table, is_numbers, parse_number

Array = NDArray[Any]


def numbers_for_missing(reading: Reading) -> tuple[float, ...]:
    """The numbers that stand for a missing value."""
    known = [parse_number(each) if isinstance(each, str) else each for each in reading.missing]
    return tuple(float(number) for number in known if number is not None)


def as_missing(x: Array, reading: Reading) -> Array:
    """Numbers with NaN for those that stand for a missing value; x itself where there are none."""
    numbers = numbers_for_missing(reading)
    if not numbers or x.dtype.kind != "f":
        return x
    is_missing = np.isin(x, np.array(numbers, x.dtype))
    return np.where(is_missing, np.array(np.nan, x.dtype), x) if is_missing.any() else x


def without_missing(table: Table, reading: Reading) -> Table:
    """The table with NaN and None for what stands for a missing value."""
    if not reading.missing:
        return table
    missing = {each.strip().lower() for each in reading.missing if isinstance(each, str)}
    return replace(
        table,
        columns={
            name: as_missing(values, reading)
            if is_numbers(values)
            else np.array([None if _is_one_of(cell, missing) else cell for cell in values], object)
            for name, values in table.columns.items()
        },
    )


def _is_one_of(cell: str | None, texts: set[str]) -> bool:
    return cell is not None and cell.strip().lower() in texts
