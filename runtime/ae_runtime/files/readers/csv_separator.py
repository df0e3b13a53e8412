"""The separator of text: the one that cuts the rows evenly and into numbers."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

from ae_runtime.files.readers.csv_numbers import MISSING

SEPARATORS = ",;\t|"
_ROWS = 20  # that are tried
# A number or a date, with any signs for decimals and thousands.
_VALUE = re.compile(
    r"[+-]?[\d.,' ]*\d[\d.,]*([eE][+-]?\d+)?\s?%?|\d{1,4}[-/.]\d\d?[-/.]\d{1,4}\b.*"
)


def find_separator(text: str) -> str:
    """The separator of the rows in text; a comma where no separator cuts them.

    It cuts most rows into the same number of cells; among several, it leaves the largest share of
    cells numbers; among these, it makes the most cells. Only the last half of the rows counts, as
    the first may be a preamble.
    """
    head = "\n".join(text.splitlines()[:_ROWS])
    best, most = ",", (0.0, 0.0, 1)
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(io.StringIO(head), delimiter=separator) if row]
        except csv.Error:
            continue  # a wide row in one piece is more than csv takes as a cell
        last = rows[len(rows) // 2 :]
        if not last:
            continue
        width, count = Counter(map(len, last)).most_common(1)[0]
        # A cell that holds another separator is text, or a row that is cut in the wrong places.
        share = _share_of_values([row for row in last if len(row) == width])
        rank = (round(count / len(last), 1), share, width)
        if width > 1 and rank > most:
            best, most = separator, rank
    return best


def _share_of_values(rows: list[list[str]]) -> float:
    cells = [cell.strip() for row in rows for cell in row]
    values = sum(cell.lower() in MISSING or bool(_VALUE.fullmatch(cell)) for cell in cells)
    return round(values / len(cells), 2)
