"""Arrays to data files, one sink per file type, block by block."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError

Array = NDArray[Any]
# What is written at once: (B, ...), or of mixed tables the columns (B,) by name.
Rows = Array | Mapping[str, Array]


@dataclass(frozen=True)
class Layout:
    """What the rows of an output are.

    member: the array's name in an .npz. columns: header of a CSV. integer: (D,) bool, columns that
    a CSV writes without a fraction. stamp: what an .npz carries beside the rows. words: whether
    rows are columns by name, some of which hold words.
    """

    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    member: str
    columns: list[str]
    integer: NDArray[np.bool_]
    stamp: dict[str, str] = field(default_factory=dict)
    words: bool = False


class Sink(Protocol):
    """A file that blocks of rows are appended to."""

    tables_only: ClassVar[bool]  # whether it holds (N, D) and nothing else
    holds_words: ClassVar[bool]

    def __init__(self, path: Path, layout: Layout, position: int) -> None: ...

    def write(self, block: Rows) -> None: ...

    def flush(self) -> int | None:
        """Put all rows so far on the disk; the byte to go on at later, None if it cannot."""

    def close(self) -> None: ...


class NpySink:
    """A .npy file: its header first, since the number of rows is known, then the rows."""

    tables_only: ClassVar[bool] = False
    holds_words: ClassVar[bool] = False

    def __init__(self, path: Path, layout: Layout, position: int) -> None:
        self.file = _open_at(path, position)
        if position == 0:
            header = {
                "descr": np.lib.format.dtype_to_descr(layout.dtype),
                "fortran_order": False,
                "shape": (layout.rows, *layout.row_shape),
            }
            np.lib.format.write_array_header_1_0(self.file, header)

    def write(self, block: Rows) -> None:
        self.file.write(np.ascontiguousarray(block).data)

    def flush(self) -> int:
        return _flush(self.file)

    def close(self) -> None:
        self.file.close()


class CsvSink:
    """A .csv file with a header; floats in the fewest digits that read back as the same number."""

    tables_only: ClassVar[bool] = True
    holds_words: ClassVar[bool] = True

    def __init__(self, path: Path, layout: Layout, position: int) -> None:
        self.integer = layout.integer
        self.file = _open_at(path, position)
        if position == 0:
            names = [_quoted(name) for name in layout.columns]
            self.file.write((",".join(names) + "\n").encode())

    def write(self, block: Rows) -> None:
        rows = self._text_of(block) if isinstance(block, np.ndarray) else self._columns(block)
        self.file.writelines((",".join(row) + "\n").encode() for row in rows)

    def _text_of(self, block: Array) -> list[list[str]]:
        text = block.astype(str)
        if block.dtype.kind == "f" and self.integer.any():
            text = text.astype(object)  # 1e40 as a whole number is longer than any float's text
            for column in np.flatnonzero(self.integer):
                text[:, column] = [f"{value:.0f}" for value in block[:, column]]
        found: list[list[str]] = text.tolist()
        return found

    def _columns(self, block: Mapping[str, Array]) -> list[tuple[str, ...]]:
        columns = []
        for values, whole in zip(block.values(), self.integer, strict=True):
            if values.dtype == object:
                columns.append([_quoted(word or "") for word in values])
            else:
                text = [f"{value:.0f}" for value in values] if whole else values.astype(str)
                columns.append(list(text))
        return list(zip(*columns, strict=True))

    def flush(self) -> int:
        return _flush(self.file)

    def close(self) -> None:
        self.file.close()


class NpzSink:
    """An .npz file with the rows and their stamp; kept in memory until it is closed."""

    tables_only: ClassVar[bool] = False
    holds_words: ClassVar[bool] = False

    def __init__(self, path: Path, layout: Layout, position: int) -> None:
        self.path, self.layout = path, layout
        self.blocks: list[Rows] = []

    def write(self, block: Rows) -> None:
        self.blocks.append(block)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        layout = self.layout
        empty = np.empty((0, *layout.row_shape), layout.dtype)
        rows = np.concatenate([empty, *self.blocks])
        stamp = {name: np.array(value) for name, value in layout.stamp.items()}
        with self.path.open("wb") as file:
            np.savez(file, **{layout.member: rows}, **stamp)  # type: ignore[arg-type]


# A new output format is one sink and its line here; its reader goes into sources.py.
SINKS: dict[str, type[Sink]] = {
    ".npy": NpySink,
    ".npz": NpzSink,
    ".csv": CsvSink,
}


def sink_for(out: Path) -> type[Sink]:
    """The sink of out's file type. Raises DataError for a type that is not known."""
    sink = SINKS.get(out.suffix.lower())
    if sink is None:
        found = out.suffix or "no file extension"
        raise DataError(f"{out}: {found} cannot be written; known types: {', '.join(SINKS)}")
    return sink


def check_layout(out: Path, layout: Layout) -> None:
    """Raise DataError if out's file type cannot hold such rows."""
    if layout.words and not sink_for(out).holds_words:
        kinds = ", ".join(name for name, sink in SINKS.items() if sink.holds_words)
        raise DataError(f"{out}: a {out.suffix} holds no words; write {kinds}")
    if sink_for(out).tables_only and len(layout.row_shape) != 1:
        shape = (layout.rows, *layout.row_shape)
        raise DataError(f"{out}: a {out.suffix} holds (N, D), not {shape}; write .npy or .npz")


def _open_at(path: Path, position: int) -> BinaryIO:
    """The file cut at `position` and opened to go on from there; a new one at 0."""
    if position == 0:
        return path.open("wb")
    file = path.open("r+b")
    file.truncate(position)
    file.seek(position)
    return file


def _flush(file: BinaryIO) -> int:
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\n\r') else name
