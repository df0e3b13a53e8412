"""A folder of Parquet or Arrow files as one table, with a column for what its folders are named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.readers.arrow_rows import ArrowRows
from ae_runtime.files.readers.blocks import Block, Piece, SeriesCut, Stream, cut
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.formats import FORMATS, suffix_of
from ae_runtime.files.readers.raw_bytes import fingerprint

MISSING = "__HIVE_DEFAULT_PARTITION__"  # what Hive, Spark and DuckDB call a missing value


@dataclass(frozen=True)
class Part:
    """A file of a data set. keys: the value of each column that its folders are named for."""

    path: Path
    keys: dict[str, str | None]


def find_parts(folder: Path) -> list[Part]:
    """The files of a data set in a folder, by name, without those that begin with a dot or _.

    Only folders that are named for a column, such as year=2026, are looked into. Raises DataError
    where the files are not all named for the same columns.
    """
    parts = _parts_in(folder, {})
    names = [list(part.keys) for part in parts]
    for part, keys in zip(parts, names, strict=True):
        if keys != names[0]:
            raise DataError(
                f"{folder}: {parts[0].path.parent} and {part.path.parent} are not named for the "
                "same columns; bring a folder of one data set"
            )
    return parts


def _parts_in(folder: Path, keys: dict[str, str | None]) -> list[Part]:
    parts = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        name, equals, value = path.name.partition("=")
        if path.is_dir() and equals and name:
            text = unquote(value)
            parts += _parts_in(path, keys | {unquote(name): None if text == MISSING else text})
        elif _is_part(path):
            parts.append(Part(path, keys))
    return parts


def _is_part(path: Path) -> bool:
    format = FORMATS.get(suffix_of(path))
    return format is not None and format.in_folders and path.is_file()


class PartsStream(Stream):
    """The rows of all files of a data set, in the order of their names.

    What its folders are named for is a column of each row. Rows are counted over all files, but
    errors name the file and count its rows. Blocks are found by their rows, without positions.
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
        wanted = replace(self._wanted, keys=part.keys)
        stream = FORMATS[suffix_of(part.path)].open(part.path, wanted, self.id_name, None)
        assert isinstance(stream, ArrowRows)  # only such formats are in folders
        return stream

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks cut from the pieces of one file after the other."""
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
