"""Datasets of what a user names on the command line: files, folders, built-in digits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError, NoRows
from ae_runtime.extras import need
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.files.readers.data_folder import find_parts
from ae_runtime.files.readers.formats import holds_columns, read_array, read_table
from ae_runtime.files.readers.image_folder import SUFFIXES as IMAGE_SUFFIXES
from ae_runtime.files.readers.image_folder import read_folder
from ae_runtime.tables.missing import without_missing
from ae_runtime.tables.table import Table
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset, Split, make_dataset
from ae_train.data.sentinels import sentinels
from ae_train.data.series import (
    Steps,
    cut_series,
    same_channels,
    split_series,
    steps_of,
    steps_of_array,
)
from ae_train.data.splitting import hold_out_last
from ae_train.data.tables import choose, dataset_of_tables, read_all, read_parts, read_present
from ae_train.recipe import Data, Recipe

Array = NDArray[Any]


def load(
    names: Sequence[str],
    recipe: Recipe,
    val: str | None = None,
    columns: list[Column] | None = None,
) -> Dataset:
    """The rows of one or more files, of a folder of images, or of the built-in "digits".

    val: a file of rows to validate on, in place of a share of the others. columns: those of
    an earlier run, whose categories keep their codes; None: inferred. Raises DataError that names
    the file, SourceNotFound, MissingExtra.
    """
    every = [*names, val] if val is not None else list(names)
    held = 0 if val is None else 1
    if all(map(_holds_columns, every)):
        if recipe.data.kind == "series":
            return _series_of_tables(every, held, recipe)
        tables, present = read_all(every, held, partial(_read_table, recipe.data))
        return dataset_of_tables(tables, present, recipe, held, columns)
    if any(map(_holds_columns, every)):
        raise DataError(f"{', '.join(every)}: tables and arrays do not go together")
    _no_columns(recipe.data, every[0])
    return _arrays(every, held, recipe)


def _holds_columns(name: str) -> bool:
    path = Path(name)
    if not path.is_dir():
        return holds_columns(path)
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.rglob("*")):
        return False  # there a table is about the images
    return bool(find_parts(path))


def _read_table(data: Data, name: str | Path, more: Collection[str] = ()) -> Table:
    """The columns of a file or folder, text read as the recipe says. Raises as read_table.

    more: columns whose text is kept as it is, beside those that the recipe names.
    """
    path = Path(name)
    if path.is_dir():
        return read_parts(path, partial(_read_table, data))
    told = Told(data.reading, data.header)
    text = [column for column, kind in data.types.items() if kind != "number"]
    return without_missing(read_table(path, told, [*text, *more]), data.reading)


def load_digits() -> NDArray[np.uint8]:
    """Scikit-learn's handwritten digits, (1797, 8, 8) uint8, 0..16."""
    images: Array = need("sklearn.datasets", "train").load_digits().images
    return images.astype(np.uint8)


def _arrays(names: list[str], held: int, recipe: Recipe) -> Dataset:
    """Images, windows, series or tables without names; the last `held` files to validate on."""
    kind, notes = recipe.data.kind, list[str]()
    parts, names, note = read_present(names, held, partial(_read_array, recipe.data, notes))
    notes += [note] if note else []
    if kind == "series" and all(part.ndim == 2 for part in parts):
        series = [steps_of_array(part, name) for part, name in zip(parts, names, strict=True)]
        return _series(series, held, recipe, notes)
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = ", ".join(f"{n}: {part.shape}" for n, part in zip(names, parts, strict=True))
        raise DataError(f"the files hold rows of different shapes ({shapes})")
    split = hold_out_last([len(part) for part in parts], held, recipe.data, recipe.seed)
    x = parts[0] if len(parts) == 1 else np.concatenate(parts)
    try:
        return make_dataset(x, kind, note="\n".join(notes), split=split)
    except DataError as error:
        raise DataError(f"{', '.join(names)}: {error}") from None


def _read_array(recipe: Data, notes: list[str], name: str) -> Array:
    """The rows of a file or a folder of images, or digits; adds to notes. Raises NoRows."""
    path = Path(name)
    if name == "digits" and not path.exists():
        return load_digits()
    if path.is_dir():
        size = (recipe.resize[0], recipe.resize[1]) if recipe.resize else None
        images, note = read_folder(path, size, recipe.unreadable)
        notes += [note] if note else []
        return images
    array = read_array(name)
    if not len(array):
        raise NoRows(f"{name} holds no rows")
    return array


def _series_of_tables(names: list[str], held: int, recipe: Recipe) -> Dataset:
    series = []
    tables, present, note = read_present(names, held, partial(_read_table, recipe.data))
    notes = [note] if note else []
    for table, name in zip(tables, present, strict=True):
        chosen = choose(table, recipe.data, name)
        steps = steps_of(table, chosen, recipe.data.drop or (), name)
        series.append(steps)
        notes += [chosen.note] if chosen.note else []
        notes += sentinels(list(zip(steps.channels or [], steps.values.T, strict=True)))
    return _series(series, held, recipe, notes)


def _series(series: list[Steps], held: int, recipe: Recipe, notes: list[str]) -> Dataset:
    """Series as windows; those of the last `held` files are validated on."""
    series = same_channels(series)
    windows, stride, step, note = cut_series(series, recipe.data)
    notes += [note] if note else []
    split = None
    if held:
        is_held = windows.index >= len(series) - held
        rows = np.flatnonzero(~is_held)
        index, starts = windows.index[rows], windows.starts[rows]
        train = Windows(windows.series, windows.window, index, starts, stride)
        learned, _, test = split_series(train, 0.0, recipe.data.test)
        split = Split(rows[learned], np.flatnonzero(is_held), rows[test])
    data = make_dataset(windows, "series", note="\n".join(notes), split=split)
    time = next((one.time for one in series if one.time is not None), None)
    return replace(data, channels=series[0].channels, stride=stride, time=time, step=step)


def _no_columns(recipe: Data, name: str) -> None:
    keys = ("columns", "drop", "id", "split_by", "header", "decimal", "thousands", "missing")
    options = [key for key in keys if getattr(recipe, key)]
    if options:
        raise DataError(
            f"{name} is an array, which has no named columns for {', '.join(options)}; slice it "
            "before, or bring a CSV or Parquet file"
        )
