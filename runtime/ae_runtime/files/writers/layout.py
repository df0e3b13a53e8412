"""Layout of an output, and the chunks of rows that it is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Manifest
from ae_runtime.files.readers.blocks import SeriesCut
from ae_runtime.outputs import KEEP
from ae_runtime.tables.dates import date_kind

Array = NDArray[Any]
# Columns (B,) by name for mixed tables, else an array (B, ...).
Values = Array | Mapping[str, Array]
# What a column's numbers stand for: themselves, whole ones, or dates in seconds since 1970-01-01
# UTC, to the day, the second or finer; or words.
Kind = Literal["number", "whole", "day", "second", "moment", "word"]


class Chunk(NamedTuple):
    """Rows to be written: their values, what names each, and where each window starts."""

    values: Values
    ids: Array | None = None
    starts: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        values = self.values
        return len(next(iter(values.values())) if isinstance(values, Mapping) else values)


@dataclass(frozen=True)
class Layout:
    """Shape, types and names of the rows of an output.

    rows: None where only the end tells. member: the array's name in an .npz. columns: names of a
    table's columns, with their kinds. stamp: what the file says of itself. words: whether rows
    are columns by name, some of which hold words. id_name: the column of ids, None without ids.
    starts: whether each row is a window that has a start.
    """

    rows: int | None
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    member: str
    columns: list[str]
    kinds: list[Kind]
    stamp: dict[str, Any] = field(default_factory=dict)
    words: bool = False
    id_name: str | None = None
    starts: bool = False

    @property
    def header(self) -> list[str]:
        """The names of all columns of a table: ids and starts first."""
        ids = [] if self.id_name is None else [self.id_name]
        return [*ids, *(["start"] if self.starts else []), *self.columns]


class Writer:
    """A file that chunks of rows are appended to, in an open part.

    The part may be cut after any chunk and gone on with: what a writer knows is in the file.
    tables_only: whether it holds (N, D) and nothing else. stamps_itself: whether the stamp lies in
    the file. packs: whether `finish` writes the file anew, from the part.
    """

    tables_only: ClassVar[bool] = False
    holds_words: ClassVar[bool] = False
    holds_ids: ClassVar[bool] = False
    stamps_itself: ClassVar[bool] = False
    packs: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, layout: Layout, fresh: bool) -> None:
        """fresh: whether the part is empty."""
        self.file, self.layout = file, layout

    def write(self, chunk: Chunk) -> None:
        """Append the chunk."""
        raise NotImplementedError

    def finish(self, rows: int, stamp: Mapping[str, Any], part: Path, packed: Path) -> None:
        """Complete the part, which holds `rows` rows; a writer that packs writes `packed`."""


def layout_of_latents(
    manifest: Manifest, rows: int | None, series: SeriesCut | None, keep: int | None = None
) -> Layout:
    """Layout of latents of rows, or of windows that were cut from a series; `keep` of them."""
    dim = keep or manifest.latent.dim
    names = [f"z{at}" for at in range(dim)]
    stamp: dict[str, Any] = {"ae_toolkit": "z", "model_id": manifest.model_id}
    if keep is not None:
        stamp[KEEP] = keep
    kinds: list[Kind] = ["number"] * dim
    dtype, starts = np.dtype(np.float32), series is not None
    return Layout(rows, (dim,), dtype, "z", names, kinds, stamp, starts=starts)


def layout_of_rows(manifest: Manifest, rows: int | None, series: SeriesCut | None) -> Layout:
    """Layout of rows as the model takes them, or of time steps if windows were cut."""
    shape, dtype = manifest.outputs[0].row_shape, np.dtype(manifest.outputs[0].dtype)
    columns = manifest.columns or []
    names = [column.name or f"x{at}" for at, column in enumerate(columns)]
    kinds = [_kind(column) for column in columns]
    if series is not None:
        shape, rows = shape[1:], series.steps
        channels = manifest.series.channels if manifest.series else None
        names = channels or [f"x{at}" for at in range(shape[0])]
        kinds = ["number"] * len(names)
    stamp = {"ae_toolkit": "x_hat", "model_id": manifest.model_id}
    return Layout(rows, shape, dtype, "x_hat", names, kinds, stamp, words=manifest.is_mixed)


def _kind(column: Column) -> Kind:
    if column.levels:
        return "word"
    if column.type == "date":
        return date_kind(column)
    return "whole" if column.integer else "number"
