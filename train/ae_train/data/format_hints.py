"""Hints on text columns that hold numbers or dates in a format that is not read by itself."""

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


def format_hint(name: str, texts: Iterable[str]) -> str:
    """A line on what a text column seems to hold and the option that reads it; "" for categories.

    texts: the different values of the column.
    """
    texts = sorted(texts)
    unparsed = [text for text in texts if parse_number(text) is None]
    if not unparsed:
        return ""
    what = _number_format(unparsed) or _date_format(texts)
    keep = f"--set data.types.{name}=category keeps it as categories"
    return f"column {name!r} looks like {what}; {keep}" if what else ""


def _number_format(texts: list[str]) -> str:
    """The format of the texts and the option that reads it, if all are numbers; else ""."""
    ways = [way for way in (_COMMA, _GROUPED, _PERCENT, _MONEY) if all(map(way.fullmatch, texts))]
    if not ways:
        if all(_COMMA.fullmatch(text) or _GROUPED.fullmatch(text) for text in texts):
            return f"numbers ({texts[0]!r}) written in several ways: write them in one"
        return ""
    if _PERCENT in ways or _MONEY in ways:
        return f"numbers with a sign ({texts[0]!r}): write them without it, to be read as numbers"
    groups = _GROUPED.fullmatch(texts[0])
    sign = groups[1] if groups and _GROUPED in ways else ","
    thousands = f"--set data.thousands='{sign}'" + (" --set data.decimal=," if sign == "." else "")
    decimals = "--set data.decimal=,"
    if _COMMA in ways and _GROUPED in ways:
        first = texts[0]
        return (
            f"numbers ({first!r}): {thousands} reads {first.replace(',', '')}, "
            f"{decimals} reads {first.replace(',', '.')}"
        )
    read = decimals if _COMMA in ways else thousands
    return f"numbers ({texts[0]!r}), written another way than the rest: {read} reads them"


def _date_format(texts: list[str]) -> str:
    """The format of the texts and what to write instead, if all are dates; else ""."""
    others = [text for text in texts if parse_date(text) is None]
    if not others or not all(map(_DATE.fullmatch, others)):
        return ""
    known = next((text for text in texts if parse_date(text) is not None), None)
    forms = f"{others[0]!r}" + (f" and {known!r}" if known else "")
    several = "in two forms " if known else ""
    return f"dates {several}({forms}): write them as ISO 8601 (2026-03-31)"
