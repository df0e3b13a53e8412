"""Rows of an input file as an archive stores them, and the categories in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Manifest
from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.readers.blocks import Block, Stream
from ae_runtime.files.readers.columns import Wanted, row_columns
from ae_runtime.files.readers.opening import open_rows
from ae_runtime.files.readers.raw_bytes import closed_on_error

Array = NDArray[Any]
BLOCK_VALUES = 1 << 20  # values read at once; the first block shows a model what rows are like
MAX_LETTERS = 1 << 22  # letters of all categories, which are in a header of at most 16 MB
PIPE = "-"


class Input:
    """Opened input of a bundle's columns: in the bundle's order, with the file's own values.

    rows: None where only the end tells. names: of the columns of a table or of the channels, None
    without. levels: the categories of each column, None where no column has any; those that the
    bundle knows come first. notes: remarks worth a line each, all of them once the blocks are read.
    has_dates: whether a column holds dates.
    """

    def __init__(self, manifest: Manifest, source: str) -> None:
        """source: a file, a folder of images, or "-". A file with categories is read twice.

        Raises DataError, SourceNotFound, InputFailed, MissingExtra.
        """
        # The times of a series are no channel, and no archive keeps them: they are left out, said.
        wanted = replace(row_columns(manifest), resized=False, exact=True, time=None)
        self._wanted, self._manifest, self._source = wanted, manifest, source
        columns = wanted.columns or []
        self.has_dates = any(column.type == "date" for column in columns)
        if wanted.mixed and source == PIPE:
            columns = [_extended(column, _usual(column)) for column in columns]
        elif wanted.mixed:
            columns = self._with_categories_of_file(columns)
        self._wanted = replace(wanted, columns=columns if wanted.columns is not None else None)
        if wanted.mixed:
            self._wanted = replace(self._wanted, seen={})
        self._stream = self._open(self._wanted)
        with closed_on_error(self._stream):
            self.rows, self.notes = self._stream.rows, list(self._stream.notes)
            if self._stream.id_name is not None:
                self.notes.append("the names of the images are not kept, only their order")
            blocks = self._blocks()
            self._first = next(blocks, None)
            if self._first is None:
                raise DataError(f"{self._stream.path} holds no rows")
            self._rest = blocks
        self.row_shape: tuple[int, ...] = self._first.shape[1:]
        self.dtype: np.dtype[Any] = self._first.dtype
        self.names = self._names()
        self.levels = None
        if wanted.mixed:
            self.levels = [list(column.levels) if column.levels else None for column in columns]

    def blocks(self, progress: Callable[[int, int | None], None]) -> Iterator[Array]:
        """Rows of the input, once. progress(done, all): called after each block."""
        done = 0
        assert self._first is not None
        block: Array | None = self._first
        self._first = None
        while block is not None:
            yield block
            done += len(block)
            progress(done, self.rows)
            block = next(self._rest, None)
        self.notes += [note for note in self._stream.notes if note not in self.notes]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _open(self, wanted: Wanted) -> Stream:
        source = sys.stdin.buffer if self._source == PIPE else self._source
        return open_rows(wanted, self._manifest.kind, source)

    def _read(self, stream: Stream) -> Iterator[Block]:
        rows = max(1, BLOCK_VALUES // self._width())
        try:
            for block in stream.blocks(rows):
                if block.bad:
                    raise DataError(f"{stream.path}: {block.bad[min(block.bad)]}")
                yield block
        except OSError as error:
            if isinstance(error, InputFailed):
                raise
            reason = error.strerror or str(error)
            raise InputFailed(f"{stream.path} cannot be read to its end: {reason}") from error

    def _width(self) -> int:
        return max(1, sum(prod(port.row_shape) for port in self._manifest.inputs))

    def _blocks(self) -> Iterator[Array]:
        for block in self._read(self._stream):
            if not self._wanted.mixed:
                if len(block.arrays[0]):
                    yield block.arrays[0]
                continue
            self._check_categories()
            numbers, codes = block.arrays
            places = np.where(codes < 0, np.nan, codes.astype(np.float64))
            yield np.hstack([numbers, places])

    def _check_categories(self) -> None:
        """Raise DataError for a category that has no place: in an archive it would be lost."""
        seen = self._wanted.seen or {}
        for at, column in enumerate(self._wanted.columns or []):
            new = _new_categories(column, seen.pop(at, set()))
            if new and self._source != PIPE:
                raise InputFailed(f"{self._source} has changed while it was read; try again")
            if new:
                raise DataError(
                    f"stdin: column {column.name or at + 1!r} holds {new[0]!r:.60}, which the "
                    "bundle does not know; of a file such words are gathered first: bring a file"
                )

    def _with_categories_of_file(self, columns: list[Column]) -> list[Column]:
        """Columns with the categories that the file holds beside those that the bundle knows."""
        seen: dict[int, set[str]] = {}
        stream = self._open(replace(self._wanted, seen=seen))
        with closing(stream):
            for _ in self._read(stream):
                letters = sum(len(word) for words in seen.values() for word in words)
                if letters > MAX_LETTERS:
                    most = max(seen, key=lambda at: len(seen[at]))
                    raise DataError(
                        f"{stream.path}: column {columns[most].name or most + 1!r} holds too many "
                        f"different words; an archive has room for {MAX_LETTERS:,} letters of all"
                    )
        return [_extended(column, seen.get(at, set())) for at, column in enumerate(columns)]

    def _names(self) -> list[str] | None:
        columns = self._manifest.columns
        if len(self.row_shape) != 1:
            return None
        if columns is not None:
            return self._manifest.column_names
        series = self._manifest.series
        return series.channels if series is not None else None


def _extended(column: Column, seen: set[str]) -> Column:
    """The column with more categories, each of which then comes back as it is written."""
    if not column.levels:
        return column
    kind = "category" if column.type == "boolean" else column.type
    levels = [*column.levels, *_new_categories(column, seen)]
    return msgspec.structs.replace(column, type=kind, levels=levels)


def _new_categories(column: Column, seen: set[str]) -> list[str]:
    """Categories that have no place among those of the column, sorted."""
    return sorted(seen - set(column.levels or []))


def _usual(column: Column) -> set[str]:
    """Other ways to write the categories of a boolean column."""
    words = column.levels or [] if column.type == "boolean" else []
    return {way(word) for word in words for way in (str.lower, str.upper, str.capitalize)}
