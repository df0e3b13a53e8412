"""Tables of Arrow as columns of numbers and categories."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, DtypeMismatch
from ae_runtime.extras import need
from ae_runtime.model.arrays import EXACT_INTEGERS
from ae_runtime.tables.dates import DAY_S
from ae_runtime.tables.table import Table, check_names, columns_with

Array = NDArray[Any]
_NAT = np.iinfo(np.int64).min


def arrow_table(x: Any, wanted: Collection[str] | None = None) -> Table:
    """The columns of anything with the Arrow C stream; see to_table.

    wanted: the only columns that are read; None for all. Raises DataError for columns that
    cannot be used, MissingExtra without pyarrow.
    """
    arrow = need("pyarrow", "data")
    try:
        table = arrow.table(x)
    except (TypeError, ValueError) as error:  # Arrow's own errors are such, too
        raise DtypeMismatch(f"x is no table of Arrow: {' '.join(str(error).split())}") from None
    left_out: tuple[str, ...] = ()
    if wanted is not None:
        used = columns_with(wanted)
        unused = [name for name in table.column_names if name not in used]
        left_out = tuple(name for name in unused if name not in index_of_pandas(table.schema))
        table = table.drop_columns(unused)
    return replace(to_table(table), left_out=left_out)


def to_table(table: Any) -> Table:
    """The columns of a pyarrow Table; dates and times in seconds since 1970-01-01 UTC.

    A column of lists of numbers is a vector, name[0] and on. Columns that are nested otherwise, or
    hold bytes, are listed as unusable. Raises DataError.
    """
    types = need("pyarrow.types", "data")
    names = table.column_names
    check_names(names)
    index = [name for name in names if name in index_of_pandas(table.schema)]
    columns: dict[str, Array] = {}
    known: dict[str, str] = {}
    unusable: dict[str, str] = {}
    integer: set[str] = set()
    for name, column in zip(names, table.columns, strict=True):
        if is_vector(column.type):
            parts = _vector_columns(column, name)
            columns |= parts
            if types.is_integer(column.type.value_type):
                integer |= parts.keys()
            continue
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
    return Table(
        columns, types=known, integer=frozenset(integer), unusable=unusable, index=tuple(index)
    )


def index_of_pandas(schema: Any) -> set[str]:
    """The names of columns that were an index in pandas."""
    try:
        index = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        return {name for name in index if isinstance(name, str)}
    except (KeyError, ValueError, TypeError):  # others may write anything there
        return set()


def is_vector(kind: Any) -> bool:
    """Whether a column of this Arrow type holds lists of numbers."""
    types = need("pyarrow.types", "data")
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests) and kind_of(kind.value_type) in ("integer", "real")


def length_of(column: Any) -> int | None:
    """The numbers of the first list in a chunked column; None where all are missing."""
    lengths = need("pyarrow.compute", "data").list_value_length(column).drop_null()
    return lengths[0].as_py() if len(lengths) else None


def _vector_columns(column: Any, name: str) -> dict[str, Array]:
    block, wrong = vectors(column, name, length_of(column) or 0)
    for row, why in wrong.items():
        raise DataError(f"row {row + 1}, {why}")
    return {f"{name}[{at}]": np.array(values, np.float64) for at, values in enumerate(block.T)}


def vectors(column: Any, name: str, length: int) -> tuple[Array, dict[int, str]]:
    """((N, length), wrong): a chunked column of lists of numbers, NaN where one is missing.

    wrong: by their places, the rows whose lists have another length, with what is wrong.
    """
    arrow, compute = need("pyarrow", "data"), need("pyarrow.compute", "data")
    lengths = joined(compute.list_value_length(column).fill_null(-1).cast("int64"))
    chunks = [compute.list_flatten(chunk) for chunk in column.chunks]
    flat = plain_numbers(arrow.chunked_array(chunks, column.type.value_type), name)
    fits = lengths == length
    wrong = {
        int(row): f"column {name!r} holds a list of {lengths[row]}, where others hold {length}"
        for row in np.flatnonzero(~fits & (lengths >= 0))
    }
    if wrong:
        flat = flat[np.repeat(fits, np.maximum(lengths, 0))]
    block = np.full((len(lengths), length), np.nan, flat.dtype if flat.dtype.kind == "f" else float)
    block[fits] = flat.reshape(-1, length)
    return block, wrong


def kind_of(kind: Any) -> str | None:
    """What a column of this Arrow type holds: boolean, text, date, integer, real or nothing.

    None for types that cannot be used: nested ones, bytes and durations.
    """
    types = need("pyarrow.types", "data")
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = {
        "boolean": (types.is_boolean,),
        # The third is what polars and DataFusion hand over and write.
        "text": (types.is_string, types.is_large_string, types.is_string_view),
        "date": (types.is_date, types.is_timestamp),
        "integer": (types.is_integer,),
        "real": (types.is_floating, types.is_decimal),
        "nothing": (types.is_null,),
    }
    return next((name for name, of in tests.items() if any(test(kind) for test in of)), None)


def column_values(column: Any, name: str) -> Array:
    """A chunked column as float64 with NaN, or as objects that are str or None."""
    holds = kind_of(column.type)
    if need("pyarrow.types", "data").is_dictionary(column.type) and holds != "text":
        column = column.cast(column.type.value_type)
    if holds == "boolean":
        return _texts(column, {True: "true", False: "false"})
    if holds == "text":
        return _texts(column)
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
        known = joined(column.drop_null())
        if len(known) and (int(known.max()) > limit or int(known.min()) < -limit):
            raise DataError(
                f"column {name!r} holds integers beyond {limit}, which lose digits as "
                "float64; subtract an offset"
            )
    if column.null_count or "decimal" in str(column.type):
        column = column.cast("float64", safe=False).fill_null(np.nan)
    return joined(column)


def joined(column: Any) -> Array:
    """A chunked column of numbers, none missing.

    pyarrow's own to_numpy imports pandas wherever it is installed: 30 MB that nothing here needs.
    """
    parts = [np.from_dlpack(part) for part in column.chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *parts])


def _texts(column: Any, names: dict[Any, str] | None = None) -> Array:
    # Each text becomes one object of Python, however often it stands there.
    is_coded = need("pyarrow.types", "data").is_dictionary(column.type)
    arrays = [np.empty(0, object)]
    # A column has several chunks only where it holds gigabytes of text.
    for part in (column if is_coded else column.dictionary_encode()).chunks:
        indices = part.indices
        if "uint" in str(indices.type):  # polars writes these, and they hold no -1
            indices = indices.cast("int64")
        codes = np.from_dlpack(indices.fill_null(-1))
        known = [names[cell] if names else cell for cell in part.dictionary.to_pylist()]
        # As in a CSV, spaces alone are a missing value.
        texts = [text if text and text.strip() else None for text in known]
        arrays.append(np.array([*texts, None], object)[codes])
    return np.concatenate(arrays)


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
    # DuckDB and PostgreSQL write infinite dates as the ends of the type.
    end = 2 ** (bits - 1) - 1
    seconds[ticks == end] = np.inf
    seconds[ticks <= -end] = -np.inf
    seconds[ticks == _NAT] = np.nan
    return seconds
