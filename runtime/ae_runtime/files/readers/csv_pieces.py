"""CSV text in pieces of whole rows, as numbers or as cells."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from ae_runtime.files.readers.blocks import PIECE_BYTES
from ae_runtime.files.readers.csv_form import (
    MAX_ROW_BYTES,
    Form,
    cells_of_csv,
    decoded,
    last_line_end,
    split_rows,
    too_long,
)
from ae_runtime.files.readers.csv_head import Rows
from ae_runtime.files.readers.csv_numbers import inexact
from ae_runtime.files.readers.raw_bytes import Bytes

_NAN = np.frombuffer(b"nan", np.uint8)


class Piece:
    """Whole rows of a CSV file, as numbers or as cells.

    base: the byte at which they begin. repeated: headings that were left out of the cells. size:
    bytes of the whole rows.
    """

    def __init__(self, form: Form, raw: bytes, base: int, final: bool, strip: bool = True) -> None:
        """strip: whether white space around cells is left out."""
        self.form, self.base, self._strip, self.repeated = form, base, strip, 0
        self._cells: tuple[Rows, NDArray[np.int64]] | None = None
        if b'"' in raw:
            text = decoded(form.path, raw if final else raw[: last_line_end(raw)], base)
            self.size = self._split(text, final)
        else:
            self.size = len(raw) if final else last_line_end(raw)
            self._raw = raw[: self.size]

    def cells(self) -> tuple[Rows, NDArray[np.int64]]:
        """(rows, ends): rows of any width, and the byte of the file at which each ends."""
        if self._cells is None:
            self._split(decoded(self.form.path, self._raw, self.base), True)
        assert self._cells is not None
        return self._cells

    def _split(self, text: str, final: bool) -> int:
        """The number of bytes in whole rows, after the text is cut into cells."""
        form = self.form
        with cells_of_csv(form.path):
            rows, ends, size = split_rows(text, form.separator, final, strip=self._strip)
        if form.heads:  # which come again where files were put together
            keep = [[cell.strip() for cell in row] not in form.heads for row in rows]
            self.repeated = keep.count(False)
            rows, ends = list(compress(rows, keep)), list(compress(ends, keep))
        self._cells = rows, self.base + np.array(ends, np.int64)
        return size

    def numbers(
        self, columns: Sequence[int] | None = None, texts: Sequence[int] = ()
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], list[list[str]]] | None:
        """(values (n, D), ends, cells) by numpy's C reader; None where it cannot read the piece.

        columns: those whose cells must be plain numbers or empty, None for all but empty last ones.
        texts: columns whose cells come as text.
        """
        form = self.form
        raw = None if self._cells is not None else form.numbers.plain(self._raw)
        if raw is None:
            return None
        if form.empty and columns is None:
            columns = range(len(form.names))
        lines = _Lines(raw, form.separator.encode())
        chosen = columns is not None or len(texts)
        if not lines.count or (chosen and not lines.are_even(form.width)):
            return None
        if form.empty and not lines.are_empty(form.width - form.empty):
            return None
        text = decoded(form.path, raw, self.base)
        values = self._parse(text, columns)
        if values is None:
            values = self._parse(lines.with_nan(form.numbers.missing), columns)
        width = form.width if columns is None else len(columns)
        if values is None or values.shape != (lines.count, width):
            return None  # a line of white space is no row, which only the slow reader sees
        if self._lose_digits(lines, values, columns):
            return None
        cells = [lines.cells(column) for column in texts]
        return form.numbers.without_sentinels(values), self.base + lines.ends + 1, cells

    def _lose_digits(
        self, lines: _Lines, values: NDArray[np.float64], columns: Sequence[int] | None
    ) -> bool:
        """Whether a value is not the integer that its cell holds."""
        if not np.fmax.reduce(np.abs(values), axis=None) >= 1 << 53:
            return False
        if not lines.are_even(self.form.width):
            return True
        rows, places = np.nonzero(inexact(values))
        places = places if columns is None else np.asarray(columns)[places]
        return any(
            self.form.numbers.loses_digits(lines.cell(row, place))
            for row, place in zip(rows.tolist(), places.tolist(), strict=True)
        )

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
    """The lines of a piece without quotes. starts, ends: (n,) their first bytes, and line ends."""

    def __init__(self, raw: bytes, separator: bytes) -> None:
        self._raw = raw if raw.endswith((b"\n", b"\r")) else raw + b"\n"
        self._codes = np.frombuffer(self._raw, np.uint8)
        self._is_end = self._codes == ord("\n")
        if b"\r" in raw:
            self._is_end |= self._codes == ord("\r")
        ends = np.flatnonzero(self._is_end)
        starts = np.concatenate([[0], ends[:-1] + 1])
        filled = ends > starts  # between \r and \n there is no line
        self.starts, self.ends = starts[filled], ends[filled]
        self.count = len(self.ends)
        self._separator = separator[0]
        self._cuts: NDArray[np.intp] | None = None

    def are_even(self, width: int) -> bool:
        """Whether each line has `width` cells."""
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

    def cell(self, row: int, column: int) -> str:
        """One cell, once the lines are known to be even."""
        assert self._cuts is not None
        return self._raw[self._cuts[row, column] + 1 : self._cuts[row, column + 1]].decode()

    def are_empty(self, first: int) -> bool:
        """Whether these columns hold nothing, once the lines are known to be even."""
        assert self._cuts is not None
        return bool((np.diff(self._cuts[:, first:], axis=1) == 1).all())

    def with_nan(self, words: Collection[str]) -> str:
        """The text with nan in each cell that is empty or holds one of these words."""
        known = {word.encode() for word in words if word}
        highs = np.flatnonzero(self._is_end | (self._codes == self._separator))
        lows = np.concatenate([[0], highs[:-1] + 1])
        sizes = highs - lows
        is_last = self._is_end[highs]
        is_first = np.concatenate([[True], is_last[:-1]])
        missing = (sizes == 0) & ~(is_first & is_last)  # else it is a blank line
        # No number begins as these words do, except for "-".
        heads = self._codes[lows]
        may_be = (
            (heads >= ord("A")) | np.isin(heads, list(b"#?<")) | (heads == ord("-")) & (sizes == 1)
        )
        longest = max(map(len, known))
        for at in np.flatnonzero(may_be & (sizes > 0) & (sizes <= longest)).tolist():
            missing[at] = self._raw[lows[at] : highs[at]].lower() in known
        lows, sizes = lows[missing], sizes[missing]
        dropped = np.zeros(len(self._codes), bool)
        for at in range(longest):
            dropped[lows[sizes > at] + at] = True
        places = lows - np.concatenate([[0], np.cumsum(dropped)])[lows]
        filled = np.insert(self._codes[~dropped], np.repeat(places, 3), np.tile(_NAN, len(lows)))
        return filled.tobytes().decode()


def read_pieces(source: Bytes, form: Form, position: int, strip: bool = True) -> Iterator[Piece]:
    """The rows from a byte on (0: from the first row), in pieces of some PIECE_BYTES.

    strip: whether white space around cells is left out. Raises DataError for bytes that are no
    text, InputFailed where the source fails.
    """
    base = max(position, form.start)
    source.seek(base)
    rest, want = b"", PIECE_BYTES
    while True:
        more = source.read(want)
        raw, final = rest + more, len(more) < want
        piece = Piece(form, raw, base, final, strip)
        if piece.size:
            yield piece
        if final:
            return
        base, rest = base + piece.size, raw[piece.size :]
        if len(rest) > MAX_ROW_BYTES:
            raise too_long(form.path)
        want = PIECE_BYTES if piece.size else min(len(rest), MAX_ROW_BYTES)


def numbers_of(
    form: Form, rows: Rows, columns: list[int], before: int, exact: bool
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(values (n, D) of these columns, bad): a row is 0 where bad says what is wrong with it.

    before: the number of rows before these. exact: whether true and false are refused.
    """
    values = np.zeros((len(rows), len(columns)))
    bad: dict[int, str] = {}
    numbers, width = form.numbers, form.width
    whole = columns == list(range(width))
    parse = numbers.parse if exact else numbers.value
    is_plain = numbers.decimal == "." and not numbers.thousands
    for at, row in enumerate(rows):
        if form.is_ragged(row):
            bad[at] = form.ragged(row, before + at + 1)
            continue
        cells = row if whole else [row[column] for column in columns]
        try:
            if not is_plain or "_" in "".join(cells):
                raise ValueError  # numpy would take 1_000 for a number
            values[at] = cells  # numpy parses a row of plain numbers at once
        except ValueError:
            parsed = [parse(cell) for cell in cells]
            if None in parsed:
                text = parsed.index(None)
                values[at] = 0  # numpy may have got so far
                bad[at] = form.not_a_number(cells[text], columns[text], before + at + 1)
            else:
                values[at] = parsed
    for at, place in np.argwhere(inexact(values)).tolist():
        cell = rows[at][columns[place]]
        if at not in bad and numbers.loses_digits(cell):
            bad[at] = form.loses_digits(cell, columns[place], before + at + 1)
    values[list(bad)] = 0
    return numbers.without_sentinels(values), bad
