"""Tables in memory: a caller's columns, by name, as the arrays that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Manifest, Port
from ae_runtime.errors import DataError, DtypeMismatch
from ae_runtime.model.arrays import EXACT_INTEGERS, check_mask, fit_integers, is_table
from ae_runtime.tables.categories import UnknownCategories, to_codes, to_text
from ae_runtime.tables.frames import columns_of, is_frame
from ae_runtime.tables.missing import as_missing, without_missing
from ae_runtime.tables.table import (
    Table,
    check_names,
    check_vectors,
    columns_with,
    names_in,
    numbered,
    seconds_of,
    to_blocks,
)

Array = NDArray[Any]
Say = Callable[[str, str], None]
BOOLEAN_TEXT = {True: "true", False: "false"}
_SHOWN = 5  # columns that are named in a line


def arrays_of(x: Any, manifest: Manifest, say: Say) -> tuple[Array, ...]:
    """The arrays that a bundle's encoder takes, from a table; a file of its columns gives the same.

    x: as in to_table. Columns are taken by name, in any order. say: called with a topic and a line
    for columns that are left out, for columns most of whose categories are unknown, and for columns
    that are taken by position. Raises what to_table and to_blocks raise.
    """
    table = table_of(x, manifest)
    columns = _columns_of(manifest, table)
    unknown = UnknownCategories(columns)
    numbers, codes = to_blocks(table, columns, unknown)
    if manifest.reading is not None:
        numbers = as_missing(numbers, manifest.reading)
    _say_choice(table, columns, manifest.series.time if manifest.series else None, say)
    for at, line in unknown.lines().items():
        say(f"categories of column {at}", line)
    if manifest.is_mixed:
        return numbers, codes
    return (_fitted(numbers, table, columns, manifest.inputs[0]),)


def table_of(x: Any, manifest: Manifest) -> Table:
    """The columns of a table that the bundle takes: all of them if it has no names for them."""
    names = manifest.column_names
    if manifest.columns is None and manifest.series is not None:
        names = manifest.series.channels
    table = to_table(x, None if names is None else set(names))
    return without_missing(table, manifest.reading) if manifest.reading else table


def _columns_of(manifest: Manifest, table: Table) -> list[Column]:
    """The bundle's columns; those of a series are its channels."""
    if manifest.columns is not None:
        return manifest.columns
    shape = manifest.inputs[0].row_shape
    if manifest.series is not None and manifest.series.channels:
        return [Column(name) for name in manifest.series.channels]
    # A table of images' pixels is then refused for its shape, as any other array.
    return [Column(None)] * (shape[0] if len(shape) == 1 else len(table.columns))


def _wanted(columns: Sequence[Column]) -> set[str] | None:
    names = {column.name for column in columns if column.name is not None}
    return names if len(names) == len(columns) else None


def _say_choice(table: Table, columns: Sequence[Column], time: str | None, say: Say) -> None:
    left_out = [name for name in table.left_out if name != time]
    if left_out:
        more = len(left_out) - _SHOWN
        say(
            "left out",
            f"columns not in the model are left out: {', '.join(left_out[:_SHOWN])}"
            + (f" and {more} more" if more > 0 else ""),
        )
    names = list(table.columns)
    if table.named and _wanted(columns) is None and numbered(names) is None:
        say(
            "by position",
            "the model was trained without names of columns: they are taken by position, "
            f"{', '.join(names[:_SHOWN])}" + (", ..." if len(names) > _SHOWN else ""),
        )


def _fitted(x: NDArray[np.float64], table: Table, columns: Sequence[Column], port: Port) -> Array:
    """Numbers (N, P) as the graph takes them. Raises DataError for those that it cannot hold."""
    names = names_in(table, columns)
    fitted, bad = fit_integers(x, port, 0, names, {})
    if bad:
        raise DataError(bad[min(bad)])
    if port.dtype == "float32":
        whole = [at for at, name in enumerate(names) if name in table.integer]
        for at in whole:
            largest = np.nanmax(np.abs(x[:, at]), initial=0)
            if largest > EXACT_INTEGERS["float32"]:
                raise DataError(
                    f"column {names[at]!r} holds integers beyond {EXACT_INTEGERS['float32']}, "
                    "which lose digits as float32; subtract an offset"
                )
    return fitted


