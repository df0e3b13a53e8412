"""Rows to a .csv file with a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from ae_runtime.files.writers.layout import Chunk, Kind, Layout, Writer
from ae_runtime.files.writers.npy import write_all
from ae_runtime.tables.dates import as_dates

Array = NDArray[Any]
CELLS = 1 << 16  # made into text at once: what Python keeps for each is much more than its text


class CsvWriter(Writer):
    """A .csv file: floats in the fewest digits that read back as the same number, ISO 8601 dates.

    Missing words and dates are empty cells.
    """

    tables_only = True
    holds_words = True
    holds_ids = True

    def __init__(self, file: BinaryIO, layout: Layout, fresh: bool) -> None:
        super().__init__(file, layout, fresh)
        if fresh:
            write_all(file, (",".join(map(quoted, layout.header)) + "\n").encode())

    def write(self, chunk: Chunk) -> None:
        columns = self._columns(chunk)
        row = ",".join(_MARKS.get(kind, "%s") for _, kind in columns) + "\n"
        step = max(1, CELLS // len(columns))
        for start in range(0, chunk.rows, step):
            cells = [_cells(values[start : start + step], kind) for values, kind in columns]
            if len(cells) == 1:  # a line with nothing in it would be no row
                cells[0] = [cell if cell != "" else '""' for cell in cells[0]]
            # One formatting of all rows: half the time of one join a row.
            text = row * len(cells[0]) % tuple(chain.from_iterable(zip(*cells, strict=True)))
            write_all(self.file, text.encode())

    def _columns(self, chunk: Chunk) -> list[tuple[Array, Kind]]:
        """Values (B,) and kind of each column."""
        columns: list[tuple[Array, Kind]] = []
        if chunk.ids is not None:
            columns.append((chunk.ids, "word" if chunk.ids.dtype == object else "number"))
        if chunk.starts is not None:
            columns.append((chunk.starts, "number"))
        values = chunk.values
        each = list(values.values()) if isinstance(values, Mapping) else list(values.T)
        return [*columns, *zip(each, self.layout.kinds, strict=True)]


_MARKS: dict[Kind, str] = {"whole": "%.0f"}
_encoder = msgspec.json.Encoder()


def _cells(values: Array, kind: Kind) -> Sequence[Any]:
    """Cells of a column, as the format of a row takes them."""
    if kind == "word":
        return [quoted(word or "") for word in values]
    if kind in ("day", "second", "moment"):
        dates = as_dates(values, kind)
        text = np.datetime_as_string(dates).astype(object)
        text[np.isnat(dates)] = ""
        cells: list[Any] = text.tolist()
        return cells
    if kind == "number" and values.dtype == np.float64:
        # The fewest digits, in less than half of the time that Python's own repr takes.
        cells = _encoder.encode(values.tolist()).decode()[1:-1].split(",")
        for at in np.flatnonzero(~np.isfinite(values)):
            cells[at] = repr(float(values[at]))
        return cells
    # Numpy's float32 prints its own fewest digits; as Python's float it would print 17.
    return list(values) if values.dtype == np.float32 else values.tolist()


def quoted(word: str) -> str:
    """The text as a CSV cell."""
    if not any(c in word for c in ',"\n\r'):
        return word
    return '"' + word.replace('"', '""') + '"'
