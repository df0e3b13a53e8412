"""CSV files to float64 tables: separator, header, missing values found; errors name their row."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError

SEPARATORS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "<na>"})
_SAMPLE_ROWS = 100


@dataclass(frozen=True)
class CsvTable:
    """A CSV file as numbers.

    values: (N, D) float64, NaN where a value is missing. columns: the header's names, None
    without a header. integer: (D,) bool, the columns written without a fraction or an exponent.
    """

    values: NDArray[np.float64]
    columns: list[str] | None
    integer: NDArray[np.bool_]
    separator: str


def read_csv(path: Path) -> CsvTable:
    """The table in path (.csv, .tsv, and either with .gz).

    Raises DataError that names row and column for text in a numeric column, ragged rows, and a
    file without rows. Rows are counted as the lines of data: the header is row 0.
    """
    text = _read_text(path)
    try:
        return _read_table(path, text)
    except csv.Error:
        raise DataError(
            f"{path}: a cell is longer than {csv.field_size_limit()} characters; "
            "look for a quote that is not closed"
        ) from None


def _read_table(path: Path, text: str) -> CsvTable:
    is_tsv = path.name.lower().endswith((".tsv", ".tsv.gz"))
    separator = "\t" if is_tsv else _find_separator(text)
    sample = _parse(text, separator, limit=_SAMPLE_ROWS)
    if not sample:
        raise DataError(f"{path} is empty; it holds no rows")
    header = None if all(_is_number(cell) for cell in sample[0]) else sample[0]
    if header is not None:
        _check_header(path, header)
        if len(sample) == 1:
            raise DataError(f"{path} holds a header and no rows")
    values = _read_fast(text, separator, header)
    if values is None or values.shape[1] != len(sample[0]):
        values = _read_slow(path, text, separator, header)
    integer = _written_as_integers(sample[header is not None :], values)
    return CsvTable(values, header, integer, separator)


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


def _is_number(cell: str) -> bool:
    if cell.lower() in MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _check_header(path: Path, header: list[str]) -> None:
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: the header names {repeated[0]!r} more than once; rename one")


def _read_fast(text: str, separator: str, header: list[str] | None) -> NDArray[np.float64] | None:
    """The values if every cell is a plain number, by numpy's C reader; None if any is not."""
    lines = io.StringIO(text, newline=None)  # all three line ends, as in the slow reader
    if header is not None:
        # Where a quoted header spans lines, the rest of it is no number, and the slow reader reads.
        while not lines.readline().strip():
            pass
    try:
        return np.loadtxt(lines, np.float64, comments=None, delimiter=separator, ndmin=2)
    except ValueError:
        return None


def _read_slow(
    path: Path, text: str, separator: str, header: list[str] | None
) -> NDArray[np.float64]:
    """The values cell by cell: missing values become NaN, anything wrong is named."""
    rows = _parse(text, separator)[header is not None :]
    width = len(header if header is not None else rows[0])
    values = np.empty((len(rows), width))
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, {'the header' if header else 'row 1'} "
                f"has {width}; the separator found is {separator!r}"
            )
        try:
            if "_" in "".join(row):
                raise ValueError  # numpy would take 1_000 for a number
            values[number - 1] = row  # numpy parses a row of plain numbers at once
        except ValueError:
            values[number - 1] = [
                _number(path, cell, number, at, header) for at, cell in enumerate(row)
            ]
    return values


def _number(path: Path, cell: str, row: int, at: int, header: list[str] | None) -> float:
    if cell.lower() in MISSING:
        return np.nan
    if _is_number(cell):
        return float(cell)
    column = repr(header[at]) if header else f"{at + 1}"
    raise DataError(
        f"{path}: row {row}, column {column}: {cell!r} is not a number; tables of numbers are "
        "taken: leave the column out, or write it as numbers with a point before decimals"
    )


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
