"""Parquet files to tables of numbers and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.arrays import EXACT_INTEGERS
from ae_runtime.errors import DataError
from ae_runtime.extras import need
from ae_runtime.table import Table


def read_parquet_table(path: Path) -> Table:
    """The columns of a Parquet file; dates and times in seconds since 1970-01-01 UTC.

    Columns that are nested, or hold bytes, are listed as unusable. Raises DataError for a file
    that cannot be read or holds no rows, MissingExtra without pyarrow.
    """
    parquet = need("pyarrow.parquet", "data")
    try:
        table = parquet.read_table(path)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not a readable Parquet file: {reason}") from None
    if not table.num_rows:
        raise DataError(f"{path} holds no rows")
    try:
        return _to_table(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def arrow_table(x: Any) -> Table:
    """The columns of anything with the Arrow C stream, as those of a Parquet file.

    Raises DataError for columns that cannot be used, MissingExtra without pyarrow.
    """
    return _to_table(need("pyarrow", "data").table(x))


def _to_table(table: Any) -> Table:
    types = need("pyarrow.types", "data")
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"two columns are named {repeated[0]!r}; rename one")
    columns: dict[str, NDArray[Any]] = {}
    known: dict[str, str] = {}
    unusable: dict[str, str] = {}
    integer = set()
    for name, column in zip(names, table.columns, strict=True):
        kind = column.type
        if types.is_dictionary(kind):
            column, known[name] = column.cast(kind.value_type), "category"
            kind = column.type
        if types.is_boolean(kind):
            columns[name] = _words(column, {True: "true", False: "false"})
            known[name] = "boolean"
        elif types.is_string(kind) or types.is_large_string(kind):
            columns[name] = _words(column)
        elif types.is_date(kind) or types.is_timestamp(kind):
            columns[name], known[name] = _seconds(column), "date"
        elif types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            columns[name] = _numbers(column, name)
            if types.is_integer(kind):
                integer.add(name)
        elif types.is_null(kind):
            columns[name] = np.full(len(column), np.nan)
        else:
            unusable[name] = f"{'is nested' if types.is_nested(kind) else 'holds'} ({kind})"
    return Table(columns, types=known, integer=frozenset(integer), unusable=unusable)


def _words(column: Any, names: dict[Any, str] | None = None) -> NDArray[Any]:
    found = column.to_pylist()
    words = [names.get(word) for word in found] if names else found
    return np.array([word or None for word in words], object)


def _numbers(column: Any, name: str) -> NDArray[np.float64]:
    limit = EXACT_INTEGERS["float64"]
    if column.type.bit_width == 64 and "int" in str(column.type):
        found = column.drop_null().to_numpy()
        if len(found) and (int(found.max()) > limit or int(found.min()) < -limit):
            raise DataError(
                f"column {name!r} holds integers beyond {limit}, which lose digits as "
                "float64; subtract an offset"
            )
    return np.asarray(column.cast("float64", safe=False).to_numpy(), np.float64)


def _seconds(column: Any) -> NDArray[np.float64]:
    moments = column.cast("timestamp[us]" if str(column.type).startswith("date") else column.type)
    ticks = moments.to_numpy().astype("datetime64[us]")
    missing = np.isnat(ticks)
    return np.where(missing, np.nan, ticks.astype(np.int64) / 1e6)
