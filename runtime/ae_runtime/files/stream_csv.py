"""The rows of a CSV file or pipe, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.stream_blocks import Block, Piece, SeriesCut, Stream, cut
from ae_runtime.files.stream_bytes import Bytes
from ae_runtime.files.stream_columns import (
    Wanted,
    choose,
    settle_columns,
    settle_numbers,
    settle_times,
)
from ae_runtime.files.stream_form import Form, Rows, is_missing, is_number, to_number
from ae_runtime.files.stream_pieces import Piece as TextPiece
from ae_runtime.files.stream_pieces import numbers_of, read_pieces
from ae_runtime.manifest import Column
from ae_runtime.table import parse_number

Array = NDArray[Any]


class CsvStream(Stream):
    """The rows of a CSV. A position is a byte of the text, after whatever compression."""

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
        if wanted.columns is not None:
            self._columns = [
                _as_written(column, at, form)
                for column, at in zip(wanted.columns, self._choice.columns, strict=True)
            ]

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Cut from pieces of text of about a megabyte."""
        return cut(self._pieces(first, position), size, first)

    def _pieces(self, first: int, position: int) -> Iterator[Piece]:
        take = self._numbers if self._wanted.columns is None else self._mixed
        for text in read_pieces(self._source, self._form, position):
            piece = take(text, first)
            first += len(piece.ends)
            yield piece

    def _numbers(self, text: TextPiece, first: int) -> Piece:
        form, choice = self._form, self._choice
        everything = choice.columns == list(range(form.width))
        columns = None if everything else choice.columns
        beside = [at for at in (choice.ids, choice.times) if at is not None]
        plain = text.numbers(columns, beside)
        bad: dict[int, str] = {}
        if plain:
            values, ends, words = plain
            cells = dict(zip(beside, words, strict=True))
        else:
            rows, ends = text.cells()
            values, bad = numbers_of(form, rows, choice.columns, first)
            cells = {at: _cells(rows, at) for at in beside}
        arrays, bad = settle_numbers(self._wanted, self.path, values, first, bad)
        ids = None if choice.ids is None else np.array(cells[choice.ids], object)
        times = None
        if choice.times is not None:
            found = [None if is_missing(cell) else cell for cell in cells[choice.times]]
            name = form.names[choice.times]
            times, bad = settle_times(np.array(found, object), name, first, bad)
        return Piece(arrays, ends, ids, bad, times)

    def _mixed(self, text: TextPiece, first: int) -> Piece:
        form, choice = self._form, self._choice
        rows, ends = text.cells()
        chosen = choice.ids
        ids = None if chosen is None else np.array(_cells(rows, chosen), object)
        bad: dict[int, str] = {}
        for at, row in enumerate(rows):
            if len(row) != form.width:
                bad[at] = form.ragged(row, first + at + 1)
                rows[at] = [""] * form.width
        # Not zip(*rows): of what is not wanted no columns are made.
        cells = [[row[at] for row in rows] for at in choice.columns]
        exact = self._wanted.exact
        values = [_values(part, how, exact) for part, how in zip(cells, self._columns, strict=True)]
        names = [form.names[at] for at in choice.columns]
        arrays, bad = settle_columns(self._wanted, names, self._columns, values, first, bad)
        return Piece(arrays, ends, ids, bad)

    def close(self) -> None:
        self._source.close()


def _cells(rows: Rows, at: int) -> list[str]:
    """A column's cells, empty in rows that are too short."""
    return [row[at] if at < len(row) else "" for row in rows]


def _check_widths(form: Form) -> None:
    """Raise DataError where no row has the header's width, which is no fault of the rows."""
    if form.sample and all(len(row) != form.width for row in form.sample):
        raise DataError(f"{form.path}: {form.ragged(form.sample[0], 1)}")


def _as_written(column: Column, at: int, form: Form) -> Column:
    """The column as this file writes it: a date may be a number of seconds, too."""
    cells = [row[at] for row in form.sample if at < len(row) and not is_missing(row[at])]
    if column.type == "date" and cells and all(is_number(cell) for cell in cells):
        return msgspec.structs.replace(column, type="number")
    return column


def _values(cells: list[str], column: Column, exact: bool) -> Array:
    """Cells as numbers where they should and can be, else as words, None for missing ones.

    exact: words as they are written, not as the model knows them.
    """
    if not column.levels and column.type != "date":
        known = {cell: to_number(cell) for cell in set(cells)}
        if None not in known.values():
            return np.array([known[cell] for cell in cells], np.float64)
    words = {cell: None if is_missing(cell) else cell for cell in set(cells)}
    if column.levels and not exact:
        words = {cell: _level(word, column) for cell, word in words.items()}
    return np.array([words[cell] for cell in cells], object)


def _level(word: str | None, column: Column) -> str | None:
    """The word as the model knows it: one that a table of numbers wrote has no fraction."""
    levels = column.levels or []
    number = None if word is None or word in levels else parse_number(word)
    return word if number is None else f"{number:.17g}"
