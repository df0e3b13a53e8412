"""CSV files to tables: separator, header, missing values found; errors name their row."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.table import Table, parse_number

SEPARATORS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "<na>"})
_SAMPLE_ROWS = 100


@dataclass(frozen=True)
class CsvTable:
    """A CSV file as numbers.

    values: (N, D) float64, NaN where a value is missing. columns: the header's names, None
    without a header. integer: (D,) bool, the columns written without a fraction or an exponent.
    note: what was found out about the file.
    """

    values: NDArray[np.float64]
    columns: list[str] | None
    integer: NDArray[np.bool_]
    separator: str
    note: str


@dataclass(frozen=True)
class _Csv:
    """The text of a CSV file, with what its first rows say of it."""

    path: Path
    text: str
    separator: str
    header: list[str] | None
    sample: list[list[str]]  # first rows of data

    @property
    def width(self) -> int:
        return len(self.header or self.sample[0])

    @property
    def note(self) -> str:
        header = "with a header" if self.header else "without a header"
        return f"{self.path.name}: separator {self.separator!r}, {header}"


def read_csv(path: Path) -> CsvTable:
    """The table of numbers in path (.csv, .tsv, and either with .gz).

    Raises DataError that names row and column for text in a numeric column, ragged rows, and a
    file without rows. Rows are counted as the lines of data: the header is row 0.
    """
    with _cells_of_csv(path):
        file = _open(path)
        values = _read_fast(file)
        if values is None:
            values = _read_slow(file)
        integer = _written_as_integers(file.sample, values)
    return CsvTable(values, file.header, integer, file.separator, file.note)


def read_table(path: Path) -> Table:
    """The columns in path (.csv, .tsv, and either with .gz), be they numbers or words.

    A column is one of numbers if all its cells are numbers or missing. Raises DataError for
    ragged rows and for a file without rows.
    """
    with _cells_of_csv(path):
        file = _open(path)
        names = file.header or [str(at + 1) for at in range(file.width)]
        values = _read_fast(file)
        if values is None:
            columns = _read_columns(file, names)
        else:
            columns = dict(zip(names, values.T, strict=True))
    integer = set()
    for at, (name, column) in enumerate(columns.items()):
        if column.dtype != object:
            sample = [[row[at]] for row in file.sample]
            if _written_as_integers(sample, column[:, None])[0]:
                integer.add(name)
    return Table(columns, file.header is not None, file.note, frozenset(integer))


@contextmanager
def _cells_of_csv(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error:
        raise DataError(
            f"{path}: a cell is longer than {csv.field_size_limit()} characters; "
            "look for a quote that is not closed"
        ) from None


def _open(path: Path) -> _Csv:
    text = _read_text(path)
    is_tsv = path.name.lower().endswith((".tsv", ".tsv.gz"))
    separator = "\t" if is_tsv else _find_separator(text)
    sample = _parse(text, separator, limit=_SAMPLE_ROWS)
    if not sample:
        raise DataError(f"{path} is empty; it holds no rows")
    if all(_is_number(cell) for cell in sample[0]):
        return _Csv(path, text, separator, None, sample)
    header = sample[0]
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: the header names {repeated[0]!r} more than once; rename one")
    if len(sample) == 1:
        raise DataError(f"{path} holds a header and no rows")
    return _Csv(path, text, separator, header, sample[1:])


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == ".gz":
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}; save it as UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file: {error}") from None


def _parse(text: str, separator: str, limit: int | None = None) -> list[list[str]]:
    """The non-blank rows as cells, stripped of white space."""
    rows: list[list[str]] = []
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        # A line with nothing but "" is a row with a missing value, and no blank line.
        if len(row) > 1 or (row and (row[0] == "" or row[0].strip())):
            rows.append([cell.strip() for cell in row])
            if len(rows) == limit:
                break
    return rows


def _find_separator(text: str) -> str:
    """The separator that cuts the first rows into most cells, evenly; a comma if none does."""
    head = "\n".join(text.splitlines()[:20])
    best, most = ",", 1
    for separator in SEPARATORS:
        try:
            widths = [len(row) for row in _parse(head, separator)]
        except csv.Error:
            continue  # a wide row in one piece is more than csv takes as a cell
        if widths and min(widths) > most:
            best, most = separator, min(widths)
    return best


def _is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def _is_number(cell: str) -> bool:
    return _is_missing(cell) or parse_number(cell) is not None


def _read_fast(file: _Csv) -> NDArray[np.float64] | None:
    """The values if every cell is a plain number, by numpy's C reader; None if any is not."""
    lines = io.StringIO(file.text, newline=None)  # all three line ends, as in the slow reader
    if file.header is not None:
        # Where a quoted header spans lines, the rest of it is no number, and the slow reader reads.
        while not lines.readline().strip():
            pass
    try:
        values = np.loadtxt(lines, np.float64, comments=None, delimiter=file.separator, ndmin=2)
    except ValueError:
        return None
    return values if values.shape[1] == file.width else None


def _read_rows(file: _Csv) -> list[list[str]]:
    """All rows as cells. Raises DataError for a row of another width."""
    rows = _parse(file.text, file.separator)[file.header is not None :]
    for number, row in enumerate(rows, start=1):
        if len(row) != file.width:
            raise DataError(
                f"{file.path}: row {number} has {len(row)} cells, "
                f"{'the header' if file.header else 'row 1'} has {file.width}; "
                f"the separator found is {file.separator!r}"
            )
    return rows


def _read_slow(file: _Csv) -> NDArray[np.float64]:
    """The values cell by cell: missing values become NaN, anything wrong is named."""
    rows = _read_rows(file)
    values = np.empty((len(rows), file.width))
    for number, row in enumerate(rows, start=1):
        try:
            if "_" in "".join(row):
                raise ValueError  # numpy would take 1_000 for a number
            values[number - 1] = row  # numpy parses a row of plain numbers at once
        except ValueError:
            values[number - 1] = [_number(file, cell, number, at) for at, cell in enumerate(row)]
    return values


def _number(file: _Csv, cell: str, row: int, at: int) -> float:
    if _is_missing(cell):
        return np.nan
    number = parse_number(cell)
    if number is not None:
        return number
    column = repr(file.header[at]) if file.header else f"{at + 1}"
    raise DataError(
        f"{file.path}: row {row}, column {column}: {cell!r} is not a number; tables of numbers are "
        "taken: leave the column out, or write it as numbers with a point before decimals"
    )


def _read_columns(file: _Csv, names: list[str]) -> dict[str, NDArray[Any]]:
    """The columns by name: float64 where every cell is a number or missing, else words."""
    columns: dict[str, NDArray[Any]] = {}
    for name, cells in zip(names, zip(*_read_rows(file), strict=True), strict=True):
        known: dict[str, float | None] = {
            cell: np.nan if _is_missing(cell) else parse_number(cell) for cell in set(cells)
        }
        if None not in known.values():
            columns[name] = np.array([known[cell] for cell in cells], np.float64)
        else:
            words = [None if _is_missing(cell) else cell for cell in cells]
            columns[name] = np.array(words, object)
    return columns


def _written_as_integers(sample: list[list[str]], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Columns whose every value is whole, and written so in the first rows ("3", not "3.0")."""
    with np.errstate(invalid="ignore"):
        whole = np.all((values == np.rint(values)) | np.isnan(values), axis=0)
    whole &= ~np.all(np.isnan(values), axis=0)
    for row in sample:
        for at, cell in enumerate(row):
            if whole[at] and cell.lower() not in MISSING and not cell.lstrip("+-").isdecimal():
                whole[at] = False
    return np.asarray(whole, bool)
