"""Text of digits: integers that float64 cannot hold, and dates written as one number."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LOSES_DIGITS = (
    f"is a whole number beyond {1 << 53}, which loses digits as float64; subtract an offset, or "
    "leave the column out"
)
_NUMBER = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
# Ticks in a second of a count since 1970, by its number of digits, for 1973 to 2286.
_PARTS = {9: 1, 10: 1, 12: 10**3, 13: 10**3, 15: 10**6, 16: 10**6, 18: 10**9, 19: 10**9}


def loses_digits(text: str) -> bool:
    """Whether a text is an integer that float64 cannot hold."""
    digits = text.strip().lstrip("+-")
    if not 16 <= len(digits) <= 309 or not (digits.isascii() and digits.isdecimal()):
        return False
    number = float(digits)
    return number < float("inf") and int(digits) != int(number)


def parse_moment(text: str) -> float | None:
    """Seconds since 1970-01-01 UTC of a date in digits, or of a count of seconds or parts of them.

    20260331 and 20260331081500 are dates. None for any other text, and for a number that may mean
    something else, such as a year or the days of a spreadsheet.
    """
    if not _NUMBER.fullmatch(text):
        return None
    whole, _, _ = text.lstrip("-").partition(".")
    if len(text) in (8, 14) and text.isdecimal():
        try:
            moment = datetime.strptime(text, "%Y%m%d%H%M%S"[: len(text) - 2])
        except ValueError:
            return None
        return moment.replace(tzinfo=UTC).timestamp()
    parts = _PARTS.get(len(whole))
    if parts is None:
        return None
    seconds, rest = divmod(int(whole), parts)
    total = seconds + rest / parts + float("0." + (text.partition(".")[2] or "0")) / parts
    return -total if text.startswith("-") else total
