"""Check an array that a caller brings, and say how to turn it into what a graph takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import DataError, DtypeMismatch, ShapeMismatch

Array = NDArray[Any]
# The largest integer up to which the type holds every integer exactly.
EXACT_INTEGERS = {"float32": 1 << 24, "float64": 1 << 53}


def checked(x: ArrayLike, port: Port, what: str = "x") -> Array:
    """Check that x fits the graph input `port`; returns it as an array, not copied.

    Any real dtype passes that numpy converts without surprise: floats to floats (float64 to
    float32 rounds), integers and booleans to anything that holds every value of x exactly.
    Raises ShapeMismatch, or DtypeMismatch for strings, objects, complex numbers and dates,
    floats where the model takes integers, and integers that would not survive.
    """
    x = as_array(x, what)
    _check_shape(x, port, what)
    conversion(x.dtype, np.dtype(port.dtype)).check(x, what)
    return x


class Conversion(NamedTuple):
    """How arrays of one dtype become what a graph takes.

    check(x, what): raises DtypeMismatch for values that the graph does not take.
    convert(tile): the tile contiguous, aligned and in the graph's dtype, copied only if need be.
    both(x, what): check, then convert.
    """

    check: Callable[[Array, str], None]
    convert: Callable[[Array], Array]
    both: Callable[[Array, str], Array]


@cache  # asked for each single row
def conversion(dtype: np.dtype[Any], wanted: np.dtype[Any]) -> Conversion:
    """The conversion of arrays of `dtype` for a graph input of dtype `wanted`; see `checked`."""
    check = _check_for(dtype, wanted)
    convert = _straightened if dtype == wanted else partial(_converted, wanted)
    if dtype.kind == wanted.kind == "f" and wanted.itemsize < dtype.itemsize:
        # A float64 past float32's range becomes infinite, which the encoder clips like any value.
        convert = np.errstate(over="ignore")(convert)

    def both(x: Array, what: str) -> Array:
        if check is not _fits:
            check(x, what)
        return convert(x)

    def both_whole(x: Array, what: str) -> Array:
        try:
            return x.astype(wanted, "C", "same_value", False)
        except ValueError:  # a value would change, or a numpy before 2.4 does not know how to tell
            return both(x, what)

    # numpy 2.4 does not check values whose bytes must be swapped.
    whole = dtype.kind in "iu" and wanted.kind in "iu" and dtype.isnative and check is not _fits
    return Conversion(check, convert, both_whole if whole else both)


def _check_for(dtype: np.dtype[Any], wanted: np.dtype[Any]) -> Callable[[Array, str], None]:
    if dtype == wanted:
        return _fits
    if dtype.kind not in "biuf":
        return partial(_refuse, f"holds {_kind_name(dtype)}, the bundle takes {wanted}")
    if dtype.kind == "f":
        hint = f"if the values are whole and in range, pass {{}}.astype({wanted.name!r})"
        reason = f"is {dtype}, the bundle takes {wanted}; {hint}"
        return _fits if wanted.kind == "f" else partial(_refuse, reason)
    (low, high), (least, most) = _exact_range(wanted), _exact_range(dtype)
    # Not np.can_cast: it calls int64 to float64 safe.
    return _fits if low <= least and most <= high else partial(_check_exact, low, high, wanted)


def _fits(x: Array, what: str) -> None:
    pass


def _refuse(reason: str, x: Array, what: str) -> NoReturn:
    raise DtypeMismatch(f"{what} {reason.format(what)}")


def _check_exact(low: int, high: int, wanted: np.dtype[Any], x: Array, what: str) -> None:
    # The bitwise or of all values: a negative one sets the highest bit, none at all gives 0.
    if 0 <= int(np.bitwise_or.reduce(x, axis=None)) <= high:
        return
    found_low, found_high = int(x.min()), int(x.max())
    if found_low < low or found_high > high:
        raise DtypeMismatch(
            f"{what} is {x.dtype} and runs from {found_low} to {found_high}; "
            f"{wanted} holds {low} to {high} exactly"
        )


def _converted(wanted: np.dtype[Any], tile: Array) -> Array:
    return tile.astype(wanted, "C", "unsafe", False)


def _straightened(tile: Array) -> Array:
    flags = tile.flags
    if flags.c_contiguous and flags.aligned:
        return tile
    return np.require(tile, requirements=["C", "A"])


def as_array(x: ArrayLike, what: str) -> Array:
    """X as an array, not copied. Raises DataError or DtypeMismatch if it is not one."""
    check_mask(x, what)
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, dict):
        raise DtypeMismatch(f"{what} is a dict; this bundle takes one array of numbers")
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"{what} is not one array: {error}") from None


def check_mask(x: object, what: str) -> None:
    """Raise DataError for a masked array: numpy and the graphs would take what its mask hides."""
    if isinstance(x, np.ndarray) and hasattr(x, "mask"):
        fill = f"{what}.filled(...)" if what.isidentifier() else "filled(...)"
        raise DataError(f"{what} is a masked array; fill it first, with {fill}")


def is_table(x: object) -> bool:
    """Whether x is columns by name: a dict, a frame, a Table, or what has the Arrow C stream."""
    if isinstance(x, np.ndarray | list | tuple):
        return False
    # A single column, as a Series, has that stream, too.
    is_stream = hasattr(x, "__arrow_c_stream__") and getattr(x, "ndim", 2) != 1
    return isinstance(x, Mapping) or hasattr(x, "columns") or is_stream


def fit_integers(
    x: Array, port: Port, first: int, names: Sequence[str] | None, bad: dict[int, str]
) -> tuple[Array, dict[int, str]]:
    """Turn numbers that were read from text into integers, where the port takes integers.

    Rows with a missing value, or one that the port's dtype cannot hold, are added to `bad`.
    """
    wanted = np.dtype(port.dtype)
    if wanted.kind == "f" or x.dtype == wanted:
        return x, bad
    low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
    with np.errstate(invalid="ignore"):
        fits = (x >= low) & (x <= high) & (x == np.rint(x))
    bad = dict(bad)
    for row in np.flatnonzero(~fits.all(axis=1)):
        at = int(np.flatnonzero(~fits[row])[0])
        column = repr(names[at]) if names else at + 1
        why = f"row {first + row + 1}, column {column}: {x[row, at]:.17g} is not a whole number "
        bad.setdefault(int(row), why + f"from {low} to {high}; correct it")
    return np.where(fits, x, 0).astype(wanted), bad


def _check_shape(x: Array, port: Port, what: str) -> None:
    row = tuple(port.shape[1:])
    if x.ndim == len(row) + 1 and x.shape[1:] == row:
        return
    wanted = "(" + ", ".join(["B", *map(str, row)]) + ")"
    hint = f"; for one sample write {what}[None]" if x.shape == row else ""
    raise ShapeMismatch(f"{what} has shape {x.shape}, the bundle wants {wanted}{hint}")


def _exact_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """(least, largest) of the range in which dtype holds every whole number exactly."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        return -EXACT_INTEGERS[dtype.name], EXACT_INTEGERS[dtype.name]
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _kind_name(dtype: np.dtype[Any]) -> str:
    names = {"U": "strings", "S": "bytes", "O": "objects", "c": "complex numbers"}
    return names.get(dtype.kind, str(dtype))
