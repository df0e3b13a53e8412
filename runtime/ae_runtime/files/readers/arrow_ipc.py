"""The rows of an Arrow IPC file, which Feather is too, or of a stream that was saved as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ae_runtime.errors import NoRows
from ae_runtime.extras import need
from ae_runtime.files.readers.arrow_rows import ArrowRows
from ae_runtime.files.readers.blocks import PIECE_BYTES, Piece
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.tables.arrow import open_ipc

_BYTES = 48 << 20  # pyarrow itself, and columns on their way


class IpcStream(ArrowRows):
    """The rows of an Arrow file. Those of a file that is not compressed stay where they are."""

    kind = "Arrow"

    def __init__(
        self,
        path: Path,
        wanted: Wanted,
        id_column: str | None,
        keys: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        need("pyarrow", "data")
        super().__init__(path, wanted, id_column, keys)
        with self.said():
            schema = open_ipc(path).schema
        self._places = {name: at for at, name in enumerate(schema.names)}
        self.choose_columns(schema)
        # Of what is compressed, that of one column.
        self.rows: int | None = sum(table.num_rows for table in self.tables(self._columns[:1]))
        if not self.rows:
            raise NoRows(f"{path} holds no rows")
        before = need("pyarrow", "data").total_allocated_bytes()
        held = next(self.tables(self._columns))
        taken = need("pyarrow", "data").total_allocated_bytes() - before
        del held
        self.memory = _BYTES + max(taken, 0)  # of a batch, where it is compressed

    def tables(self, columns: list[str]) -> Iterator[Any]:
        """The rows in tables of some of the columns."""
        arrow = need("pyarrow", "data")
        with self.said():
            reader = open_ipc(self.path, [self._places[name] for name in columns])
        for batch in self._batches(reader):
            if batch.num_rows:
                yield arrow.Table.from_batches([batch])

    def _batches(self, reader: Any) -> Iterator[Any]:
        """Record batches, one after the other, in either form."""
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
