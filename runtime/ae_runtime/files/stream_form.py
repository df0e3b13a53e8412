"""What the first rows of CSV text say: separator, header, width; and how text is cut into cells."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.stream_blocks import PIECE_BYTES
from ae_runtime.files.stream_bytes import Bytes
from ae_runtime.table import parse_number

SEPARATORS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "<na>"})
SAMPLE_ROWS = 100
MAX_ROW_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"
Rows = list[list[str]]


@dataclass(frozen=True)
class Form:
    """What the first rows say of a CSV file.

    header: None where the first row is numbers. sample: the first rows of data. start: the byte
    at which the rows begin.
    """

    path: Path
    separator: str
    header: list[str] | None
    sample: Rows
    start: int

    @property
    def width(self) -> int:
        return len(self.header or self.sample[0])

    @property
    def names(self) -> list[str]:
        return self.header or [str(at + 1) for at in range(self.width)]

    @property
    def note(self) -> str:
        header = "with a header" if self.header else "without a header"
        return f"{self.path.name or '-'}: separator {self.separator!r}, {header}"

    def column(self, at: int) -> str:
        """What errors call a column."""
        return repr(self.header[at]) if self.header else f"{at + 1}"

    def ragged(self, row: list[str], number: int) -> str:
        """What is wrong with a row of another width; number: from 1."""
        return (
            f"row {number} has {len(row)} cells, {'the header' if self.header else 'row 1'} has "
            f"{self.width}; the separator found is {self.separator!r}"
        )

    def not_a_number(self, cell: str, at: int, number: int) -> str:
        """What is wrong with text in a column of numbers."""
        return (
            f"row {number}, column {self.column(at)}: {cell!r} is not a number; tables of numbers "
            "are taken: leave the column out, or write it as numbers with a point before decimals"
        )


def separator_of(path: Path) -> str | None:
    """The separator that a file's name says; None to find it."""
    return "\t" if path.name.lower().endswith((".tsv", ".tsv.gz")) else None


def find_form(source: Bytes, separator: str | None = None) -> Form:
    """The form of the text that begins here, which is then read from its beginning again.

    separator: None to find it. Raises DataError for a file without rows.
    """
    raw, want = b"", 1 << 16
    while True:
        more = source.read(want)
        raw, final = raw + more, len(more) < want
        lines = max(raw.count(b"\n"), raw.count(b"\r"))
        if len(raw) > MAX_ROW_BYTES and lines < 2:
            raise too_long(source.path)
        # A sample of very wide rows is a few of them.
        if final or lines > SAMPLE_ROWS or (len(raw) >= PIECE_BYTES and lines >= 2):
            found = _form_of(source.path, raw, final, separator)
            if final or len(found.sample) > 1:
                source.again(raw)
                return found
        want = min(len(raw), MAX_ROW_BYTES)


def _form_of(path: Path, raw: bytes, final: bool, separator: str | None) -> Form:
    start = len(_BOM) if raw.startswith(_BOM) else 0
    text = decoded(path, raw[start:] if final else raw[start : last_line_end(raw)], start)
    with cells_of_csv(path):
        separator = separator or _find_separator(text)
        sample, ends, _ = split_rows(text, separator, final, SAMPLE_ROWS + 1)
    if not sample:
        if final:
            raise NoRows(f"{path} is empty; it holds no rows")
        return Form(path, separator, None, [], start)
    if all(is_number(cell) for cell in sample[0]):
        return Form(path, separator, None, sample[:SAMPLE_ROWS], start)
    header = sample[0]
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: the header names {repeated[0]!r} more than once; rename one")
    if len(sample) == 1 and final:
        raise NoRows(f"{path} holds a header and no rows")
    return Form(path, separator, header, sample[1:], start + ends[0])


def _find_separator(text: str) -> str:
    """The separator that cuts the first rows into most cells, evenly; a comma if none does."""
    head = "\n".join(text.splitlines()[:20])
    best, most = ",", 1
    for separator in SEPARATORS:
        try:
            widths = [len(row) for row in split_rows(head, separator, True)[0]]
        except csv.Error:
            continue  # a wide row in one piece is more than csv takes as a cell
        if widths and min(widths) > most:
            best, most = separator, min(widths)
    return best


def split_rows(
    text: str, separator: str, final: bool, limit: int | None = None
) -> tuple[Rows, list[int], int]:
    """(rows, ends, done): the non-blank rows as cells stripped of white space.

    ends: bytes of text up to the end of each row. done: those of all rows, blank ones too. A row
    that the text may not hold to its end is left out, unless it is the final text.
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
        # A line with nothing but "" is a row with a missing value, and no blank line.
        if len(row) > 1 or (row and (row[0] == "" or row[0].strip())):
            rows.append([cell.strip() for cell in row])
            ends.append(done)
            if len(rows) == limit:
                break
    return rows, ends, done


def _utf8_size(line: str) -> int:
    return len(line.encode())


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether a cell is a number, or missing."""
    return is_missing(cell) or parse_number(cell) is not None


def to_number(cell: str) -> float | None:
    """The number in a cell, NaN for a missing one; None for text."""
    return np.nan if is_missing(cell) else parse_number(cell)


@contextmanager
def cells_of_csv(path: Path) -> Iterator[None]:
    """Say in one line what Python's csv cannot read."""
    try:
        yield
    except csv.Error:
        raise DataError(
            f"{path}: a cell is longer than {csv.field_size_limit()} characters; "
            "look for a quote that is not closed"
        ) from None


def too_long(path: Path) -> DataError:
    """A row that would not fit into memory, or no text at all."""
    return DataError(
        f"{path}: a row is longer than {MAX_ROW_BYTES >> 20} MB; look for line ends that are "
        "missing, or bring the rows as .npy or .parquet"
    )


def last_line_end(raw: bytes) -> int:
    """Bytes up to the last line end, that one too."""
    return 1 + max(raw.rfind(b"\n"), raw.rfind(b"\r"))


def decoded(path: Path, raw: bytes, base: int) -> str:
    """The text of bytes that begin at byte `base`. Raises DataError for what is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {base + error.start}; save it as UTF-8"
        ) from None
