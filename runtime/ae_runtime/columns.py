"""Mixed tables in memory: a caller's columns as the arrays that a model takes, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.arrays import EXACT_INTEGERS
from ae_runtime.errors import DataError, DtypeMismatch
from ae_runtime.manifest import Column
from ae_runtime.table import Table, to_blocks

Array = NDArray[Any]
BOOLEAN_WORDS = {True: "true", False: "false"}


def to_arrays(x: Any, columns: Sequence[Column]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(x_num (B, P) float64, x_cat (B, Q) int32) of a dict of 1-d columns, or of an Arrow table.

    x: a mapping from column names to 1-d arrays or lists, or anything with the Arrow C stream
    (pandas, polars, pyarrow). NaN, None and NaT are missing; words that the model does not know
    count as missing too, or as "other" where it has that word. Columns that it does not know are
    left aside. Raises DtypeMismatch for what is no table, DataError for columns that are missing
    or hold what they may not, MissingExtra where Arrow is given and pyarrow is not installed.
    """
    wanted = {column.name for column in columns}
    return to_blocks(to_table(x, None if None in wanted else wanted), columns)


def to_table(x: Any, wanted: Collection[str | None] | None = None) -> Table:
    """The columns of x, which is as in to_arrays; only those `wanted`, if some are named."""
    if isinstance(x, Table):
        return x
    if isinstance(x, Mapping):
        named = {str(name): values for name, values in x.items()}
        found = {
            name: _column(name, values)
            for name, values in named.items()
            if wanted is None or name in wanted
        }
        _check_lengths(found)
        kinds = {name: getattr(getattr(named[name], "dtype", None), "kind", None) for name in found}
        return Table(
            found,
            integer=frozenset(name for name, kind in kinds.items() if kind in ("i", "u")),
            types={name: "date" for name, kind in kinds.items() if kind == "M"},
        )
    if hasattr(x, "__arrow_c_stream__"):
        from ae_runtime.files.parquet_files import arrow_table

        return arrow_table(x)
    raise DtypeMismatch(
        f"x is {type(x).__name__}, and this bundle takes a table of numbers and words; pass a dict "
        "of 1-d columns, or a pandas, polars or pyarrow table"
    )


def _check_lengths(columns: Mapping[str, Array]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:5])
        raise DataError(f"columns must be of one length, found {found}")


def _column(name: str, values: Any) -> Array:
    """A column as float64 with NaN, or as objects that are str or None."""
    if hasattr(values, "mask") and isinstance(values, np.ndarray):
        raise DataError(f"column {name!r} is a masked array; fill it first, with filled(...)")
    try:
        array = np.asarray(values)
        if array.dtype.kind == "U" and isinstance(values, list | tuple):
            # Of a list with a word in it numpy makes words of all its numbers.
            array = np.asarray(values, object)
    except ValueError as error:
        raise DataError(f"column {name!r} is not one array: {error}") from None
    if array.ndim != 1:
        raise DataError(f"column {name!r} has shape {array.shape}; a column has one axis")
    kind = array.dtype.kind
    if kind == "M":
        missing = np.isnat(array)
        seconds = array.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(missing, np.nan, seconds)
    if kind in "iu" and array.size:
        _check_exact(name, int(array.min()), int(array.max()))
    if kind in "iuf":
        with np.errstate(over="ignore"):  # of a longdouble past float64's range, as in arrays.py
            return array.astype(np.float64)
    if kind in "bUTO":
        return _words_or_numbers(name, array.tolist())
    raise DataError(f"column {name!r} holds {array.dtype}; numbers, words and dates are taken")


def _check_exact(name: str, low: int, high: int) -> None:
    limit = EXACT_INTEGERS["float64"]
    if low < -limit or high > limit:
        raise DataError(
            f"column {name!r} holds integers beyond {limit}, which lose digits as float64; "
            "subtract an offset"
        )


def _words_or_numbers(name: str, values: list[Any]) -> Array:
    cleaned = [None if _is_missing(value) else value for value in values]
    if all(value is None or isinstance(value, str | date | bool | np.bool_) for value in cleaned):
        return np.array([_word(value) for value in cleaned], object)
    whole = [value for value in cleaned if isinstance(value, int)]
    _check_exact(name, min(whole, default=0), max(whole, default=0))
    try:
        return np.array([np.nan if value is None else float(value) for value in cleaned])
    except (TypeError, ValueError):
        raise DataError(f"column {name!r} mixes numbers and words; make it one of them") from None


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or not equal to itself, or cannot say, as the NA of pandas."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return True


def _word(value: Any) -> str | None:
    if isinstance(value, date):  # a datetime is one, too; to_numbers reads the text
        return value.isoformat()
    return BOOLEAN_WORDS[bool(value)] if isinstance(value, bool | np.bool_) else value or None
