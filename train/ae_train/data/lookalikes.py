"""Words that are numbers or dates written another way: said, before they become categories."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ae_runtime.tables.table import parse_date, parse_number

_SIGN = r"[+-]?"
_COMMA = re.compile(_SIGN + r"\d*,\d+")
_POINT = re.compile(_SIGN + r"\d*\.\d+")
_GROUPED = re.compile(_SIGN + r"[1-9]\d{0,2}(?:([,. '])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_PERCENT = re.compile(_SIGN + r"\d+(?:[.,]\d+)?\s?%")
_MONEY = re.compile(_SIGN + r"[$€£¥]\s?\d[\d.,' ]*|\d[\d.,' ]*\s?[$€£¥]")
_DATE = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}|\d{1,2}/\d{1,2}/\d{2})"
    r"(?:[ T]\d{1,2}:\d\d.*)?|\d{1,2} [A-Z][a-z]+ \d{4}"
)


def lookalike(name: str, words: Iterable[str]) -> str:
    """What a column of words seems to be and how it is read, in a line; "" for plain words.

    words: all that the column holds.
    """
    words = sorted(words)
    strange = [word for word in words if parse_number(word) is None]
    if not strange:
        return ""
    what = _of_numbers(strange) or _of_dates(words)
    keep = f"--set data.types.{name}=category keeps it as categories"
    return f"column {name!r} looks like {what}; {keep}" if what else ""


def _of_numbers(words: list[str]) -> str:
    """What the words are, if each is a number of some way, and how that is read."""
    ways = [way for way in (_COMMA, _GROUPED, _PERCENT, _MONEY) if _all(words, way)]
    if not ways:
        if all(_COMMA.fullmatch(word) or _GROUPED.fullmatch(word) for word in words):
            return f"numbers ({words[0]!r}) written in several ways: write them in one"
        return ""
    if _PERCENT in ways or _MONEY in ways:
        return f"numbers with a sign ({words[0]!r}): write them without it, to be read as numbers"
    groups = _GROUPED.fullmatch(words[0])
    sign = groups[1] if groups and _GROUPED in ways else ","
    thousands = f"--set data.thousands='{sign}'" + (" --set data.decimal=," if sign == "." else "")
    decimals = "--set data.decimal=,"
    if _COMMA in ways and _GROUPED in ways:
        first = words[0]
        return (
            f"numbers ({first!r}): {thousands} reads {first.replace(',', '')}, "
            f"{decimals} reads {first.replace(',', '.')}"
        )
    read = decimals if _COMMA in ways else thousands
    return f"numbers ({words[0]!r}), written another way than the rest: {read} reads them"


def _of_dates(words: list[str]) -> str:
    """What the words are, if each is a date of some form."""
    others = [word for word in words if parse_date(word) is None]
    if not others or not all(_DATE.fullmatch(word) for word in others):
        return ""
    known = next((word for word in words if parse_date(word) is not None), None)
    forms = f"{others[0]!r}" + (f" and {known!r}" if known else "")
    several = "in two forms " if known else ""
    return f"dates {several}({forms}): write them as ISO 8601 (2026-03-31)"


def _all(words: list[str], way: re.Pattern[str]) -> bool:
    return all(way.fullmatch(word) for word in words)
