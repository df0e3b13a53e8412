"""Check an array that a caller brings, and say how to turn it into what a graph takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.errors import DataError, DtypeMismatch, ShapeMismatch
from ae_runtime.manifest import Port

Array = NDArray[Any]
# Largest integer up to which every one is a number of the type.
EXACT_INTEGERS = {"float32": 1 << 24, "float64": 1 << 53}


def checked(x: ArrayLike, port: Port, what: str = "x") -> Array:
    """The array x, known to fit the graph input `port`; not copied.

    Any real dtype passes that numpy converts without surprise: floats to floats (float64 to
    float32 rounds), integers and booleans to anything that holds every value of x exactly.
    Raises ShapeMismatch, or DtypeMismatch for strings, objects, complex numbers and dates,
    floats where the model takes integers, and integers that would not survive.
    """
    x = _as_array(x, what)
    _check_shape(x, port, what)
    check_dtype(x, port, what)
    return x


def check_dtype(x: Array, port: Port, what: str = "x") -> None:
    """Return if the values of x are some that the graph input `port` takes; see checked.

    Raises DtypeMismatch.
    """
    kind, wanted = x.dtype.kind, np.dtype(port.dtype)
    if kind not in "biuf":
        raise DtypeMismatch(f"{what} holds {_kind_name(x.dtype)}, the bundle takes {wanted}")
    if kind == "f" and wanted.kind != "f":
        raise DtypeMismatch(
            f"{what} is {x.dtype}, the bundle takes {wanted}; "
            f"if the values are whole and in range, pass {what}.astype({port.dtype!r})"
        )
    if kind in "iu" and x.dtype != wanted and x.size:
        _check_exact(x, wanted, what)


def converter(x: Array, port: Port) -> Callable[[Array], Array]:
    """What makes a tile of x fit for onnxruntime: contiguous, aligned, in native byte order."""
    wanted = np.dtype(port.dtype)
    if x.dtype != wanted:
        return partial(_rounded if x.dtype.kind == "f" else _converted, wanted)
    return _same if x.flags.c_contiguous and x.flags.aligned else _straightened


def _converted(wanted: np.dtype[Any], tile: Array) -> Array:
    return np.asarray(tile, wanted, order="C")


# A float64 past float32's range becomes infinite, which the encoder clips like any value.
_rounded = np.errstate(over="ignore")(_converted)


def _straightened(tile: Array) -> Array:
    return np.require(tile, requirements=["C", "A"])


def _same(tile: Array) -> Array:
    return tile


def _as_array(x: ArrayLike, what: str) -> Array:
    if isinstance(x, np.ndarray):
        if hasattr(x, "mask"):
            raise DataError(f"{what} is a masked array; fill it first, with {what}.filled(...)")
        return x
    if isinstance(x, dict):
        raise DtypeMismatch(f"{what} is a dict; this bundle takes one array of numbers")
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"{what} is not one array: {error}") from None


def _check_shape(x: Array, port: Port, what: str) -> None:
    row = port.row_shape
    if x.ndim == len(row) + 1 and x.shape[1:] == row:
        return
    wanted = "(" + ", ".join(["B", *map(str, row)]) + ")"
    hint = f"; for one sample write {what}[None]" if x.shape == row else ""
    raise ShapeMismatch(f"{what} has shape {x.shape}, the bundle wants {wanted}{hint}")


def _check_exact(x: Array, wanted: np.dtype[Any], what: str) -> None:
    low, high = _exact_range(wanted)
    # Not np.can_cast: it calls int64 to float64 safe.
    least, most = _exact_range(x.dtype)
    if low <= least and most <= high:
        return
    # Bits of all values together, in one pass: a negative one has the highest.
    if low == 0 and 0 <= int(np.bitwise_or.reduce(x, axis=None)) <= high:
        return
    found_low, found_high = int(x.min()), int(x.max())
    if found_low < low or found_high > high:
        raise DtypeMismatch(
            f"{what} is {x.dtype} and runs from {found_low} to {found_high}; "
            f"{wanted} holds {low} to {high} exactly"
        )


@cache  # asked for each single row
def _exact_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the largest of the whole numbers up to which dtype holds every one."""
    if dtype.kind == "f":
        return -EXACT_INTEGERS[dtype.name], EXACT_INTEGERS[dtype.name]
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _kind_name(dtype: np.dtype[Any]) -> str:
    names = {"U": "strings", "S": "bytes", "O": "objects", "c": "complex numbers"}
    return names.get(dtype.kind, str(dtype))
