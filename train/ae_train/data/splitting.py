"""Splits of rows: those to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Array, Dataset, Split
from ae_train.data.series import split_series
from ae_train.recipe import Data

# Bytes in scaled space of each held-out part: as many as are evaluated in some seconds.
MAX_HELD_BYTES = 1 << 27


def split_data(data: Dataset, recipe: Data, seed: int) -> Split:
    """The caller's split, or one by the recipe; the same for the same arguments.

    Windows of series are split in time, rows with a group by their groups, all others at random.
    Raises DataError if a part would be left without rows.
    """
    if data.split is not None:
        split = data.split
    elif isinstance(data.parts[0], Windows):
        share = 0.0 if recipe.validation == "train" else recipe.validation
        train, validation, test = split_series(data.parts[0], share, recipe.test)
        split = Split(train, train if recipe.validation == "train" else validation, test)
    elif data.groups is not None:
        split = split_groups(data.groups, recipe, seed)
    else:
        most = max(1, MAX_HELD_BYTES // (4 * data.form.numbers))
        split = split_rows(len(data), recipe, seed, most)
    _check(split, len(data), recipe)
    return split


def split_rows(rows: int, recipe: Data, seed: int, most: int = 1 << 62) -> Split:
    """A random split of `rows` rows, at most `most` of them in each held-out part."""
    order = np.random.default_rng(seed).permutation(rows)
    test = min(round(rows * recipe.test), most)
    if recipe.validation == "train":
        return Split(order[test:], order[test:], order[:test])
    held = min(max(1, round(rows * recipe.validation)), most)
    return Split(order[test + held :], order[test : test + held], order[:test])


def hold_out_last(lengths: Sequence[int], held: int, recipe: Data, seed: int) -> Split | None:
    """The split that validates on the last `held` of several sources; None if `held` is 0.

    lengths: rows of each source.
    """
    if not held:
        return None
    known = sum(lengths[:-held])
    order = np.random.default_rng(seed).permutation(known)
    test = round(known * recipe.test)
    return Split(order[test:], np.arange(known, sum(lengths)), order[:test])


def split_groups(groups: Array, recipe: Data, seed: int) -> Split:
    """A random split in which all rows of a group lie in the same part.

    Raises DataError for fewer groups than parts.
    """
    names, group = np.unique(groups.astype(str), return_inverse=True)
    parts = 1 + (recipe.validation != "train") + (recipe.test > 0)
    if len(names) < parts:
        raise DataError(
            f"split_by names a column with {len(names)} values; {parts} parts need as many"
        )
    of_groups = split_rows(len(names), recipe, seed)
    if recipe.test > 0 and not len(of_groups.test):  # few groups: at least one is held out
        of_groups = Split(of_groups.train[1:], of_groups.validation, of_groups.train[:1])

    def rows(chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        members = np.flatnonzero(np.isin(group, chosen))
        return np.random.default_rng(seed).permutation(members)

    train = rows(of_groups.train)
    validation = train if recipe.validation == "train" else rows(of_groups.validation)
    return Split(train, validation, rows(of_groups.test))


def _check(split: Split, rows: int, recipe: Data) -> None:
    if len(split.train) < 2:
        raise DataError(
            f"{rows} rows with validation = {recipe.validation} and test = {recipe.test} leave "
            f"{len(split.train)} to train on; hold out less"
        )
    if not len(split.validation):
        raise DataError("the split leaves no rows to validate on; hold out more")
