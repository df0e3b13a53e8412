"""The rows of a training: where they come from, what kind they are, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.arrays import EXACT_INTEGERS
from ae_runtime.errors import DataError
from ae_runtime.manifest import Dtype
from ae_runtime.sources import first_infinity, read_source
from ae_train import extras
from ae_train.recipe import Data

Array = NDArray[Any]
Kind = Literal["table", "image"]
MIN_ROWS = 10


@dataclass(frozen=True)
class Dataset:
    """Rows ready for training, checked.

    x: (N, D) or (N, H, W) or (N, H, W, C), in one of the dtypes that a graph takes. columns:
    names of a table's columns, None for an array's. integer: (D,) bool for a table, which of its
    columns hold whole numbers, None for images. note: how the file was read, or "".
    """

    x: Array
    kind: Kind
    columns: list[str] | None = None
    integer: NDArray[np.bool_] | None = None
    note: str = ""

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.x.shape[1:]

    @property
    def numbers(self) -> int:
        """Numbers in a row."""
        return int(np.prod(self.row_shape))

    @property
    def dtype(self) -> Dtype:
        return self.x.dtype.name  # type: ignore[return-value]


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, in random order; validation is train where the recipe says so."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def load_dataset(source: str, kind: Kind | None) -> Dataset:
    """The rows named on the command line: a file, or the built-in "digits".

    Raises SourceNotFound or DataError.
    """
    if source == "digits" and not Path(source).exists():
        return make_dataset(load_digits(), kind)
    data = read_source(source)
    try:
        return make_dataset(data.array, kind, data.columns, data.integer, data.note)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def load_digits() -> NDArray[np.uint8]:
    """Return scikit-learn's handwritten digits: (1797, 8, 8) uint8, values 0 to 16."""
    datasets = extras.need("sklearn.datasets", "train")
    return datasets.load_digits().images.astype(np.uint8)


def make_dataset(
    x: ArrayLike,
    kind: Kind | None = None,
    columns: list[str] | None = None,
    integer: NDArray[np.bool_] | None = None,
    note: str = "",
) -> Dataset:
    """A checked dataset of rows x.

    Raises DataError for a shape or dtype that no kind takes, too few rows, infinities, and rows
    that are all the same.
    """
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise DataError(f"the data are not one array: {error}") from None
    if x.dtype.kind not in "biuf":
        raise DataError(f"the data hold {x.dtype} values; only numbers are taken")
    kind = _kind(x, kind)
    if len(x) < MIN_ROWS:
        rows = "row" if len(x) == 1 else "rows"
        raise DataError(f"{len(x)} {rows} found; training needs at least {MIN_ROWS}")
    if 0 in x.shape:
        raise DataError(f"the data have shape {x.shape}; there is nothing to learn from")
    if kind == "table" and integer is None:
        integer = np.full(x.shape[1], x.dtype.kind in "biu")
    x = _in_graph_dtype(x)
    infinite = first_infinity(x)
    if infinite:
        row, at = infinite
        name = repr(columns[at]) if columns else at + 1
        raise DataError(
            f"row {row + 1}, column {name} is infinite; correct it, or write NaN for missing"
        )
    if _is_constant(x):
        raise DataError("all rows are the same; there is nothing to learn from")
    return Dataset(x, kind, columns, integer, note)


def _kind(x: Array, wanted: Kind | None) -> Kind:
    image = x.dtype == np.uint8 and x.ndim in (3, 4)
    kind: Kind = wanted or ("image" if image else "table")
    if kind == "image" and not image:
        raise DataError(
            f"images are uint8 arrays (N, H, W) or (N, H, W, C), the data are {x.dtype} {x.shape}"
        )
    if kind == "table" and x.ndim != 2:
        raise DataError(
            f"a table is an array (N, D), the data are {x.dtype} {x.shape}; "
            "reshape them to 2 axes, or bring images as uint8"
        )
    return kind


def _in_graph_dtype(x: Array) -> Array:
    """Return x as uint8, float32 or float64, whichever holds its values without loss."""
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    if x.dtype == np.bool_:
        return x.astype(np.uint8)
    if x.dtype == np.float16:
        return x.astype(np.float32)
    if x.dtype in (np.uint8, np.float32):
        return x
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        limit = EXACT_INTEGERS["float64"]
        if int(x.max()) > limit or int(x.min()) < -limit:
            raise DataError(f"integers beyond {limit} lose digits as float64; subtract an offset")
    return np.asarray(x, np.float64)


def _is_constant(x: Array) -> bool:
    """Whether no column holds two different values, missing ones aside."""
    if x.dtype.kind != "f":
        return bool(np.all(x == x[0]))
    flat = x.reshape(len(x), -1)
    low = np.fmin.reduce(flat, axis=0)
    return bool(np.all((low == np.fmax.reduce(flat, axis=0)) | np.isnan(low)))


def split_rows(rows: int, recipe: Data, seed: int) -> Split:
    """A random split of `rows` rows; the same for the same arguments, whatever the data.

    Raises DataError if a part would be left without rows.
    """
    order = np.random.default_rng(seed).permutation(rows)
    test = round(rows * recipe.test)
    if recipe.validation == "train":
        train = validation = order[test:]
    else:
        held = max(1, round(rows * recipe.validation))
        validation, train = order[test : test + held], order[test + held :]
    if len(train) < 2:
        raise DataError(
            f"{rows} rows with validation = {recipe.validation} and test = {recipe.test} leave "
            f"{len(train)} to train on; hold out less"
        )
    return Split(train, validation, order[:test])
