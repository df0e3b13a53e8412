"""Whole CSV files as tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.readers.csv_form import Form, Told, find_form, separator_of
from ae_runtime.files.readers.csv_head import Rows
from ae_runtime.files.readers.csv_pieces import read_pieces
from ae_runtime.files.readers.raw_bytes import Bytes, open_bytes
from ae_runtime.tables.table import Table


def read_csv(path: Path, told: Told, text: Collection[str]) -> Table:
    """The columns of a .csv or .tsv file, either of which may be compressed.

    A column is one of numbers if all its cells are numbers or missing; those named by `text` keep
    theirs. Raises DataError that names the row for ragged rows, and for a file without rows. Rows
    are counted as the lines of data: the header is row 0.
    """
    repeated = 0
    with _opened(path, told) as (source, form):
        keeps_text = not set(text).isdisjoint(form.names)
        values = None if keeps_text else _plain_numbers(source, form)
        if values is None:
            columns, types, repeated = _read_columns(source, form, text)
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
    """Whether a column without a name counts the rows, as an index that pandas wrote."""
    return len(column) > 1 and bool((np.diff(column) == 1).all())


@contextmanager
def _opened(path: Path, told: Told) -> Iterator[tuple[Bytes, Form]]:
    """A file and its form; a file that was cut off is a DataError here, not a failed read."""
    try:
        with closing(open_bytes(path)) as source:
            yield source, find_form(source, separator_of(path), told)
    except InputFailed as error:
        if isinstance(error.__cause__, EOFError):
            raise DataError(str(error)) from None
        raise


def _plain_numbers(source: Bytes, form: Form) -> NDArray[np.float64] | None:
    """All values, (N, D), if every cell is a plain number or empty; else None."""
    parts = []
    for piece in read_pieces(source, form, 0):
        plain = piece.numbers()
        if plain is None:
            return None
        parts.append(plain[0])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_columns(
    source: Bytes, form: Form, text: Collection[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str], int]:
    """(columns by name, types, repeated): columns of float64, or of text if any cell is no number.

    types: "number" for columns that stay text because float64 does not hold their numbers.
    repeated: the number of headings among the rows, which are left out.
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
        known = {} if name in text else {cell: numbers.parse(cell) for cell in set(cells)}
        large = any(numbers.loses_digits(cell) for cell in known)
        if known and None not in known.values() and not large:
            columns[name] = np.array([known[cell] for cell in cells], np.float64)
        else:
            texts = [None if numbers.is_missing(cell) else cell for cell in cells]
            columns[name] = np.array(texts, object)
            if large and None not in known.values():
                types[name] = "number"
    return columns, types, repeated


def _written_as_integers(form: Form, sample: Rows, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Columns of integers only, written as such in the first rows ("3", not "3.0")."""
    with np.errstate(invalid="ignore"):
        whole = np.all((values == np.rint(values)) | np.isnan(values), axis=0)
    whole &= ~np.all(np.isnan(values), axis=0)
    signs = str.maketrans("", "", "+-" + form.numbers.thousands)
    for row in sample:
        for at, cell in enumerate(row[: len(whole)]):
            is_whole = form.numbers.is_missing(cell) or cell.translate(signs).isdecimal()
            whole[at] &= is_whole
    return np.asarray(whole, bool)
