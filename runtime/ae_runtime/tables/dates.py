"""Seconds since 1970-01-01 UTC to days and moments, the inverse of table.parse_date."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column

DAY_S = 86400
# The first and the last moment that ISO 8601 writes with four digits of a year, in seconds.
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799


def date_kind(column: Column) -> Literal["day", "second", "moment"]:
    """The finest unit of time in a column of dates, as its training rows had it."""
    if not column.integer:
        return "moment"
    if column.whole_days is not UNSET:
        return "day" if column.whole_days else "second"
    ends = (column.min, column.max)  # of an older bundle
    return "day" if all(end is not None and end % DAY_S == 0 for end in ends) else "second"


def as_dates(seconds: NDArray[Any], kind: str) -> NDArray[np.datetime64]:
    """The nearest dates, (N,) datetime64 of days, seconds or microseconds; NaN is NaT.

    A year that ISO 8601 does not write in four digits becomes the nearest that it does.
    """
    per_second, unit = {"day": (1 / DAY_S, "D"), "second": (1, "s"), "moment": (1e6, "us")}[kind]
    known = np.rint(np.nan_to_num(seconds.astype(np.float64)) * per_second)
    ticks = np.clip(known, FIRST_S * per_second, LAST_S * per_second // 1).astype(np.int64)
    ticks[np.isnan(seconds)] = np.iinfo(np.int64).min  # NaT
    return ticks.astype(f"datetime64[{unit}]")
