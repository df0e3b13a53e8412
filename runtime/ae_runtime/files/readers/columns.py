"""Which columns of a file a bundle takes, and how they become the arrays of its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Manifest, Port, Reading, Series
from ae_runtime.errors import DataError, ShapeMismatch
from ae_runtime.files.readers.blocks import drop_infinite
from ae_runtime.model.arrays import checked, fit_integers
from ae_runtime.tables.categories import UnknownCategories, is_numbers, to_text, truth_as_digits
from ae_runtime.tables.missing import as_missing
from ae_runtime.tables.table import Table, numbered, to_blocks, to_numbers
from ae_runtime.tables.times import calendar, plain_dates, time_kind

Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """The columns that are taken from a file.

    port: that of the array, x_num's for a mixed table. what: its name in messages, x or z. names:
    those of its columns, None to take them by position. columns: those of a table with categories
    or dates, None for plain numbers. mixed: whether rows are numbers and categories in two arrays.
    window: T of a series, whose rows are time steps here. time: the column of their times, if the
    file has it. resized: whether images are brought to the port's size. exact: whether values are
    kept as the file has them, infinite ones and any dtype too, rather than checked for a graph.
    reading: how the data are written, as far as that is known. seen: where to gather the categories
    of each column, by its place. unknown: where to count categories that the model does not know,
    None to ignore them. kind: the bundle's kind of data. joins_windows: whether windows of a series
    are joined to time steps again, so that none may be left out. stride: time steps from one window
    to the next by default, None for the window's length. time_step: the usual time from row to row
    in training, None where it varies or is unknown. keys: columns that the folders of the file are
    named for, each with its one value, None where it is missing.
    """

    port: Port
    what: str
    names: list[str] | None
    columns: list[Column] | None = None
    mixed: bool = False
    window: int | None = None
    time: str | None = None
    resized: bool = False
    exact: bool = False
    reading: Reading = field(default_factory=Reading)
    seen: dict[int, set[str]] | None = None
    unknown: UnknownCategories | None = None
    kind: str = "table"
    joins_windows: bool = False
    stride: int | None = None
    time_step: float | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def step(self) -> Port:
        """The port of one time step of a series; of other data, that of a row."""
        if self.window is None:
            return self.port
        return Port(self.port.name, self.port.dtype, [None, *self.port.row_shape[1:]])


def latent_columns(manifest: Manifest, keep: int | None = None) -> Wanted:
    """The columns that the decoder takes. keep: the length of a prefix of ordered latents."""
    port = manifest.latent.port
    return Wanted(Port("z", port.dtype, [None, keep]) if keep else port, "z", None)


def row_columns(manifest: Manifest) -> Wanted:
    """The columns that the encoder takes."""
    port, columns = manifest.inputs[0], manifest.columns or []
    reading, kind = manifest.reading or Reading(), manifest.kind
    if any(column.levels or column.type == "date" for column in columns):
        numbers = [column.name for column in columns if not column.levels]
        names = [name for name in numbers if name is not None]
        known = names if len(names) == len(numbers) else None
        unknown, mixed = UnknownCategories(columns), manifest.is_mixed
        return Wanted(port, "x", known, columns, mixed, reading=reading, unknown=unknown, kind=kind)
    if kind == "series":
        series = manifest.series or Series()
        return Wanted(
            port,
            "x",
            series.channels,
            window=port.row_shape[0],
            time=series.time,
            reading=reading,
            kind=kind,
            time_step=series.step,
        )
    return Wanted(
        port, "x", manifest.column_names, resized=manifest.resized, reading=reading, kind=kind
    )


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name at the beginning of a DataError."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


@dataclass(frozen=True)
class Choice:
    """Places in a file of the columns that the bundle takes, in its order, of ids and of times."""

    columns: list[int]
    ids: int | None
    left_out: list[str]
    times: int | None = None

    @property
    def notes(self) -> list[str]:
        if not self.left_out:
            return []
        more = f" and {len(self.left_out) - 5} more" if len(self.left_out) > 5 else ""
        shown = ", ".join(name or "one without a name" for name in self.left_out[:5])
        return [f"columns not in the model are left out: {shown}{more}"]


def choose(
    wanted: Wanted, path: Path, names: list[str], named_file: bool, id_column: str | None
) -> Choice:
    """The columns that are taken from a file with these names.

    named_file: whether the file itself has names; if not, they are "1", "2", ... Raises DataError
    for columns that the file lacks, ShapeMismatch where they are taken by position and do not fit.
    """
    ids = None
    if id_column is not None:
        if id_column not in names:
            raise DataError(
                f"{path} holds no column {id_column!r} for ids; it holds {', '.join(names[:5])}"
                + (", ..." if len(names) > 5 else "")
            )
        ids = names.index(id_column)
    if wanted.columns is not None:
        return _choose_mixed(wanted.columns, path, names, named_file, ids)
    by_name = _names_for(wanted, names, id_column) if named_file else None
    if by_name is None:
        places = [at for at in range(len(names)) if at != ids]
        row = wanted.step.row_shape
        if row != (len(places),):
            axes = ", ".join(["B", *map(str, row)])
            raise ShapeMismatch(
                f"{path}: {wanted.what} has shape (N, {len(places)}), the bundle wants ({axes})"
            )
        return Choice(places, ids, [])
    missing = [name for name in by_name if name not in names]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the model's columns: {', '.join(missing[:5])}"
        )
    left_out = [name for name in names if name not in {*by_name, id_column, wanted.time}]
    times = names.index(wanted.time) if wanted.time in names else None
    return Choice([names.index(name) for name in by_name], ids, left_out, times)


def _names_for(wanted: Wanted, names: list[str], id_column: str | None) -> list[str] | None:
    if wanted.names is None and wanted.what == "x":
        return numbered([name for name in names if name != id_column])
    if wanted.what == "z":  # the names that encode gives to latents beside a column of ids
        latents = [f"z{at}" for at in range(wanted.port.row_shape[0])]
        return latents if set(latents) <= set(names) else None
    return wanted.names


def known_names(wanted: Wanted) -> list[str]:
    """The names of columns that a file must have, as far as they are known."""
    if wanted.columns is None:
        return wanted.names or []
    return [column.name for column in wanted.columns if column.name is not None]


def _choose_mixed(
    columns: list[Column], path: Path, names: list[str], named_file: bool, ids: int | None
) -> Choice:
    by_name = named_file and all(column.name is not None for column in columns)
    known = names if by_name else [name for at, name in enumerate(names) if at != ids]
    table = Table({name: np.empty(0) for name in known}, named_file)
    with named(path):
        to_blocks(table, columns)  # raises for missing columns
    if not by_name:
        return Choice([names.index(name) for name in known], ids, [])
    chosen = {column.name for column in columns}
    left_out = [name for at, name in enumerate(names) if name not in chosen and at != ids]
    return Choice([names.index(column.name) for column in columns if column.name], ids, left_out)


def settle_numbers(
    wanted: Wanted, path: Path, x: Array, first: int, bad: dict[int, str]
) -> tuple[tuple[Array, ...], dict[int, str]]:
    """((x,), bad): numbers (B, D) of a table or series as the graph takes them.

    first: number of the first row in the input. bad: with the rows that cannot be used.
    """
    if not wanted.exact:
        bad = drop_infinite(x, first, wanted.names, bad)
    x = as_missing(x, wanted.reading)
    x, bad = fit_integers(x, wanted.port, first, wanted.names, bad)
    with named(path):
        checked(x, wanted.step, wanted.what)
    return (x,), bad


def settle_times(
    values: Array, name: str, first: int, bad: dict[int, str]
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(times, bad): times (B,) of rows, NaN where one is missing or cannot be read."""
    if is_numbers(values):
        return calendar(np.asarray(values, np.float64)), bad
    plain = plain_dates(values)
    if plain is not None:
        return plain, bad
    times, wrong = numbers_of_text(values, time_kind(values), name, first)
    times[list(wrong)] = np.nan
    return calendar(times), wrong | bad


