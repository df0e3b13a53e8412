"""The rows of a Parquet file, row group by row group; only the columns that are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import NoRows
from ae_runtime.extras import need
from ae_runtime.files.readers.arrow_rows import ArrowRows, read_whole
from ae_runtime.files.readers.blocks import PIECE_BYTES, Ahead, Piece
from ae_runtime.files.readers.columns import settle_numbers
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.files.readers.raw_bytes import closed_on_error
from ae_runtime.tables.arrow import column_values, plain_numbers
from ae_runtime.tables.table import Table

Array = NDArray[Any]
Whole = tuple[Array, Array | None, Array | None]  # columns (D, rows) of a group, ids and times
# bytes of a row group of numbers up to which it is decoded column by column, while the group before
# is computed: that takes half of the memory and time of all columns at once. Larger groups, and
# those of larger columns, are decoded in batches, for which pyarrow holds a page of every column.
GROUP_BYTES = 96 << 20
_COLUMN_BYTES = 8 << 20
_ARROW_BYTES = 48 << 20  # what pyarrow itself and the columns in work take
_COLUMNS_BYTES = 1 << 20  # decoded at once
_BUFFER_BYTES = 1 << 16  # read ahead of each column, in batches


class ParquetStream(ArrowRows):
    """The rows of a Parquet file."""

    kind = "Parquet"

    def _look(self) -> None:
        self._file = self._open()
        with closed_on_error(self._file):
            self._look_into()

    def _look_into(self) -> None:
        metadata = self._file.metadata
        self.rows = metadata.num_rows
        if not self.rows:
            raise NoRows(f"{self.path} holds no rows")
        self.choose_columns(self._file.schema_arrow)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        whole = [self._bytes_of(group) for group in groups if self._fits_whole(group)]
        # An upper bound for what is decoded in batches: pyarrow holds a page of each column.
        parts = [group.total_byte_size for group in groups if not self._fits_whole(group)]
        # One is computed while the next is decoded.
        self._ahead_bytes = max(whole) if len(whole) > 1 else 0
        self.memory = _ARROW_BYTES + max(whole + parts) + self._ahead_bytes
        ids = self.id_name
        self._has_whole_ids = ids is not None and ids in self._columns and self._is_whole(ids)

    def keep_to(self, most: int) -> None:
        """Decode no row group ahead where two of them are too many."""
        if self.memory > most:
            self.memory -= self._ahead_bytes
            self._ahead_bytes = 0
        super().keep_to(most)

    def _open(self, **options: Any) -> Any:
        parquet = need("pyarrow.parquet", "data")
        with self.said():
            return parquet.ParquetFile(self.path, **options)

    def _is_whole(self, name: str) -> bool:
        """Whether a column is integers that int64 holds, without a missing value."""
        kind = str(self._schema.field(name).type)  # of a category "dictionary<... indices=int8>"
        if not kind.startswith(("int", "uint")) or kind == "uint64":
            return False
        metadata = self._file.metadata
        places = range(metadata.num_columns)
        at = next(at for at in places if metadata.schema.column(at).path == name)
        groups = [metadata.row_group(group).column(at) for group in range(metadata.num_row_groups)]
        return all(
            group.statistics is not None and group.statistics.null_count == 0 for group in groups
        )

    def pieces(self, size: int, first: int) -> Iterator[Piece]:
        groups = range(self._file.metadata.num_row_groups)
        counts = [self._file.metadata.row_group(group).num_rows for group in groups]
        ends = list(itertools.accumulate(counts))
        decoded = self._decoded([at for at in groups if ends[at] > first and counts[at]])
        with closing(Ahead(decoded, 1) if self._ahead_bytes else decoded) as read:
            for group, whole in read:
                begin = ends[group] - counts[group]
                skip = max(first - begin, 0)
                if whole is None:
                    yield from self._batches(group, skip, begin + skip)
                else:
                    yield from self._whole_group(*whole, skip, begin + skip, size)

    def _decoded(self, groups: list[int]) -> Generator[tuple[int, Whole | None]]:
        """Each row group, with its columns, ids and times if it is decoded as a whole.

        The columns are valid until the group after the next is decoded.
        """
        held = [np.empty(0, self._dtype), np.empty(0, self._dtype)]
        for group in groups:
            metadata = self._file.metadata.row_group(group)
            if not self._fits_whole(metadata):
                yield group, None
                continue
            if self._ahead_bytes:
                held.reverse()
            shape = len(self._names), metadata.num_rows
            if held[0].size < prod(shape):
                held[0] = np.empty(prod(shape), self._dtype)
            columns = held[0][: prod(shape)].reshape(shape)
            yield group, (columns, *self._decode(group, columns))

    def _fits_whole(self, group: Any) -> bool:
        column = group.num_rows * self._dtype.itemsize
        fits = column <= _COLUMN_BYTES and self._bytes_of(group) <= GROUP_BYTES
        return fits and self._all_numbers and self._wanted.columns is None

    def _bytes_of(self, group: Any) -> int:
        """Bytes of the numbers in a row group."""
        return int(group.num_rows * self._dtype.itemsize * len(self._names))

    def _decode(self, group: int, columns: Array) -> tuple[Array | None, Array | None]:
        """(ids, times) of a row group of numbers, which fills columns (D, rows)."""
        count, rows = columns.shape
        at_once = max(_COLUMNS_BYTES // (rows * columns.itemsize), 1)
        with self.said():
            for low in range(0, count, at_once):
                names = self._names[low : low + at_once]
                table = self._file.read_row_group(group, columns=names, use_threads=False)
                for at, name in enumerate(names):
                    columns[low + at] = plain_numbers(table.column(name), name)
            ids = times = None
            if self.id_name is not None:
                table = self._file.read_row_group(group, columns=[self.id_name], use_threads=False)
                ids = self.ids_of(table.column(self.id_name))
            if self.time_name is not None:
                names = [self.time_name]
                table = self._file.read_row_group(group, columns=names, use_threads=False)
                times = column_values(table.column(self.time_name), self.time_name)
            return ids, times

    def _whole_group(
        self,
        columns: Array,
        ids: Array | None,
        times: Array | None,
        skip: int,
        first: int,
        size: int,
    ) -> Iterator[Piece]:
        """Pieces of a row group of numbers (D, rows), after `skip` rows."""
        rows = columns.shape[1]
        until = size - first % size  # so that pieces are blocks, which are not copied again
        while skip < rows:
            end = min(skip + until, rows)
            part = columns[:, skip:end].T.copy()  # in rows; the columns are filled again
            arrays, bad = settle_numbers(self._wanted, self.path, part, first, {})
            names_of = None if ids is None else ids[skip:end]
            times_of, bad = self.times_of(None if times is None else times[skip:end], first, bad)
            yield Piece(arrays, np.zeros(end - skip, np.int64), names_of, bad, times_of)
            first, skip, until = first + end - skip, end, size

    def _batches(self, group: int, skip: int, first: int) -> Iterator[Piece]:
        """Pieces of a row group of any columns, after `skip` rows."""
        for table in self._tables(self._columns, [group]):
            left_out = min(skip, table.num_rows)
            skip -= left_out
            if left_out < table.num_rows:
                rest = table.slice(left_out)
                yield self.piece(rest, first)
                first += rest.num_rows

    def tables(self, columns: list[str]) -> Iterator[Any]:
        """The rows in tables of some of the columns."""
        return self._tables(columns, range(self._file.metadata.num_row_groups))

    def _tables(self, columns: list[str], groups: Iterable[int]) -> Iterator[Any]:
        arrow = need("pyarrow", "data")
        at_once = max(PIECE_BYTES // (8 * max(len(self._names), 1)), 1)
        file = self._open(buffer_size=_BUFFER_BYTES)
        try:
            batches = file.iter_batches(
                at_once, row_groups=list(groups), columns=columns, use_threads=False
            )
            while True:
                with self.said():
                    batch = next(batches, None)
                if batch is None:
                    return
                yield arrow.Table.from_batches([batch])
        finally:
            file.close()

    def close(self) -> None:
        self._file.close()


def read_parquet(path: Path, told: Told, text: Collection[str]) -> Table:
    """The columns of a Parquet file. Raises DataError, NoRows, MissingExtra without pyarrow."""
    parquet = need("pyarrow.parquet", "data")
    return read_whole(path, "Parquet", lambda: parquet.read_table(path))
