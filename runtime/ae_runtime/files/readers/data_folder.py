"""The rows of a folder of Parquet or Arrow files, one file after the other, as of one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ae_runtime.errors import NoRows
from ae_runtime.files.readers.arrow_ipc import IpcStream
from ae_runtime.files.readers.arrow_rows import ArrowRows
from ae_runtime.files.readers.blocks import Block, Piece, SeriesCut, Stream, cut
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.parquet import ParquetStream
from ae_runtime.files.readers.partitions import Part, find_parts
from ae_runtime.files.readers.raw_bytes import fingerprint


class PartsStream(Stream):
    """The rows of all files of a data set, in the order of their names.

    What its folders are named for is a column of each row. Rows are counted over all files; what
    is wrong with one names the file, and counts there. Its positions say nothing.
    """

    series: SeriesCut | None = None

    def __init__(self, folder: Path, wanted: Wanted, id_column: str | None) -> None:
        self.path, self._wanted, self.id_name = folder, wanted, id_column
        self.rows: int = 0
        self.memory, self.notes = 0, []
        self._parts: list[tuple[Part, int]] = []  # with their rows
        marks = []
        for part in find_parts(folder):
            marks.append(f"{part.path.relative_to(folder)} {fingerprint(part.path)}")
            try:
                stream = self._open(part)
            except NoRows:
                continue
            with closing(stream):
                self._parts.append((part, stream.rows or 0))
                self.memory = max(self.memory, stream.memory)
                self.notes += [note for note in stream.notes if note not in self.notes]
                self.time_name = stream.time_name
                self.rows += stream.rows or 0
        if not self._parts:
            raise NoRows(f"{folder} holds no rows")
        self.fingerprint = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:32]

    def _open(self, part: Part) -> ArrowRows:
        is_parquet = part.path.suffix.lower() == ".parquet"
        kind = ParquetStream if is_parquet else IpcStream
        return kind(part.path, self._wanted, self.id_name, part.keys)

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Cut from the pieces of one file after the other."""
        return cut(self._pieces(size, first), size, first)

    def _pieces(self, size: int, first: int) -> Iterator[Piece]:
        end = 0
        for part, rows in self._parts:
            begin, end = end, end + rows
            if end <= first:
                continue
            name = part.path.relative_to(self.path)
            with closing(self._open(part)) as stream:
                for piece in stream.pieces(size, max(first - begin, 0)):
                    yield piece._replace(
                        bad={at: f"{name}: {why}" for at, why in piece.bad.items()}
                    )

    def close(self) -> None:
        """Each file is open only while it is read."""
