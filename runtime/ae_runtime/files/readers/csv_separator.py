"""The separator between the cells of text: one that cuts the rows evenly, and into numbers."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

from ae_runtime.files.readers.csv_numbers import MISSING

SEPARATORS = ",;\t|"
_ROWS = 20
# A number or a moment, whatever its signs for decimals and thousands are.
_VALUE = re.compile(
    r"[+-]?[\d.,' ]*\d[\d.,]*([eE][+-]?\d+)?\s?%?|\d{1,4}[-/.]\d\d?[-/.]\d{1,4}\b.*"
)


def find_separator(text: str) -> str:
    """The separator of the rows in text; a comma where none cuts them.

    Of those that cut most rows into one number of cells, the one that leaves most cells numbers;
    of such, the one that cuts into most cells. The first rows may be a preamble: the last half
    tells.
    """
    head = "\n".join(text.splitlines()[:_ROWS])
    best, most = ",", (0.0, 0.0, 1)
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(io.StringIO(head), delimiter=separator) if row]
        except csv.Error:
            continue  # a wide row in one piece is more than csv takes as a cell
        told = rows[len(rows) // 2 :]
        if not told:
            continue
        width, count = Counter(map(len, told)).most_common(1)[0]
        # A cell that holds another separator is text, or a row that is cut in the wrong places.
        share = _share_of_values([row for row in told if len(row) == width])
        found = (round(count / len(told), 1), share, width)
        if width > 1 and found > most:
            best, most = separator, found
    return best


def _share_of_values(rows: list[list[str]]) -> float:
    cells = [cell.strip() for row in rows for cell in row]
    values = sum(cell.lower() in MISSING or bool(_VALUE.fullmatch(cell)) for cell in cells)
    return round(values / len(cells), 2)
