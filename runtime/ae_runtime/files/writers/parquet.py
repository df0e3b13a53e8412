"""Rows to a .parquet file with their stamp, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.extras import need
from ae_runtime.files.writers.layout import Chunk, Kind, Layout, Writer
from ae_runtime.files.writers.npy import write_all
from ae_runtime.tables.dates import as_dates

Array = NDArray[Any]
GROUP_BYTES = 16 << 20  # of the numbers of a row group; readers hold one at a time
MAX_WHOLE = 2.0**63


class ParquetWriter(Writer):
    """A .parquet file: chunks go to the part as an Arrow stream, which is made Parquet at the end.

    Whole numbers are int64, dates are date32 or timestamps without a zone, missing is null.
    """

    tables_only = True
    holds_words = True
    holds_ids = True
    stamps_itself = True
    packs = True

    def __init__(self, file: BinaryIO, layout: Layout, fresh: bool) -> None:
        self.arrow = need("pyarrow", "data")
        super().__init__(file, layout, fresh)
        self.empty = fresh

    def write(self, chunk: Chunk) -> None:
        arrays = self._arrays(chunk)
        batch = self.arrow.record_batch(arrays, names=self.layout.header)
        if self.empty:  # the types of ids are known now
            write_all(self.file, batch.schema.serialize().to_pybytes())
            self.empty = False
        write_all(self.file, batch.serialize().to_pybytes())

    def _arrays(self, chunk: Chunk) -> list[Any]:
        values = chunk.values
        each = list(values.values()) if isinstance(values, Mapping) else list(values.T)
        found = []
        if chunk.ids is not None:
            text = self.arrow.string() if chunk.ids.dtype == object else None
            found.append(self.arrow.array(chunk.ids, text))
        if chunk.starts is not None:
            found.append(self.arrow.array(chunk.starts))
        for name, kind, cells in zip(self.layout.columns, self.layout.kinds, each, strict=True):
            found.append(self._array(cells, kind, name))
        return found

    def _array(self, cells: Array, kind: Kind, name: str) -> Any:
        if kind == "word":
            return self.arrow.array(cells, self.arrow.string())
        if kind in ("day", "second", "moment"):
            dates = as_dates(cells, kind)
            kind_of = self.arrow.date32() if kind == "day" else self.arrow.timestamp("us")
            return self.arrow.array(dates if kind == "day" else dates.astype("M8[us]"), kind_of)
        if kind == "whole" and cells.dtype.kind == "f":
            missing, whole = np.isnan(cells), np.rint(cells)
            if np.any(np.abs(whole, where=~missing, out=np.zeros_like(whole)) >= MAX_WHOLE):
                raise DataError(
                    f"column {name!r} holds whole numbers beyond 2**63, which a .parquet column of "
                    "integers does not; write .csv or .npy"
                )
            whole[missing] = 0
            return self.arrow.array(whole.astype(np.int64), mask=missing)
        return self.arrow.array(np.ascontiguousarray(cells))

    def finish(self, rows: int, stamp: Mapping[str, Any], part: Path, packed: Path) -> None:
        if self.empty:
            self.write(self._no_rows())
        parquet = need("pyarrow.parquet", "data")
        with part.open("rb") as source, packed.open("wb") as file:
            reader = self.arrow.ipc.open_stream(source)
            schema = reader.schema.with_metadata({key: str(value) for key, value in stamp.items()})
            words = [at.name for at in schema if self.arrow.types.is_string(at.type)]
            # Latents repeat no value: looking for ones that do is half of the time.
            options = {"use_dictionary": words or False}
            with parquet.ParquetWriter(file, schema, **options) as writer:
                for table in self._groups(reader):
                    writer.write_table(table.replace_schema_metadata(schema.metadata))

    def _no_rows(self) -> Chunk:
        layout = self.layout
        values: Any = np.empty((0, len(layout.columns)), layout.dtype)
        if layout.words:
            types = [object if kind == "word" else layout.dtype for kind in layout.kinds]
            values = {
                name: np.empty(0, dtype) for name, dtype in zip(layout.columns, types, strict=True)
            }
        ids = None if layout.id_name is None else np.empty(0, object)
        return Chunk(values, ids, np.empty(0, np.int64) if layout.starts else None)

    def _groups(self, reader: Any) -> Iterator[Any]:
        """The rows in tables of one size, whatever the chunks that they were written in."""
        size = max(1024, GROUP_BYTES // (8 * len(self.layout.header)))
        waiting, rows = [], 0
        for batch in reader:
            waiting.append(batch)
            rows += batch.num_rows
            while rows >= size:
                table = self.arrow.Table.from_batches(waiting)
                yield table.slice(0, size).combine_chunks()
                waiting = table.slice(size).to_batches()
                rows -= size
        if rows:
            yield self.arrow.Table.from_batches(waiting).combine_chunks()
