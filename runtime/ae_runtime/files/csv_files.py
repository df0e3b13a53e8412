"""CSV files to tables: separator, header, missing values found; errors name their row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.stream_bytes import Bytes, open_bytes
from ae_runtime.files.stream_form import (
    MISSING,
    Form,
    Rows,
    find_form,
    is_missing,
    separator_of,
    to_number,
)
from ae_runtime.files.stream_pieces import numbers_of, read_pieces
from ae_runtime.table import Table

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


def read_csv(path: Path) -> CsvTable:
    """The table of numbers in path (.csv, .tsv, and either with .gz).

    Raises DataError that names row and column for text in a numeric column, ragged rows, and a
    file without rows. Rows are counted as the lines of data: the header is row 0.
    """
    with _opened(path) as (source, form):
        parts: list[NDArray[np.float64]] = []
        rows = 0
        for piece in read_pieces(source, form, 0):
            plain = piece.numbers()
            parts.append(plain[0] if plain else _numbers(form, piece.cells()[0], rows))
            rows += len(parts[-1])
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    integer = _written_as_integers(form.sample, values)
    return CsvTable(values, form.header, integer, form.separator, form.note)


def read_table(path: Path) -> Table:
    """The columns in path (.csv, .tsv, and either with .gz), be they numbers or words.

    A column is one of numbers if all its cells are numbers or missing. Raises DataError for
    ragged rows and for a file without rows.
    """
    with _opened(path) as (source, form):
        values = _plain_numbers(source, form)
        if values is None:
            columns = _read_columns(source, form)
        else:
            columns = dict(zip(form.names, values.T, strict=True))
    integer = set()
    for at, (name, column) in enumerate(columns.items()):
        if column.dtype != object:
            sample = [[row[at]] for row in form.sample]
            if _written_as_integers(sample, column[:, None])[0]:
                integer.add(name)
    return Table(columns, form.header is not None, form.note, frozenset(integer))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Bytes, Form]]:
    """A file that is read whole: one that was cut off is damaged data, and no failed read."""
    try:
        with closing(open_bytes(path)) as source:
            yield source, find_form(source, separator_of(path))
    except InputFailed as error:
        if isinstance(error.__cause__, EOFError):
            raise DataError(str(error)) from None
        raise


def _numbers(form: Form, rows: Rows, before: int) -> NDArray[np.float64]:
    """Rows of cells as numbers. Raises DataError for the first that is none, or ragged."""
    values, bad = numbers_of(form, rows, range(form.width), before)
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


def _read_columns(source: Bytes, form: Form) -> dict[str, NDArray[Any]]:
    """The columns by name: float64 where every cell is a number or missing, else words."""
    rows: Rows = []
    for piece in read_pieces(source, form, 0):
        rows += piece.cells()[0]
    for number, row in enumerate(rows, start=1):
        if len(row) != form.width:
            raise DataError(f"{form.path}: {form.ragged(row, number)}")
    columns: dict[str, NDArray[Any]] = {}
    for name, cells in zip(form.names, zip(*rows, strict=True), strict=True):
        known = {cell: to_number(cell) for cell in set(cells)}
        if None not in known.values():
            columns[name] = np.array([known[cell] for cell in cells], np.float64)
        else:
            words = [None if is_missing(cell) else cell for cell in cells]
            columns[name] = np.array(words, object)
    return columns


def _written_as_integers(sample: Rows, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Columns whose every value is whole, and written so in the first rows ("3", not "3.0")."""
    with np.errstate(invalid="ignore"):
        whole = np.all((values == np.rint(values)) | np.isnan(values), axis=0)
    whole &= ~np.all(np.isnan(values), axis=0)
    for row in sample:
        for at, cell in enumerate(row):
            if whole[at] and cell.lower() not in MISSING and not cell.lstrip("+-").isdecimal():
                whole[at] = False
    return np.asarray(whole, bool)
