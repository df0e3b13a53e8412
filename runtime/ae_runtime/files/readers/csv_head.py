"""Where the data of text begin: after a preamble, the names of columns and their units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from ae_runtime.errors import DataError
from ae_runtime.files.readers.csv_numbers import Numbers
from ae_runtime.tables.table import parse_date

Rows = list[list[str]]
MAX_HEAD = 40  # rows before the data
_MAX_UNITS = 3  # rows between names and data
_REGULAR = 0.8  # share of the cells of a column of numbers that must be numbers


@dataclass(frozen=True)
class Head:
    """names: the place of the row of names, or None. first: the place of the first row of data."""

    names: int | None
    first: int


def find_head(
    rows: Rows, numbers: Numbers, header: str | int | None, known: Collection[str]
) -> Head:
    """The places of the names and of the data among the first rows of a file.

    header: "yes", "no", the number of the row of names, or None to find it. known: columns that the
    row of names has, as far as they are known. Raises DataError for a row that does not exist.
    """
    if header == "no":
        return Head(None, 0)
    columns = _Columns(rows, numbers)
    if isinstance(header, int):
        if header > min(len(rows), MAX_HEAD):
            raise DataError(f"there is no row {header} of names among the first {len(rows)}")
        return Head(header - 1, columns.first_after(header - 1))
    if known:
        for at, row in enumerate(rows[:MAX_HEAD]):
            if set(known) <= set(row):
                return Head(at, columns.first_after(at))
    names = columns.find_names()
    if names is not None:
        return Head(names, columns.first_after(names))
    if header is None and columns.fits(rows[0]):
        return Head(None, 0)
    return Head(0, columns.first_after(0))


def even_rows(rows: Rows, whole: bool = False) -> Rows:
    """Rows of the usual width some way down, which are data and no headings.

    whole: whether all rows are known to be data.
    """
    rows = rows if whole else rows[min(len(rows) // 2, MAX_HEAD) :]
    width = Counter(map(len, rows)).most_common(1)[0][0]
    return [row for row in rows if len(row) == width]


def empty_at_end(rows: Rows) -> int:
    """The number of last columns that hold nothing; at least one column is left."""
    count = 0
    while count < len(rows[0]) - 1 and not any(row[-1 - count] for row in rows):
        count += 1
    return count


class _Columns:
    """The columns of a file, as its even rows show them."""

    def __init__(self, rows: Rows, numbers: Numbers) -> None:
        self._rows, self._numbers = rows, numbers
        self._even = even_rows(rows)
        self.width = len(self._even[0])
        self._least = self.width - empty_at_end(self._even)
        self._regular = [at for at in range(self.width) if self._is_regular(at)]

    def _is_regular(self, at: int) -> bool:
        """Whether a column holds numbers or dates."""
        cells = [row[at] for row in self._even]
        cells = [cell for cell in cells if not self._numbers.is_missing(cell)]
        return bool(cells) and sum(map(self._is_value, cells)) >= _REGULAR * len(cells)

    def _is_value(self, cell: str) -> bool:
        return self._numbers.parse(cell) is not None or parse_date(cell) is not None

    def find_names(self) -> int | None:
        """The place of the first row that may be names, if no row before it is data; or None."""
        for at, row in enumerate(self._rows[: min(MAX_HEAD, len(self._rows) - 1)]):
            following = self._rows[self.first_after(at)]
            if self._may_be_names(row) and len(following) == self.width:
                return at
            if not self._is_before(row):
                return None
        return None

    def _may_be_names(self, row: list[str]) -> bool:
        while len(row) > self._least and row[-1] == "":
            row = row[:-1]
        cells = [row[at] for at in self._regular if at < len(row)]
        return (
            self._least <= len(row) <= self.width
            and len(set(row)) == len(row)
            and not any(self._numbers.is_missing(cell) or self._is_value(cell) for cell in row)
            and (bool(cells) or not self._recurs(row))
        )

    def _is_before(self, row: list[str]) -> bool:
        """Whether a row is neither names nor data."""
        cells = [row[at] for at in self._regular if at < len(row)]
        known = [cell for cell in cells if not self._numbers.is_missing(cell)]
        text = sum(not self._is_value(cell) for cell in known)
        return (len(row) != self.width or text > len(cells) / 2) and self.width > 1

    def fits(self, row: list[str]) -> bool:
        """Whether a first row is data: numbers in columns of numbers, and text that comes again."""
        if all(self._numbers.parse(cell) is not None for cell in row):
            return True
        values = [row[at] for at in self._regular if at < len(row)]
        return (
            len(row) == self.width
            and (not values or any(not self._numbers.is_missing(cell) for cell in values))
            and all(self._numbers.is_missing(cell) or self._is_value(cell) for cell in values)
            and self._recurs(row)
        )

    def _recurs(self, row: list[str]) -> bool:
        """Whether each text of a first row comes again in its column, in a row that differs."""
        others = [other for other in self._rows[1:] if other != row and len(other) == len(row)]
        texts = [at for at in range(len(row)) if at not in self._regular]
        return all(any(other[at] == row[at] for other in others) for at in texts)

    def first_after(self, names: int) -> int:
        """The place of the first row of data after the names and the rows of units."""
        at = names + 1
        while at <= names + _MAX_UNITS and at < len(self._rows) - 1 and self._is_units(at):
            at += 1
        return at

    def _is_units(self, at: int) -> bool:
        row = self._rows[at]
        if len(row) != self.width or 2 * len(self._regular) < self.width:
            return False
        cells = [row[place] for place in self._regular]
        known = [cell for cell in cells if not self._numbers.is_missing(cell)]
        return bool(known) and not any(self._is_value(cell) for cell in known)
