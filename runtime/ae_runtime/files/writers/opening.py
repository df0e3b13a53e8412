"""The types of files that rows are written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from ae_runtime.errors import DataError
from ae_runtime.files.writers.csv import CsvSink
from ae_runtime.files.writers.layout import Chunk, Layout
from ae_runtime.files.writers.npy import NpySink
from ae_runtime.files.writers.npz import NpzSink
from ae_runtime.files.writers.parquet import ParquetSink


class Sink(Protocol):
    """A file that chunks of rows are appended to, in an open part.

    The part may be cut after any chunk and gone on with: what a sink knows is in the file.
    """

    tables_only: ClassVar[bool]  # whether it holds (N, D) and nothing else
    holds_words: ClassVar[bool]
    holds_ids: ClassVar[bool]
    stamps_itself: ClassVar[bool]  # whether the stamp lies in the file
    packs: ClassVar[bool]  # whether `finish` writes the file anew, from the part

    def __init__(self, file: BinaryIO, layout: Layout, fresh: bool) -> None: ...

    def write(self, chunk: Chunk) -> None: ...

    def finish(self, rows: int, stamp: Mapping[str, Any], part: Path, packed: Path) -> None:
        """Complete the part, which holds `rows` rows; a sink that packs writes `packed`."""


# A new output format is one sink and its line here; its reader goes into readers/opening.py.
SINKS: dict[str, type[Sink]] = {
    ".npy": NpySink,
    ".npz": NpzSink,
    ".csv": CsvSink,
    ".parquet": ParquetSink,
}


def sink_for(out: Path) -> type[Sink]:
    """The sink of out's file type. Raises DataError for a type that is not known."""
    sink = SINKS.get(out.suffix.lower())
    if sink is None:
        found = out.suffix or "no file extension"
        raise DataError(f"{out}: {found} cannot be written; known types: {', '.join(SINKS)}")
    return sink


def check_layout(out: Path, layout: Layout, suffix: str = "") -> None:
    """Raise DataError if out's file type cannot hold such rows. suffix: of an out without one."""
    suffix = (suffix or out.suffix).lower()
    sink = SINKS[suffix]
    if layout.words and not sink.holds_words:
        raise DataError(f"{out}: a {suffix} holds no words; write {_those('holds_words')}")
    if sink.tables_only and len(layout.row_shape) != 1:
        shape = "(" + ", ".join(["N", *map(str, layout.row_shape)]) + ")"
        raise DataError(f"{out}: a {suffix} holds (N, D), not {shape}; write .npy or .npz")
    if layout.id_name is not None and not sink.holds_ids:
        raise DataError(
            f"{out}: a {suffix} holds no ids; write {_those('holds_ids')}, or leave --id away"
        )
    if sink.tables_only:
        names = layout.header
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{out}: two columns would be called {name!r}; rename the ids")


def _those(property_: str) -> str:
    return ", ".join(name for name, sink in SINKS.items() if getattr(sink, property_))
