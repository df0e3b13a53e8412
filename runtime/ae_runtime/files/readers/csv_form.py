"""The form of CSV text, told by its first rows, and how text is cut into cells."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ae_runtime.bundle.manifest import Reading
from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.readers.blocks import PIECE_BYTES
from ae_runtime.files.readers.csv_head import MAX_HEAD, Rows, empty_at_end, even_rows, find_head
from ae_runtime.files.readers.csv_numbers import Numbers, find_numbers
from ae_runtime.files.readers.csv_separator import find_separator
from ae_runtime.files.readers.raw_bytes import Bytes
from ae_runtime.tables.digits import LOSES_DIGITS

SAMPLE_ROWS = 100
_LEAST_SCALE = 4  # rising or falling numbers in a first row that may be wavelengths
MAX_ROW_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Form:
    """How a CSV file is written, told by its first rows.

    header: the names of columns, None where no row holds them. sample: the first rows of data.
    start: the byte at which the rows begin. heads: the rows before them; the same row further down
    is no data either. names_at: the place of the header among them. empty: the number of last
    columns without a name or a value. is_told: whether the user said where the header is.
    """

    path: Path
    separator: str
    header: list[str] | None
    sample: Rows
    start: int
    numbers: Numbers = field(default_factory=Numbers)
    heads: Rows = field(default_factory=list)
    names_at: int = 0
    empty: int = 0
    is_told: bool = False

    @cached_property
    def width(self) -> int:
        """The number of cells in a row, empty last columns included."""
        return len(self.names) + self.empty

    @cached_property
    def names(self) -> list[str]:
        """Names of the columns: "1", "2", ... without a header."""
        return self.header or [str(at + 1) for at in range(len(self.sample[0]) - self.empty)]

    @property
    def note(self) -> str:
        """A line that says how the file is read."""
        header = "with a header" if self.header else "without a header"
        if self.header and self.names_at:
            header += f" in row {self.names_at + 1}"
        decimal = "decimal comma, " if self.numbers.decimal == "," else ""
        thousands = f"thousands {self.numbers.thousands!r}, " if self.numbers.thousands else ""
        parts = [f"separator {self.separator!r}, {decimal}{thousands}{header}"]
        past = [
            f"row {at + 1} ({_shown(row)})"
            for at, row in enumerate(self.heads)
            if at != self.names_at
        ]
        if past:
            more = f" and {len(past) - 5} more" if len(past) > 5 else ""
            parts.append(f"read past: {', '.join(past[:5])}{more}")
        if self.empty:
            last = "column is" if self.empty == 1 else f"{self.empty} columns are"
            parts.append(f"the empty last {last} left out")
        return f"{self.path.name or '-'}: {'; '.join(parts)}"

    @property
    def hint(self) -> str:
        """A line on another reading of the first row, or ""."""
        if self.is_told:
            return ""
        if self.header is None:
            row = [self.numbers.parse(cell) for cell in self.sample[0]]
            steps = np.sign(np.diff([np.nan if number is None else number for number in row]))
            if len(row) < _LEAST_SCALE or abs(steps.sum()) < len(steps):
                return ""
            return (
                f"{self.path.name or '-'}: the first row, {_shown(self.sample[0])}, is taken as "
                "data; if it holds names, as of wavelengths: --header yes"
            )
        numbers = [name for name in self.header if name and self.numbers.parse(name) is not None]
        if not numbers or self.heads != [self.header]:
            return ""
        return (
            f"{self.path.name or '-'}: the first row is taken as names, {_shown(numbers)} among "
            "them; if it is data: --header no"
        )

    def repeated(self, count: int) -> str:
        """A line on headings that come again among the rows."""
        times = "once more" if count == 1 else f"{count:,} times more"
        return (
            f"{self.path.name or '-'}: the heading stands among the rows {times}, and is read past"
        )

    def column(self, at: int) -> str:
        """The name of a column in errors."""
        return repr(self.header[at]) if self.header else f"{at + 1}"

    def is_ragged(self, row: list[str]) -> bool:
        """Whether a row has too many or too few cells, or a value in an empty last column."""
        return len(row) != self.width or (self.empty > 0 and any(row[len(row) - self.empty :]))

    def ragged(self, row: list[str], number: int) -> str:
        """What is wrong with a ragged row; number: from 1."""
        if len(row) == self.width:
            return (
                f"row {number} holds {row[-self.empty :]} in a last column that has no name and is "
                "empty before; give the column a name, or correct the row"
            )
        return (
            f"row {number} has {len(row)} cells, {'the header' if self.header else 'row 1'} has "
            f"{self.width}; the separator found is {self.separator!r}"
        )

    def not_a_number(self, cell: str, at: int, number: int, only: bool = True) -> str:
        """What is wrong with text in a column of numbers. only: whether all columns are numbers."""
        signs = {",": "a comma before decimals, as other numbers of this file"}
        sign = signs.get(self.numbers.decimal, "a point before decimals")
        taken = "tables of numbers are taken: leave the column out, or " if only else ""
        return (
            f"row {number}, column {self.column(at)}: {cell!r:.60} is not a number; {taken}"
            f"write it as numbers with {sign}"
        )

    def loses_digits(self, cell: str, at: int, number: int) -> str:
        """What is wrong with an integer that float64 cannot hold."""
        return f"row {number}, column {self.column(at)}: {cell} {LOSES_DIGITS}"


def separator_of(path: Path) -> str | None:
    """The separator that the file's name tells, None if it does not."""
    return "\t" if path.name.lower().endswith((".tsv", ".tsv.gz")) else None


