"""Numbers as the cells of text files write them: decimal sign, thousands, missing values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Reading
from ae_runtime.tables.categories import TRUTH_DIGITS, parse_number
from ae_runtime.tables.digits import loses_digits
from ae_runtime.tables.missing import numbers_for_missing

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "<na>"})
_TRUTH = {text: float(digit) for text, digit in TRUTH_DIGITS.items()}
# Numbers with commas between groups of three digits (not 0,123), and such that cannot be decimals.
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_GROUPED_FOR_SURE = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3}){2,}|[+-]?[1-9]\d{0,2}(,\d{3})+\.\d+")
_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)?,\d+([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_POINT_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}((\.\d{3})+,\d+|(\.\d{3}){2,})")


@dataclass(frozen=True)
class Numbers:
    """How a file writes numbers.

    decimal: the sign before decimals. thousands: the sign between groups of three digits, or "".
    missing: text for a missing value, in small letters. sentinels: numbers for a missing value.
    """

    decimal: str = "."
    thousands: str = ""
    missing: frozenset[str] = MISSING
    sentinels: tuple[float, ...] = ()

    def is_missing(self, cell: str) -> bool:
        """Whether a cell stands for a missing value."""
        text = cell.strip().lower()
        return text in self.missing or (
            bool(self.sentinels) and self._value(text) in self.sentinels
        )

    def parse(self, cell: str) -> float | None:
        """The number in a cell, NaN for a missing one; None for text."""
        if cell.strip().lower() in self.missing:
            return np.nan
        number = self._value(cell)
        return np.nan if number in self.sentinels else number

    def value(self, cell: str) -> float | None:
        """The number in a cell of a column of numbers, where true and false are 1 and 0."""
        number = self.parse(cell)
        return _TRUTH.get(cell.strip().lower()) if number is None else number

    def loses_digits(self, cell: str) -> bool:
        """Whether a cell is an integer that float64 cannot hold."""
        return loses_digits(cell.replace(self.thousands, "") if self.thousands else cell)

    def plain(self, raw: bytes) -> bytes | None:
        """The text with points before decimals; None where the cells must be read one by one."""
        if self.thousands and self.thousands.encode() in raw:
            return None
        if self.decimal == ".":
            return raw
        return None if b"." in raw else raw.replace(b",", b".")

    def without_sentinels(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values (n, D), changed in place: NaN for numbers that stand for a missing value."""
        if self.sentinels:
            values[np.isin(values, self.sentinels)] = np.nan
        return values

    def _value(self, cell: str) -> float | None:
        if self.thousands:
            cell = self._without_thousands(cell.strip())
        if self.decimal != ".":
            if "." in cell:
                return None
            cell = cell.replace(",", ".", 1)
        return parse_number(cell)

    def _without_thousands(self, cell: str) -> str:
        """The cell without the signs between thousands; the cell itself if they are misplaced."""
        whole, sign, rest = cell.partition(self.decimal)
        groups = whole.lstrip("+-").split(self.thousands)
        even = 1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
        if len(groups) > 1 and even and "".join(groups).isdecimal():
            return whole.replace(self.thousands, "") + sign + rest
        return cell


def find_numbers(columns: Iterable[Sequence[str]], reading: Reading) -> Numbers:
    """How a file writes numbers: as its first rows show, else as `reading` says.

    columns: cells of each column. Only columns count all of whose cells may be numbers.
    """
    known = numbers_by(reading)
    cells = [cell for column in columns for cell in _telling(column, known)]
    comma = any(_COMMA.fullmatch(cell) and not _GROUPED.fullmatch(cell) for cell in cells)
    grouped = any(_GROUPED_FOR_SURE.fullmatch(cell) for cell in cells)
    dotted = any(_POINT_THOUSANDS.fullmatch(cell) for cell in cells)
    point = any(_POINT.fullmatch(cell) for cell in cells if not _may_be_thousands(cell, known))
    if comma and not grouped and not (point and reading.decimal != ","):
        thousands = "." if dotted else known.thousands
        return replace(known, decimal=",", thousands="" if thousands == "," else thousands)
    if grouped and not comma:
        return replace(known, decimal=".", thousands=",")
    if point:
        return replace(known, decimal=".", thousands="" if dotted else known.thousands.strip("."))
    return known


def _may_be_thousands(cell: str, known: Numbers) -> bool:
    """Whether the point in a cell may stand between thousands, as the reading says."""
    return known.decimal == "," and _POINT_GROUP.fullmatch(cell) is not None


def numbers_by(reading: Reading) -> Numbers:
    """How numbers are written according to a reading."""
    texts = [text for text in reading.missing if isinstance(text, str)]
    return Numbers(
        reading.decimal or ("," if reading.thousands == "." else "."),
        reading.thousands or "",
        MISSING | {text.strip().lower() for text in texts},
        numbers_for_missing(reading),
    )


def _telling(column: Sequence[str], known: Numbers) -> list[str]:
    """The cells that hold a sign, of a column all of whose cells may be numbers; else none."""
    cells = [cell for cell in column if not known.is_missing(cell)]
    ways = (_COMMA, _GROUPED, _POINT_THOUSANDS)
    for cell in cells:
        if parse_number(cell) is None and not any(way.fullmatch(cell) for way in ways):
            return []
    return [cell for cell in cells if not cell.lstrip("+-").isdecimal()]


def inexact(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values may be integers that lost digits as float64."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(values) >= 1 << 53) & np.isfinite(values))