def settle_columns(
    wanted: Wanted,
    names: Sequence[str],
    columns: Sequence[Column],
    values: Sequence[Array],
    first: int,
    bad: dict[int, str],
) -> tuple[tuple[Array, ...], dict[int, str]]:
    """(arrays, bad): columns (B,) of numbers or categories as the graph takes them.

    names, columns, values: those of the columns that are wanted, in the bundle's order.
    """
    table: dict[str, Array] = {}
    for at, (name, column, cells) in enumerate(zip(names, columns, values, strict=True)):
        if not column.levels and not is_numbers(cells):
            cells = truth_as_digits(cells) if column.type == "number" else cells
            cells, wrong = numbers_of_text(cells, column.type, name, first)
            bad = wrong | bad
        elif wanted.seen is not None and column.levels:
            wanted.seen.setdefault(at, set()).update(text for text in to_text(cells) if text)
        table[name] = cells
    unknown = None if wanted.exact else wanted.unknown
    types = {name: column.type for name, column in zip(names, columns, strict=True)}
    numbers, codes = to_blocks(Table(table, named=False, types=types), columns, unknown)
    numbers = as_missing(numbers, wanted.reading)
    for at in bad:
        numbers[at], codes[at] = 0, -1
    if not wanted.exact:
        bad = drop_infinite(numbers, first, wanted.names, bad)
    else:  # infinite numbers are kept, but an infinite date could not be written again
        columns = [column for column in columns if not column.levels]
        dates = [at for at, column in enumerate(columns) if column.type == "date"]
        names = [columns[at].name or str(at + 1) for at in dates]
        bad = drop_infinite(numbers[:, dates], first, names, bad)
    return (numbers, codes) if wanted.mixed else (numbers,), bad


def numbers_of_text(
    texts: Array, kind: str, name: str, first: int
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """(numbers, bad): numbers or dates (B,) that are written as text; 0 where one is not."""
    try:
        return to_numbers(texts, kind, name), {}
    except DataError:
        pass
    numbers, bad = np.zeros(len(texts)), {}
    known: dict[str | None, tuple[float, str]] = {}
    for at, text in enumerate(texts):
        if text not in known:
            try:
                known[text] = float(to_numbers(texts[at : at + 1], kind, name)[0]), ""
            except DataError as error:
                known[text] = 0.0, str(error).removeprefix("row 1, ")
        numbers[at], why = known[text]
        if why:
            bad[at] = f"row {first + at + 1}, {why}"
    return numbers, bad