@dataclass(frozen=True)
class Told:
    """What is known of a file before it is read, from the user or from a bundle.

    header: "yes", "no" or the number of the row of names, from 1; None to find it. names: columns
    that the row of names has.
    """

    reading: Reading = field(default_factory=Reading)
    header: str | int | None = None
    names: Sequence[str] = ()


def find_form(source: Bytes, separator: str | None = None, told: Told | None = None) -> Form:
    """The form of the text that begins here; the source then starts at its beginning again.

    separator: None to find it. Raises DataError for a file without rows.
    """
    raw, want = b"", 1 << 16
    while True:
        more = source.read(want)
        raw, final = raw + more, len(more) < want
        lines = max(raw.count(b"\n"), raw.count(b"\r"))
        if len(raw) > MAX_ROW_BYTES and lines < 2:
            raise too_long(source.path)
        # A few very wide rows are sample enough.
        if final or lines > SAMPLE_ROWS or (len(raw) >= PIECE_BYTES and lines >= 2):
            form = _form_of(source.path, raw, final, separator, told or Told())
            if final or len(form.sample) > 1:
                source.again(raw)
                return form
        want = min(len(raw), MAX_ROW_BYTES)


def _form_of(path: Path, raw: bytes, final: bool, separator: str | None, told: Told) -> Form:
    start = len(_BOM) if raw.startswith(_BOM) else 0
    text = decoded(path, raw[start:] if final else raw[start : last_line_end(raw)], start)
    with cells_of_csv(path):
        separator = separator or find_separator(text)
        rows, ends, _ = split_rows(text, separator, final, SAMPLE_ROWS + MAX_HEAD)
    if not rows:
        if final:
            raise NoRows(f"{path} is empty; it holds no rows")
        return Form(path, separator, None, [], start)
    numbers = find_numbers(zip(*even_rows(rows), strict=True), told.reading)
    try:
        head = find_head(rows, numbers, told.header, told.names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    heads = rows[: head.first]
    if head.first < len(rows):  # once more, by all rows of data
        columns = zip(*even_rows(rows[head.first :], whole=True), strict=True)
        numbers = find_numbers(columns, told.reading)
    sample = [row for row in rows[head.first :] if row not in heads]
    if not sample and final:
        raise NoRows(f"{path} holds a header and no rows")
    header = None if head.names is None else rows[head.names]
    even = even_rows(rows)
    empty = _empty_columns(header, even)
    if header is not None and empty:
        header = header[: len(even[0]) - empty]
    _check_names(path, header or [])
    start += ends[head.first - 1] if head.first else 0
    return Form(
        path,
        separator,
        header,
        sample,
        start,
        numbers,
        heads,
        names_at=head.names or 0,
        empty=empty,
        is_told=told.header is not None,
    )


def _empty_columns(header: list[str] | None, rows: Rows) -> int:
    """The number of last columns that have neither a name nor a value."""
    named = max((at + 1 for at, name in enumerate(header or []) if name), default=0)
    return max(0, min(empty_at_end(rows), len(rows[0]) - named))


def _check_names(path: Path, header: list[str]) -> None:
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: the header names {repeated[0]!r} more than once; rename one")


def _shown(cells: Sequence[str]) -> str:
    """The first cells, shortened for a message."""
    return ", ".join(f"{cell:.20}" for cell in cells[:4]) + (", ..." if len(cells) > 4 else "")


def split_rows(
    text: str,
    separator: str,
    final: bool,
    limit: int | None = None,
    strip: bool = True,
) -> tuple[Rows, list[int], int]:
    """(rows, ends, done): the non-blank rows as cells, stripped of white space if `strip`.

    ends: the number of bytes up to the end of each row. done: that up to the end of all rows, blank
    ones too. The last row is left out where the text may end within it: unless `final`.
    """
    rows: Rows = []
    ends: list[int] = []
    done = read = 0
    ran_out = False
    size = len if text.isascii() else _utf8_size

    def lines() -> Iterator[str]:
        nonlocal read, ran_out
        for line in io.StringIO(text, newline=""):
            if not (final or line.endswith(("\n", "\r"))):
                break
            read += size(line)
            yield line
        ran_out = not final

    for row in csv.reader(lines(), delimiter=separator):
        if ran_out:
            break
        done = read
        # A line that holds only "" is a row with a missing value, not a blank line.
        if len(row) > 1 or (row and (row[0] == "" or row[0].strip())):
            rows.append([cell.strip() for cell in row] if strip else row)
            ends.append(done)
            if len(rows) == limit:
                break
    return rows, ends, done


def _utf8_size(line: str) -> int:
    return len(line.encode())


@contextmanager
def cells_of_csv(path: Path) -> Iterator[None]:
    """Turn errors of Python's csv module into one line."""
    try:
        yield
    except csv.Error:
        raise DataError(
            f"{path}: a cell is longer than {csv.field_size_limit()} characters; "
            "look for a quote that is not closed"
        ) from None


def too_long(path: Path) -> DataError:
    """The error for a row that would not fit into memory, or that is no text at all."""
    return DataError(
        f"{path}: a row is longer than {MAX_ROW_BYTES >> 20} MB; look for line ends that are "
        "missing, or bring the rows as .npy or .parquet"
    )


def last_line_end(raw: bytes) -> int:
    """The number of bytes up to the last line end, with it."""
    return 1 + max(raw.rfind(b"\n"), raw.rfind(b"\r"))


def decoded(path: Path, raw: bytes, base: int) -> str:
    """The text of bytes that begin at byte `base`. Raises DataError for what is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {base + error.start}; save it as UTF-8"
        ) from None
