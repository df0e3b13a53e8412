"""The rows of an Arrow IPC file, which Feather is too, or of a stream that was saved as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ae_runtime.errors import NoRows
from ae_runtime.extras import need
from ae_runtime.files.readers.arrow_rows import ArrowRows, read_whole
from ae_runtime.files.readers.blocks import PIECE_BYTES, Piece
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.tables.table import Table

_FILE_MAGIC = b"ARROW1"  # the first bytes of a file; a stream has others
_BYTES = 48 << 20  # what pyarrow itself and the columns in work take


class IpcStream(ArrowRows):
    """The rows of an Arrow file, which stay on the disk where it is not compressed."""

    kind = "Arrow"

    def _look(self) -> None:
        arrow = need("pyarrow", "data")
        with self.said():
            schema = _open(self.path).schema
        self._places = {name: at for at, name in enumerate(schema.names)}
        self.choose_columns(schema)
        # One column is enough, which matters where it is compressed.
        self.rows = sum(table.num_rows for table in self.tables(self._columns[:1]))
        if not self.rows:
            raise NoRows(f"{self.path} holds no rows")
        before = arrow.total_allocated_bytes()
        batch = next(self.tables(self._columns))
        taken = arrow.total_allocated_bytes() - before
        del batch
        self.memory = _BYTES + max(taken, 0)  # a batch takes memory where it is compressed

    def tables(self, columns: list[str]) -> Iterator[Any]:
        """The rows in tables of some of the columns."""
        arrow = need("pyarrow", "data")
        with self.said():
            reader = _open(self.path, [self._places[name] for name in columns])
        for batch in self._batches(reader):
            if batch.num_rows:
                yield arrow.Table.from_batches([batch])

    def _batches(self, reader: Any) -> Iterator[Any]:
        """The record batches of a file or of a stream, in order."""
        if hasattr(reader, "num_record_batches"):
            for at in range(reader.num_record_batches):
                with self.said():
                    batch = reader.get_batch(at)
                yield batch
            return
        while True:
            try:
                with self.said():
                    batch = next(reader, None)
            except StopIteration:
                return
            if batch is None:
                return
            yield batch

    def pieces(self, size: int, first: int) -> Iterator[Piece]:
        """The rows from `first` on, in pieces of about a megabyte."""
        at_once = max(PIECE_BYTES // (8 * max(len(self._names), 1)), 1)
        begin = 0
        for table in self.tables(self._columns):
            for low in range(max(first - begin, 0), table.num_rows, at_once):
                yield self.piece(table.slice(low, at_once), begin + low)
            begin += table.num_rows

    def close(self) -> None:
        """Each reader closes its file itself."""


def read_arrow(path: Path, told: Told, text: Collection[str]) -> Table:
    """The columns of an Arrow file. Raises DataError, NoRows, MissingExtra without pyarrow."""
    need("pyarrow", "data")
    return read_whole(path, "Arrow", lambda: _open(path).read_all())


def _open(path: Path, columns: list[int] | None = None) -> Any:
    """The reader, of pyarrow, of an Arrow IPC file, or of a stream that was saved as one.

    columns: the places of the only ones that are read. Raises what pyarrow raises.
    """
    arrow = need("pyarrow", "data")
    options = arrow.ipc.IpcReadOptions(included_fields=columns or [])
    file = arrow.memory_map(str(path))
    try:
        if file.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
            return arrow.ipc.open_file(file, options=options)
        file.seek(0)
        return arrow.ipc.open_stream(file, options=options)
    except BaseException:
        file.close()
        raise
