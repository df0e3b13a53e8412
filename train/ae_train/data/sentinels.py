"""Hints on numbers that seem to stand for missing values, with the option that reads them so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SEEN = 3  # rows
_NINES = re.compile(r"-?([789])\1+(\.\1*)?0*")  # 999, -9999, 99.99, 888
_LIMITS = frozenset({-32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0, -1e30, 1e30, 1e20})


def sentinels(columns: Sequence[tuple[str, NDArray[np.float64]]]) -> list[str]:
    """A line for each number that seems to stand for a missing value, with its columns."""
    columns_of: dict[float, list[tuple[str, int]]] = {}
    for name, values in columns:
        for number, count in _of_column(values):
            columns_of.setdefault(number, []).append((name, count))
    return [
        f"{number:.17g} stands {sum(count for _, count in places):,} times in "
        f"{_named([name for name, _ in places])}, far from all other values; "
        f"if it means missing: --missing {number:.17g}"
        for number, places in columns_of.items()
    ]


def _of_column(values: NDArray[np.float64]) -> list[tuple[float, int]]:
    """(number, rows) of the least and greatest value of a column, if they look like sentinels."""
    counts: list[tuple[float, int]] = []
    for end in (np.fmin, np.fmax):
        number: Any = end.reduce(values, initial=np.nan)
        if not _looks_like_sentinel(float(number)):
            continue
        rest = values[(values != number) & ~np.isnan(values)]
        count = int(np.count_nonzero(values == number))
        if count < MIN_SEEN or not len(rest):
            continue
        low, high = float(rest.min()), float(rest.max())
        if max(low - number, number - high) > high - low:
            counts.append((float(number), count))
    return counts


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def _looks_like_sentinel(number: float) -> bool:
    return number in _LIMITS or _NINES.fullmatch(f"{number:.10g}") is not None
