"""Error bounds of archives: absolute, or as a share of each column's range."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import DataError

BYTES_RANGE = 255.0  # of uint8 images
_ABSOLUTE = "give the bound in the values' own units, as --{name} 0.5"


@dataclass(frozen=True)
class Amount:
    """Number in the values' own units, or, if `share`, of the range of each column."""

    value: float
    share: bool = False

    def __str__(self) -> str:
        return f"{100 * self.value:g} %" if self.share else f"{self.value:g}"


class AmountType(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """Value of an option: 0.5 or 1%."""

    name = "amount"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Amount:
        if isinstance(value, Amount):
            return value
        match = re.fullmatch(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(%?)", str(value).strip())
        try:
            number = float(match[1]) if match else math.nan
        except ValueError:
            number = math.nan
        share = bool(match and match[2])
        if not math.isfinite(number) or (share and not 0 < number <= 100):
            self.fail(
                f"{value!r} is no bound; write a number such as 0.5, in the values' units, "
                "or a share of each column's range such as 1%",
                param,
                context,
            )
        return Amount(number / 100 if share else number, share)


class Bounds(NamedTuple):
    """each: the bound of every value, in a row's shape. notes: lines on what is kept exactly."""

    each: NDArray[np.float64]
    notes: list[str]


def bounds_of(
    amount: Amount, name: str, manifest: Manifest, row_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Bounds:
    """The bound of each value of a row that the amount of an option stands for.

    Dates, and columns without a known range, are kept exactly; categories always are. name: the
    option's, for messages. Raises DataError for a share where the bundle has no ranges.
    """
    exact = _dates(manifest)
    notes = []
    if amount.share:
        ranges = _ranges(manifest, name, row_shape, dtype)
        unknown = np.isnan(ranges) & ~exact & ~_has_categories(manifest, len(ranges))
        if unknown.any():
            names = _named(manifest, np.flatnonzero(unknown).tolist())
            notes.append(f"the bundle has no range of {names}: kept exactly")
        each = np.broadcast_to(ranges * amount.value, _flat(row_shape)).copy()
        each[~(each > 0)] = 0.0
    else:
        each = np.full(_flat(row_shape), amount.value)
    if exact.any():
        each[np.broadcast_to(exact, each.shape)] = 0.0
        notes.append(f"dates are kept exactly: {_named(manifest, np.flatnonzero(exact).tolist())}")
    return Bounds(each.reshape(row_shape), notes)


def _flat(row_shape: tuple[int, ...]) -> tuple[int, int]:
    """A row's shape as two axes: all but the last, flattened, and the last, which has ranges."""
    return math.prod(row_shape[:-1]), row_shape[-1]


def _dates(manifest: Manifest) -> NDArray[np.bool_]:
    columns = manifest.columns or []
    return np.array([column.type == "date" for column in columns] or [False])


def _has_categories(manifest: Manifest, count: int) -> NDArray[np.bool_]:
    columns = manifest.columns or []
    return np.array([bool(column.levels) for column in columns] or [False] * count)


def _ranges(
    manifest: Manifest, name: str, row_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """The range of each column or channel, or one for all (images); NaN where not known."""
    ends: list[tuple[float | None, float | None]] = []
    if manifest.kind == "image":
        if manifest.inputs[0].dtype != "uint8" or dtype.kind not in "iu":
            raise DataError(
                f"the bundle has no range of images of {dtype}, only uint8 has one; "
                + _ABSOLUTE.format(name=name)
            )
        return np.full(row_shape[-1], BYTES_RANGE)
    if manifest.columns is not None:
        ends = [(column.min, column.max) for column in manifest.columns]
    elif manifest.series is not None and manifest.series.min and manifest.series.max:
        ends = list(zip(manifest.series.min, manifest.series.max, strict=False))
    if len(ends) != row_shape[-1]:
        raise DataError(
            "the bundle has no ranges that a share could be of: it is an older one, or of modules "
            "that came without; " + _ABSOLUTE.format(name=name)
        )
    return np.array([np.nan if a is None or b is None else b - a for a, b in ends])


def _named(manifest: Manifest, places: list[int]) -> str:
    columns = manifest.columns or []
    channels = (manifest.series.channels if manifest.series else None) or []
    names = [column.name for column in columns] or channels
    known = [repr(names[at]) if at < len(names) and names[at] else f"{at + 1}" for at in places]
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    return f"column{'s' if len(known) > 1 else ''} {', '.join(known[:5])}{more}"
