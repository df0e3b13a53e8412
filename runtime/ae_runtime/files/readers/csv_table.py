"""CSV files to tables: separator, header, missing values found; errors name their row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.readers.csv_form import Form, Told, find_form, separator_of
from ae_runtime.files.readers.csv_head import Rows
from ae_runtime.files.readers.csv_numbers import MISSING
from ae_runtime.files.readers.csv_pieces import numbers_of, read_pieces
from ae_runtime.files.readers.raw_bytes import Bytes, open_bytes
from ae_runtime.tables.table import Table

__all__ = ["MISSING", "CsvTable", "read_csv", "read_table"]


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


def read_csv(path: Path, told: Told | None = None) -> CsvTable:
    """The table of numbers in path (.csv, .tsv, and either with .gz).

    Raises DataError that names row and column for text in a numeric column, ragged rows, and a
    file without rows. Rows are counted as the lines of data: the header is row 0.
    """
    with _opened(path, told) as (source, form):
        parts: list[NDArray[np.float64]] = []
        rows = 0
        for piece in read_pieces(source, form, 0):
            plain = piece.numbers()
            parts.append(plain[0] if plain else _numbers(form, piece.cells()[0], rows))
            rows += len(parts[-1])
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    integer = _written_as_integers(form, form.sample, values)
    return CsvTable(values, form.header, integer, form.separator, form.note)


def read_table(path: Path, told: Told | None = None, words: Collection[str] = ()) -> Table:
    """The columns in path (.csv, .tsv, and either with .gz), be they numbers or words.

    A column is one of numbers if all its cells are numbers or missing; those named by `words` keep
    their text. Raises DataError for ragged rows and for a file without rows.
    """
    repeated = 0
    with _opened(path, told) as (source, form):
        keeps_text = not set(words).isdisjoint(form.names)
        values = None if keeps_text else _plain_numbers(source, form)
        if values is None:
            columns, types, repeated = _read_columns(source, form, words)
        else:
            columns, types = dict(zip(form.names, values.T, strict=True)), {}
    integer = set()
    for at, (name, column) in enumerate(columns.items()):
        if column.dtype != object:
            sample = [[row[at]] for row in form.sample if at < len(row)]
            if _written_as_integers(form, sample, column[:, None])[0]:
                integer.add(name)
    lines = [form.note, form.hint, form.repeated(repeated) if repeated else ""]
    note = "\n".join(line for line in lines if line)
    index = ("",) if "" in integer and _counts_rows(columns[""]) else ()
    return Table(columns, form.header is not None, note, frozenset(integer), types, index=index)


def _counts_rows(column: NDArray[np.float64]) -> bool:
    """Whether a column without a name is the index that pandas writes: 0, 1, 2, ..."""
    return len(column) > 1 and bool((np.diff(column) == 1).all())


@contextmanager
def _opened(path: Path, told: Told | None) -> Iterator[tuple[Bytes, Form]]:
    """A file that is read whole: one that was cut off is damaged data, and no failed read."""
    try:
        with closing(open_bytes(path)) as source:
            yield source, find_form(source, separator_of(path), told)
    except InputFailed as error:
        if isinstance(error.__cause__, EOFError):
            raise DataError(str(error)) from None
        raise


def _numbers(form: Form, rows: Rows, before: int) -> NDArray[np.float64]:
    """Rows of cells as numbers. Raises DataError for the first that is none, or ragged."""
    values, bad = numbers_of(form, rows, range(len(form.names)), before)
    if bad:
        raise DataError(f"{form.path}: {bad[min(bad)]}")
    return values


def _plain_numbers(source: Bytes, form: Form) -> NDArray[np.float64] | None:
    """All values, if every cell is a plain number or empty; None if any is not."""
    parts = []
    for piece in read_pieces(source, form, 0):
        plain = piece.numbers()
        if plain is None:
            return None
        parts.append(plain[0])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_columns(
    source: Bytes, form: Form, words: Collection[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str], int]:
    """(columns by name, types, repeated): float64 where every cell is a number or missing.

    Others are words. types: "number" of those that stay text because float64 does not hold their
    numbers. repeated: headings among the rows, which were read past.
    """
    rows: Rows = []
    repeated = 0
    for piece in read_pieces(source, form, 0):
        rows += piece.cells()[0]
        repeated += piece.repeated
    for number, row in enumerate(rows, start=1):
        if form.is_ragged(row):
            raise DataError(f"{form.path}: {form.ragged(row, number)}")
    columns: dict[str, NDArray[Any]] = {}
    types: dict[str, str] = {}
    numbers = form.numbers
    # The last columns may be empty ones, which have no names.
    for name, cells in zip(form.names, zip(*rows, strict=True), strict=False):
        known = {} if name in words else {cell: numbers.parse(cell) for cell in set(cells)}
        large = any(numbers.loses_digits(cell) for cell in known)
        if known and None not in known.values() and not large:
            columns[name] = np.array([known[cell] for cell in cells], np.float64)
        else:
            text = [None if numbers.is_missing(cell) else cell for cell in cells]
            columns[name] = np.array(text, object)
            if large and None not in known.values():
                types[name] = "number"
    return columns, types, repeated


def _written_as_integers(form: Form, sample: Rows, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Columns whose every value is whole, and written so in the first rows ("3", not "3.0")."""
    with np.errstate(invalid="ignore"):
        whole = np.all((values == np.rint(values)) | np.isnan(values), axis=0)
    whole &= ~np.all(np.isnan(values), axis=0)
    signs = str.maketrans("", "", "+-" + form.numbers.thousands)
    for row in sample:
        for at, cell in enumerate(row[: len(whole)]):
            is_whole = form.numbers.is_missing(cell) or cell.translate(signs).isdecimal()
            whole[at] &= is_whole
    return np.asarray(whole, bool)
