"""Rows prepared for a model: split and scaled, with statistics and PCA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_train.data.dataset import IN_MEMORY_BYTES, Dataset, Split
from ae_train.data.splitting import split_data
from ae_train.fit.blocks import Labels, blocks_of, units_of
from ae_train.fit.rows import HeldRows, StreamedRows, held_rows, make_rows
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.pca import Pca, fit_pca
from ae_train.network.preprocess import LIMIT, Preprocess, Statistics, measure
from ae_train.recipe import Recipe

AnyPreprocess = Preprocess | MixedPreprocess
# Numbers of the training rows that statistics and PCA see where the rows are streamed.
SAMPLE_NUMBERS = 1 << 24
_EVALUATION_NUMBERS = 1 << 23  # numbers of held-out rows that are described by column, in float64


@dataclass(frozen=True)
class Prepared:
    """A dataset ready for a model.

    train, validation, test: rows in scaled space, on the device. sample: the training rows that
    statistics and PCA were taken from, all where they fit into memory. evaluation: held-out rows to
    describe the model on, test rows if there are any. evaluation_rows: their numbers in the
    dataset. blocks: the block of each validation row, in the order of `validation`.
    """

    data: Dataset
    split: Split
    statistics: Statistics
    preprocess: AnyPreprocess
    train: HeldRows | StreamedRows
    validation: HeldRows | StreamedRows
    test: HeldRows | StreamedRows
    sample: HeldRows
    evaluation: HeldRows
    evaluation_rows: NDArray[np.int64]
    pca: Pca
    blocks: Labels


def prepare(
    data: Dataset, recipe: Recipe, device: torch.device, preprocess: AnyPreprocess | None = None
) -> Prepared:
    """Split and scale the data, and fit PCA to the training rows.

    preprocess: scaling of an earlier run, kept as it is. Raises DataError for data that nothing
    can be learned from, and for scaled rows that the recipe's objective is undefined on.
    """
    split = split_data(data, recipe.data, recipe.seed)
    sample_rows = _sample(split.train, data)
    statistics = measure(data, sample_rows)
    if preprocess is None:
        preprocess = fit_preprocess(data, statistics, recipe)
    _check(data, statistics, preprocess, recipe.data.scaling)
    sample = held_rows(data, preprocess, sample_rows)
    at_least = recipe.latent_dim if isinstance(recipe.latent_dim, int) else 0
    pca = fit_pca(sample.s.flatten(1).numpy(), at_least)
    sample = sample.to(device)
    train: HeldRows | StreamedRows = sample
    if len(sample_rows) < len(split.train):
        train = make_rows(data, preprocess, split.train, device)
    held_out = split.test if len(split.test) else split.validation
    evaluation_rows = held_out[: max(1, _EVALUATION_NUMBERS // max(1, data.form.numbers))]
    validation = make_rows(data, preprocess, split.validation, device)
    validated = validation.rows if isinstance(validation, StreamedRows) else split.validation
    return Prepared(
        data=data,
        split=split,
        statistics=statistics,
        preprocess=preprocess,
        train=train,
        validation=validation,
        test=make_rows(data, preprocess, split.test, device),
        sample=sample,
        evaluation=held_rows(data, preprocess, evaluation_rows).to(device),
        evaluation_rows=evaluation_rows,
        pca=pca,
        blocks=blocks_of(units_of(data, validated)),
    )


def fit_preprocess(data: Dataset, statistics: Statistics, recipe: Recipe) -> AnyPreprocess:
    """Fit the scaling to statistics of the training rows."""
    scaling = recipe.data.scaling
    if not data.form.is_mixed:
        return Preprocess(data.form).fit(statistics, scaling, data.integer)
    mixed = MixedPreprocess(data.form)
    mixed.numbers.fit(statistics, scaling, data.integer)
    return mixed


def _sample(rows: NDArray[np.int64], data: Dataset) -> NDArray[np.int64]:
    """All rows if they are held in memory, some at random if they are streamed."""
    numbers = max(1, data.form.numbers)
    if len(rows) * numbers * 4 <= IN_MEMORY_BYTES:
        return rows
    count = max(2, SAMPLE_NUMBERS // numbers)
    chosen = np.random.default_rng(0).choice(len(rows), min(count, len(rows)), replace=False)
    return rows[np.sort(chosen)]


def _check(data: Dataset, statistics: Statistics, preprocess: AnyPreprocess, scaling: str) -> None:
    varies = (preprocess.numbers.gain > 0).numpy()
    if not varies.any() and not data.form.is_mixed:
        raise DataError("nothing varies over the training rows; there is nothing to learn from")
    largest = np.abs([statistics.min, statistics.max])[:, varies].max(initial=0)
    if scaling == "none" and largest > LIMIT:
        raise DataError(
            f"scaling = 'none' takes values up to {LIMIT:.0e}, the data hold {largest:.4g}; "
            "use scaling = 'standard'"
        )
