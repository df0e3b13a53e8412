"""The rows of a CSV file or pipe, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_runtime.files.readers.blocks import Block, Piece, SeriesCut, Stream, cut
from ae_runtime.files.readers.columns import (
    Wanted,
    choose,
    known_names,
    settle_columns,
    settle_numbers,
    settle_times,
)
from ae_runtime.files.readers.csv_form import Form, Told, find_form, separator_of
from ae_runtime.files.readers.csv_head import Rows
from ae_runtime.files.readers.csv_pieces import Piece as TextPiece
from ae_runtime.files.readers.csv_pieces import numbers_of, read_pieces
from ae_runtime.files.readers.raw_bytes import Bytes, closed_on_error, open_bytes

Array = NDArray[Any]


def open_csv(path: Path, wanted: Wanted, id_column: str | None, member: str | None) -> CsvStream:
    """The rows of a .csv or .tsv file, either of which may be compressed."""
    return open_text(open_bytes(path), wanted, id_column, separator_of(path))


def open_text(
    source: Bytes, wanted: Wanted, id_column: str | None, separator: str | None
) -> CsvStream:
    """The rows of CSV text. separator: None to find it."""
    with closed_on_error(source):
        told = Told(wanted.reading, None, known_names(wanted))
        return CsvStream(source, find_form(source, separator, told), wanted, id_column)


class CsvStream(Stream):
    """The rows of a CSV. A position is a byte of its text, uncompressed."""

    series: SeriesCut | None = None
    memory = 16 << 20
    rows: int | None = None

    def __init__(self, source: Bytes, form: Form, wanted: Wanted, id_column: str | None) -> None:
        self.path, self.fingerprint, self.id_name = source.path, source.fingerprint, id_column
        self._source, self._form, self._wanted = source, form, wanted
        named = form.header is not None
        self._choice = choose(wanted, self.path, form.names, named, id_column)
        self.time_name = None if self._choice.times is None else wanted.time
        self.notes = [form.note, *self._choice.notes]
        _check_widths(form)

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks cut from pieces of text of about a megabyte."""
        return cut(self._pieces(first, position), size, first)

    def _pieces(self, first: int, position: int) -> Iterator[Piece]:
        take = self._numbers if self._wanted.columns is None else self._mixed
        strip = self._wanted.columns is None  # categories may begin or end with white space
        repeated = 0
        for text in read_pieces(self._source, self._form, position, strip):
            piece = take(text, first)
            first += len(piece.ends)
            repeated += text.repeated
            if len(piece.ends):
                yield piece
        if repeated:
            self.notes.append(self._form.repeated(repeated))

    def _numbers(self, text: TextPiece, first: int) -> Piece:
        form, choice = self._form, self._choice
        everything = choice.columns == list(range(len(form.names)))
        columns = None if everything else choice.columns
        beside = [at for at in (choice.ids, choice.times) if at is not None]
        plain = text.numbers(columns, beside)
        bad: dict[int, str] = {}
        if plain:
            values, ends, texts = plain
            cells = dict(zip(beside, texts, strict=True))
        else:
            rows, ends = text.cells()
            values, bad = numbers_of(form, rows, choice.columns, first, self._wanted.exact)
            cells = {at: _cells(rows, at) for at in beside}
        arrays, bad = settle_numbers(self._wanted, self.path, values, first, bad)
        ids = None if choice.ids is None else np.array(cells[choice.ids], object)
        times = None
        if choice.times is not None:
            name = form.names[choice.times]
            times, bad = settle_times(_moments(cells[choice.times], form), name, first, bad)
        return Piece(arrays, ends, ids, bad, times)

    def _mixed(self, text: TextPiece, first: int) -> Piece:
        form, choice = self._form, self._choice
        rows, ends = text.cells()
        chosen = choice.ids
        ids = None if chosen is None else np.array(_cells(rows, chosen), object)
        bad: dict[int, str] = {}
        for at, row in enumerate(rows):
            if form.is_ragged(row):
                bad[at] = form.ragged(row, first + at + 1)
                rows[at] = [""] * form.width
        columns, values = self._wanted.columns or [], []
        for column, place in zip(columns, choice.columns, strict=True):
            # Not zip(*rows), which would make columns of cells that are not wanted.
            cells = [row[place] for row in rows]
            if column.levels:
                values.append(_categories(cells, column, form))
            elif column.type == "date":
                values.append(_dates(cells, form))
            else:
                exact = self._wanted.exact
                numbers, wrong = _column_of_numbers(cells, place, form, first, exact)
                values.append(numbers)
                bad = wrong | bad
        names = [form.names[at] for at in choice.columns]
        arrays, bad = settle_columns(self._wanted, names, columns, values, first, bad)
        return Piece(arrays, ends, ids, bad)

    def closing_notes(self) -> list[str]:
        """Lines on categories that the model does not know."""
        return list(self._wanted.unknown.lines().values()) if self._wanted.unknown else []

    def close(self) -> None:
        self._source.close()


def _cells(rows: Rows, at: int) -> list[str]:
    """The cells of a column, empty in rows that are too short."""
    return [row[at].strip() if at < len(row) else "" for row in rows]


def _check_widths(form: Form) -> None:
    """Raise DataError where no row has the header's width: the error is in the file then."""
    if form.sample and all(len(row) != form.width for row in form.sample):
        raise DataError(f"{form.path}: {form.ragged(form.sample[0], 1)}")


def _column_of_numbers(
    cells: list[str], at: int, form: Form, first: int, exact: bool
) -> tuple[Array, dict[int, str]]:
    """(numbers (n,), bad): the number is 0 where bad says what is wrong with its row."""
    parse = form.numbers.parse if exact else form.numbers.value
    known, bad = {cell: parse(cell) for cell in set(cells)}, {}
    no_number = partial(form.not_a_number, only=False)
    wrong: dict[str, Callable[[str, int, int], str]] = {}
    wrong |= {cell: no_number for cell, number in known.items() if number is None}
    wrong |= {cell: form.loses_digits for cell in known if form.numbers.loses_digits(cell)}
    if wrong:
        bad = {
            row: wrong[cell](cell.strip(), at, first + row + 1)
            for row, cell in enumerate(cells)
            if cell in wrong
        }
    return np.array([known[cell] or 0.0 for cell in cells], np.float64), bad


def _moments(cells: list[str], form: Form) -> Array:
    """The times of a series: numbers, or text as `_dates` gives it."""
    if form.numbers.decimal == ".":
        return _dates(cells, form)
    numbers = [form.numbers.parse(cell) for cell in cells]
    return _dates(cells, form) if None in numbers else np.array(numbers, np.float64)


def _dates(cells: list[str], form: Form) -> Array:
    """Dates as text, None for missing ones."""
    texts = {cell: None if form.numbers.is_missing(cell) else cell.strip() for cell in set(cells)}
    return np.array([texts[cell] for cell in cells], object)


def _categories(cells: list[str], column: Column, form: Form) -> Array:
    """Categories as text, None for missing ones."""
    known = {cell: _category(cell, column, form) for cell in set(cells)}
    return np.array([known[cell] for cell in cells], object)


def _category(cell: str, column: Column, form: Form) -> str | None:
    """The category in a cell; one that the model knows is never a missing value, even NA."""
    levels = column.levels or []
    text = cell.strip()
    if cell in levels or text in levels:
        return cell if cell in levels else text
    return None if form.numbers.is_missing(cell) else text
