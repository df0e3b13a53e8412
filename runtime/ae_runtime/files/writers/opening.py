"""The types of files that rows are written to."""

from __future__ import annotations

from pathlib import Path

from ae_runtime.errors import DataError
from ae_runtime.files.writers.csv import CsvWriter
from ae_runtime.files.writers.layout import Layout, Writer
from ae_runtime.files.writers.npy import NpyWriter
from ae_runtime.files.writers.npz import NpzWriter
from ae_runtime.files.writers.parquet import ParquetWriter

# A new output format is one writer and its line here; its reader, a line of FORMATS in
# readers/formats.py.
WRITERS: dict[str, type[Writer]] = {
    ".npy": NpyWriter,
    ".npz": NpzWriter,
    ".csv": CsvWriter,
    ".parquet": ParquetWriter,
}


def writer_for(out: Path) -> type[Writer]:
    """The writer of out's file type. Raises DataError for a type that is not known."""
    writer = WRITERS.get(out.suffix.lower())
    if writer is None:
        found = out.suffix or "no file extension"
        raise DataError(f"{out}: {found} cannot be written; known types: {', '.join(WRITERS)}")
    return writer


def check_layout(out: Path, layout: Layout, suffix: str = "") -> None:
    """Raise DataError if out's file type cannot hold such rows. suffix: of an out without one."""
    suffix = (suffix or out.suffix).lower()
    writer = WRITERS[suffix]
    if layout.words and not writer.holds_words:
        raise DataError(f"{out}: a {suffix} holds no categories; write {_those('holds_words')}")
    if writer.tables_only and len(layout.row_shape) != 1:
        shape = "(" + ", ".join(["N", *map(str, layout.row_shape)]) + ")"
        raise DataError(f"{out}: a {suffix} holds (N, D), not {shape}; write .npy or .npz")
    if layout.id_name is not None and not writer.holds_ids:
        raise DataError(
            f"{out}: a {suffix} holds no ids; write {_those('holds_ids')}, or leave --id away"
        )
    if writer.tables_only:
        names = layout.header
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{out}: two columns would be called {name!r}; rename the ids")


def _those(property_: str) -> str:
    return ", ".join(name for name, writer in WRITERS.items() if getattr(writer, property_))
