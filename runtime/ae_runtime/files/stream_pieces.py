"""CSV text in pieces of whole rows, as numbers or as cells."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ae_runtime.files.stream_blocks import PIECE_BYTES
from ae_runtime.files.stream_bytes import Bytes
from ae_runtime.files.stream_form import (
    MAX_ROW_BYTES,
    MISSING,
    Form,
    Rows,
    cells_of_csv,
    decoded,
    last_line_end,
    split_rows,
    to_number,
    too_long,
)

_MISSING_WORDS = frozenset(word.encode() for word in MISSING if word)
_NAN = np.frombuffer(b"nan", np.uint8)


class Piece:
    """Whole rows of a CSV file, as numbers or as cells.

    base: the byte at which they begin. Ends of rows are bytes of the file.
    """

    def __init__(self, form: Form, raw: bytes, base: int, final: bool) -> None:
        self.form, self.base, self._final = form, base, final
        self._cells: tuple[Rows, NDArray[np.int64]] | None = None
        if b'"' in raw:
            text = decoded(form.path, raw if final else raw[: last_line_end(raw)], base)
            with cells_of_csv(form.path):
                rows, ends, self.size = split_rows(text, form.separator, final)
            self._cells = rows, base + np.array(ends, np.int64)
        else:
            self.size = len(raw) if final else last_line_end(raw)
            self._raw = raw[: self.size]

    def cells(self) -> tuple[Rows, NDArray[np.int64]]:
        """(rows, ends), rows of any width."""
        if self._cells is None:
            text = decoded(self.form.path, self._raw, self.base)
            with cells_of_csv(self.form.path):
                rows, ends, _ = split_rows(text, self.form.separator, True)
            self._cells = rows, self.base + np.array(ends, np.int64)
        return self._cells

    def numbers(
        self, columns: Sequence[int] | None = None, words: Sequence[int] = ()
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], list[list[str]]] | None:
        """(values (n, D), ends, words), by numpy's C reader; None if it cannot tell.

        columns: whose cells must be plain numbers or empty, None for all. words: columns whose
        cells are given as they are.
        """
        if self._cells is not None:
            return None
        lines = _Lines(self._raw, self.form.separator.encode())
        chosen = columns is not None or len(words)
        if not lines.count or (chosen and not lines.are_even(self.form.width)):
            return None
        text = decoded(self.form.path, self._raw, self.base)
        values = self._parse(text, columns)
        if values is None:
            values = self._parse(lines.with_nan(), columns)
        width = self.form.width if columns is None else len(columns)
        if values is None or values.shape != (lines.count, width):
            return None  # a line of white space is no row, which the slow reader knows
        return values, self.base + lines.ends + 1, [lines.cells(column) for column in words]

    def _parse(self, text: str, columns: Sequence[int] | None) -> NDArray[np.float64] | None:
        lines = io.StringIO(text, newline=None)  # all three line ends, as in the slow reader
        try:
            return np.loadtxt(
                lines,
                np.float64,
                comments=None,
                delimiter=self.form.separator,
                ndmin=2,
                usecols=columns,
            )
        except ValueError:
            return None


class _Lines:
    """Where the lines of a piece without quotes lie. ends: (n,) the byte that ends each."""

    def __init__(self, raw: bytes, separator: bytes) -> None:
        self._raw = raw if raw.endswith((b"\n", b"\r")) else raw + b"\n"
        self._codes = np.frombuffer(self._raw, np.uint8)
        self._is_end = self._codes == ord("\n")
        if b"\r" in raw:
            self._is_end |= self._codes == ord("\r")
        ends = np.flatnonzero(self._is_end)
        starts = np.concatenate([[0], ends[:-1] + 1])
        filled = ends > starts  # between \r and \n there is no line, either
        self.starts, self.ends = starts[filled], ends[filled]
        self.count = len(self.ends)
        self._separator = separator[0]
        self._cuts: NDArray[np.intp] | None = None

    def are_even(self, width: int) -> bool:
        """Whether all lines have so many cells."""
        cuts = np.flatnonzero(self._codes == self._separator)
        if len(cuts) != self.count * (width - 1):
            return False
        even = cuts.reshape(self.count, width - 1)
        if width > 1 and ((even[:, 0] < self.starts).any() or (even[:, -1] > self.ends).any()):
            return False
        edges = (self.starts[:, None] - 1, even, self.ends[:, None])
        self._cuts = np.concatenate(edges, axis=1)
        return True

    def cells(self, column: int) -> list[str]:
        """The cells of a column, once the lines are known to be even."""
        assert self._cuts is not None
        lows = (self._cuts[:, column] + 1).tolist()
        highs = self._cuts[:, column + 1].tolist()
        raw = self._raw
        return [raw[low:high].decode().strip() for low, high in zip(lows, highs, strict=True)]

    def with_nan(self) -> str:
        """The text with nan in the cells that are empty, or a word for a missing value."""
        highs = np.flatnonzero(self._is_end | (self._codes == self._separator))
        lows = np.concatenate([[0], highs[:-1] + 1])
        sizes = highs - lows
        is_last = self._is_end[highs]
        is_first = np.concatenate([[True], is_last[:-1]])
        missing = (sizes == 0) & ~(is_first & is_last)  # else it is a blank line
        # Words begin with what no number begins with, but for "-" itself.
        heads = self._codes[lows]
        may_be = (
            (heads >= ord("A")) | np.isin(heads, list(b"#?<")) | (heads == ord("-")) & (sizes == 1)
        )
        longest = max(map(len, _MISSING_WORDS))
        for at in np.flatnonzero(may_be & (sizes > 0) & (sizes <= longest)).tolist():
            missing[at] = self._raw[lows[at] : highs[at]].lower() in _MISSING_WORDS
        lows, sizes = lows[missing], sizes[missing]
        dropped = np.zeros(len(self._codes), bool)
        for at in range(longest):
            dropped[lows[sizes > at] + at] = True
        places = lows - np.concatenate([[0], np.cumsum(dropped)])[lows]
        filled = np.insert(self._codes[~dropped], np.repeat(places, 3), np.tile(_NAN, len(lows)))
        return filled.tobytes().decode()


def read_pieces(source: Bytes, form: Form, position: int) -> Iterator[Piece]:
    """The rows from a byte on (0: from the first row), in pieces of some PIECE_BYTES.

    Raises DataError for what is no text, InputFailed where the source fails.
    """
    base = max(position, form.start)
    source.seek(base)
    rest, want = b"", PIECE_BYTES
    while True:
        more = source.read(want)
        raw, final = rest + more, len(more) < want
        piece = Piece(form, raw, base, final)
        if piece.size:
            yield piece
        if final:
            return
        base, rest = base + piece.size, raw[piece.size :]
        if len(rest) > MAX_ROW_BYTES:
            raise too_long(form.path)
        want = PIECE_BYTES if piece.size else min(len(rest), MAX_ROW_BYTES)


def numbers_of(
    form: Form, rows: Rows, columns: range | list[int], before: int
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(values (n, D) of these columns, bad): what is wrong with a row, by its place; it is 0 then.

    before: how many rows come before these.
    """
    values = np.zeros((len(rows), len(columns)))
    bad: dict[int, str] = {}
    whole = columns == range(form.width)
    for at, row in enumerate(rows):
        if len(row) != form.width:
            bad[at] = form.ragged(row, before + at + 1)
            continue
        cells = row if whole else [row[column] for column in columns]
        try:
            if "_" in "".join(cells):
                raise ValueError  # numpy would take 1_000 for a number
            values[at] = cells  # numpy parses a row of plain numbers at once
        except ValueError:
            numbers = [to_number(cell) for cell in cells]
            if None in numbers:
                text = numbers.index(None)
                values[at] = 0  # numpy may have got so far
                bad[at] = form.not_a_number(cells[text], columns[text], before + at + 1)
            else:
                values[at] = numbers
    return values, bad