def unknown_categories(table: Table, manifest: Manifest) -> list[Array | None]:
    """The categories that the model does not know, for each column (N,) objects, else None.

    None in place of an array for a column of numbers.
    """
    columns = manifest.columns or []
    unknown: list[Array | None] = []
    for name, column in zip(names_in(table, columns), columns, strict=True):
        if not column.levels:
            unknown.append(None)
            continue
        values = table.columns[name]
        _, is_unknown = to_codes(values, column)
        unknown.append(np.where(is_unknown, to_text(values), np.full(1, None)))
    return unknown


def rows_by_number(x: Any, prefix: str) -> Any:
    """(N, D) of a table whose columns are named by number, as latents z0, z1; any other x as it is.

    Columns with other names are taken in their order.
    """
    if not is_table(x):
        return x
    table = to_table(x)
    names = list(table.columns)
    ordered = numbered([name for name in names if name.startswith(prefix)], (prefix,))
    return np.stack([table.columns[name] for name in ordered or names], axis=1)


def to_arrays(
    x: Any, columns: Sequence[Column], unknown: UnknownCategories | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(x_num (B, P) float64, x_cat (B, Q) int32) of a table: see to_table and to_blocks."""
    return to_blocks(to_table(x, _wanted(columns)), columns, unknown)


def to_table(x: Any, wanted: Collection[str] | None = None) -> Table:
    """The columns of x; only those `wanted`, if some are named, in the order of x.

    x: a mapping from column names to 1-d arrays or lists, a frame of pandas, or anything with the
    Arrow C stream (polars, pyarrow). NaN, None and NaT are missing. Dates become seconds since
    1970-01-01 UTC. A column of lists of numbers is a vector, name[0] and on. Raises DtypeMismatch
    for what is no table, DataError for columns that hold what they may not, MissingExtra where
    Arrow is given and pyarrow is not installed.
    """
    if isinstance(x, Table):
        return x
    if isinstance(x, Mapping):
        columns = [(str(name), values) for name, values in x.items()]
        table = replace(_table_of(columns, wanted), seconds=True)
    elif is_frame(x):
        table = _table_of(columns_of(x), wanted)
    elif is_table(x):
        table = _table_of_arrow(x, wanted)
    else:
        raise _no_table(x)
    if wanted is not None:
        check_vectors(table.columns, wanted)
    return table


def _no_table(x: Any) -> DtypeMismatch:
    return DtypeMismatch(
        f"x is {type(x).__name__}, and this bundle takes a table of numbers and categories; pass a "
        "dict of 1-d columns, or a pandas, polars or pyarrow table"
    )


def _table_of(named: list[tuple[str, Any]], wanted: Collection[str] | None) -> Table:
    used = None if wanted is None else columns_with(wanted)
    names = [name for name, _ in named if used is None or name in used]
    check_names(names)
    tables = [_column(name, values) for name, values in named if used is None or name in used]
    columns = {name: values for table in tables for name, values in table.columns.items()}
    _check_lengths(columns)
    return Table(
        columns,
        integer=frozenset().union(*(table.integer for table in tables)),
        types={name: kind for table in tables for name, kind in table.types.items()},
        left_out=tuple(name for name, _ in named if name not in names),
    )


def _table_of_arrow(x: Any, wanted: Collection[str] | None) -> Table:
    from ae_runtime.tables.arrow import arrow_table

    return arrow_table(x, wanted)


def _check_lengths(columns: Mapping[str, Array]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:5])
        raise DataError(f"columns must be of one length, found {found}")


def _column(name: str, values: Any) -> Table:
    """A column as a table of it, or of one column for each number of its vectors."""
    check_mask(values, f"column {name!r}")
    if _is_arrow(values):
        from ae_runtime.tables.arrow import arrow_table

        table = arrow_table({name: values})
        for why in table.unusable.values():
            raise DataError(f"column {name!r} {why}, and neither numbers nor categories")
        return table
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "tz", None) is not None:  # of pandas, whose to_numpy makes objects of them
        values = values.dt.tz_convert(None)
    if getattr(dtype, "kind", None) in ("i", "u") and not isinstance(values, np.ndarray):
        _check_integers(name, values)  # pandas gives float64 for an Int64 with missing values
    array = _array(name, values)
    if _holds_lists(array):
        return _vectors(name, array)
    kind = "M" if array.dtype.kind == "M" else getattr(dtype, "kind", "")
    holds = {"M": "date", "b": "boolean"}.get(kind)
    if getattr(dtype, "name", "") == "category":
        holds = "category"
    return Table(
        {name: _numbers_or_text(name, array)},
        integer=frozenset({name} if kind in ("i", "u") else ()),
        types={name: holds} if holds else {},
    )


def _holds_lists(array: Array) -> bool:
    if array.dtype != object:
        return False
    first = next((cell for cell in array if not _is_missing(cell)), None)
    return isinstance(first, list | tuple | np.ndarray)


def _vectors(name: str, array: Array) -> Table:
    """A column name[0], name[1] and on for each number of a column of lists of one length."""
    known = np.array([not _is_missing(cell) for cell in array])
    lists = array[known].tolist()
    for row, cells in zip(np.flatnonzero(known), lists, strict=True):
        if np.shape(cells) != np.shape(lists[0]):
            raise DataError(
                f"row {row + 1}, column {name!r} holds a list of {len(cells)}, where others hold "
                f"{len(lists[0])}"
            )
    try:
        numbers = np.array(lists)
        block = np.full((len(array), len(lists[0])), np.nan)
        block[known] = numbers
    except (TypeError, ValueError):
        raise DataError(f"column {name!r} holds lists, and not all of numbers") from None
    if numbers.dtype.kind in "iu" and numbers.size:
        _check_exact(name, int(numbers.min()), int(numbers.max()))
    names = [f"{name}[{at}]" for at in range(block.shape[1])]
    integer = frozenset(names if numbers.dtype.kind in "iu" else ())
    return Table(dict(zip(names, block.T, strict=True)), integer=integer)


def _is_arrow(values: Any) -> bool:
    """Whether a column is of Arrow or polars, or of pandas and held by Arrow."""
    if hasattr(values, "iloc"):
        return hasattr(values.dtype, "pyarrow_dtype")
    return hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__")


def _check_integers(name: str, values: Any) -> None:
    known = values[values.notna()] if hasattr(values, "notna") else values
    if len(known):
        _check_exact(name, int(known.min()), int(known.max()))


def _array(name: str, values: Any) -> Array:
    try:
        array = np.asarray(values)
        if array.dtype.kind == "U" and isinstance(values, list | tuple):
            # numpy would make text of all numbers in a list that holds some text.
            array = np.asarray(values, object)
    except ValueError as error:
        raise DataError(f"column {name!r} is not one array: {error}") from None
    if array.ndim != 1:
        raise DataError(f"column {name!r} has shape {array.shape}; a column has one axis")
    return array


def _numbers_or_text(name: str, array: Array) -> Array:
    """A column as float64 with NaN, or as objects that are str or None."""
    kind = array.dtype.kind
    if kind == "M":
        return seconds_of(array)
    if kind in "iu" and array.size:
        _check_exact(name, int(array.min()), int(array.max()))
    if kind in "iuf":
        with np.errstate(over="ignore"):  # of a longdouble past float64's range, as in arrays.py
            return array.astype(np.float64)
    if kind in "bUTO":
        return _text_or_numbers(name, array.tolist())
    raise DataError(f"column {name!r} holds {array.dtype}; numbers, categories and dates are taken")


def _check_exact(name: str, low: int, high: int) -> None:
    limit = EXACT_INTEGERS["float64"]
    if low < -limit or high > limit:
        raise DataError(
            f"column {name!r} holds integers beyond {limit}, which lose digits as float64; "
            "subtract an offset"
        )


def _text_or_numbers(name: str, values: list[Any]) -> Array:
    cleaned = [None if _is_missing(value) else value for value in values]
    if all(value is None or isinstance(value, str | date | bool | np.bool_) for value in cleaned):
        return np.array([_text(value) for value in cleaned], object)
    whole = [value for value in cleaned if isinstance(value, int)]
    _check_exact(name, min(whole, default=0), max(whole, default=0))
    try:
        return np.array([np.nan if value is None else float(value) for value in cleaned])
    except (TypeError, ValueError):
        raise DataError(f"column {name!r} mixes numbers and text; make it one of them") from None


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or not equal to itself, or cannot say, as the NA of pandas."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True
    except ValueError:  # an array: no value for a cell, but there
        return False


def _text(value: Any) -> str | None:
    if isinstance(value, date):  # a datetime is one, too; to_numbers reads the text
        return value.isoformat()
    if isinstance(value, bool | np.bool_):
        return BOOLEAN_TEXT[bool(value)]
    return value if value and value.strip() else None  # spaces alone are missing, as in a CSV
