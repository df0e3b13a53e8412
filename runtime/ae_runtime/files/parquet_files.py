"""Parquet files to tables of numbers and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.arrays import EXACT_INTEGERS
from ae_runtime.errors import DataError, NoRows
from ae_runtime.extras import need
from ae_runtime.files.dates import DAY_S
from ae_runtime.table import Table

Array = NDArray[Any]
_NAT = np.iinfo(np.int64).min


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
        raise unreadable(path, error) from None
    if not table.num_rows:
        raise NoRows(f"{path} holds no rows")
    try:
        return _to_table(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def arrow_table(x: Any) -> Table:
    """The columns of anything with the Arrow C stream, as those of a Parquet file.

    Raises DataError for columns that cannot be used, MissingExtra without pyarrow.
    """
    return _to_table(need("pyarrow", "data").table(x))


def unreadable(path: Path, error: Exception) -> DataError:
    """What pyarrow says of a damaged file, in one line."""
    return DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}")


def check_names(names: list[str]) -> None:
    """Raise DataError where two columns have one name."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"two columns are named {repeated[0]!r}; rename one")


def _to_table(table: Any) -> Table:
    types = need("pyarrow.types", "data")
    names = table.column_names
    check_names(names)
    columns: dict[str, Array] = {}
    known: dict[str, str] = {}
    unusable: dict[str, str] = {}
    integer = set()
    for name, column in zip(names, table.columns, strict=True):
        holds = kind_of(column.type)
        if types.is_dictionary(column.type):
            known[name] = "category"
        if holds is None:
            kind = column.type.value_type if types.is_dictionary(column.type) else column.type
            unusable[name] = f"{'is nested' if types.is_nested(kind) else 'holds'} ({kind})"
            continue
        columns[name] = column_values(column, name)
        if holds in ("boolean", "date"):
            known[name] = holds
        if holds == "integer":
            integer.add(name)
    return Table(columns, types=known, integer=frozenset(integer), unusable=unusable)


def kind_of(kind: Any) -> str | None:
    """What a column of this Arrow type holds: boolean, word, date, integer, real or nothing.

    None for what is no use: what is nested, bytes and durations.
    """
    types = need("pyarrow.types", "data")
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = {
        "boolean": (types.is_boolean,),
        "word": (types.is_string, types.is_large_string),
        "date": (types.is_date, types.is_timestamp),
        "integer": (types.is_integer,),
        "real": (types.is_floating, types.is_decimal),
        "nothing": (types.is_null,),
    }
    return next((name for name, of in tests.items() if any(test(kind) for test in of)), None)


def column_values(column: Any, name: str) -> Array:
    """A chunked column as float64 with NaN, or as objects that are str or None."""
    holds = kind_of(column.type)
    if need("pyarrow.types", "data").is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if holds == "boolean":
        return _words(column, {True: "true", False: "false"})
    if holds == "word":
        return _words(column)
    if holds == "date":
        return _seconds(column)
    if holds == "nothing":
        return np.full(len(column), np.nan)
    return np.asarray(plain_numbers(column, name), np.float64)


def plain_numbers(column: Any, name: str) -> Array:
    """A chunked column of numbers as they are; float64 with NaN where some are missing.

    Raises DataError for integers that float64 does not hold.
    """
    limit = EXACT_INTEGERS["float64"]
    if column.type.bit_width == 64 and "int" in str(column.type):
        found = joined(column.drop_null())
        if len(found) and (int(found.max()) > limit or int(found.min()) < -limit):
            raise DataError(
                f"column {name!r} holds integers beyond {limit}, which lose digits as "
                "float64; subtract an offset"
            )
    if column.null_count or "decimal" in str(column.type):
        column = column.cast("float64", safe=False).fill_null(np.nan)
    return joined(column)


def joined(column: Any) -> Array:
    """A chunked column of numbers, none missing.

    pyarrow's own to_numpy imports pandas wherever that is installed: 30 MB that nothing here needs.
    """
    parts = [np.from_dlpack(part) for part in column.chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *parts])


def _words(column: Any, names: dict[Any, str] | None = None) -> Array:
    # Each word is made once, however often it stands there.
    found = column.combine_chunks().dictionary_encode()
    # There are chunks of several gigabytes of words only.
    parts = found.unify_dictionaries().chunks if hasattr(found, "chunks") else [found]
    known = parts[0].dictionary.to_pylist() if parts else []
    codes = np.concatenate(
        [np.empty(0, np.int32), *(np.from_dlpack(part.indices.fill_null(-1)) for part in parts)]
    )
    words = [(names[word] if names else word) or None for word in known]
    every: Array = np.array([*words, None], object)[codes]
    return every


def _seconds(column: Any) -> NDArray[np.float64]:
    """A chunked column of dates in seconds, infinite where a database wrote 'infinity'."""
    bits = column.type.bit_width
    ticks = joined(column.cast(f"int{bits}").cast("int64").fill_null(_NAT))
    unit = getattr(column.type, "unit", "day" if bits == 32 else "ms")
    if unit == "ns":
        seconds = ticks // 1000 / 1e6
    else:
        seconds = (
            ticks * float(DAY_S) if unit == "day" else ticks / {"s": 1, "ms": 1e3, "us": 1e6}[unit]
        )
    # DuckDB and PostgreSQL have no other place for it than the ends of the type.
    end = 2 ** (bits - 1) - 1
    seconds[ticks == end] = np.inf
    seconds[ticks <= -end] = -np.inf
    seconds[ticks == _NAT] = np.nan
    return seconds
