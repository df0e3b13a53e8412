"""Training rows held out in turn, to judge with where few validation rows are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_train.fit.blocks import block_sums, sharing_steps, units_of
from ae_train.fit.building import build
from ae_train.fit.evaluation import pca_squares
from ae_train.fit.fitting import Fitting, evaluate
from ae_train.fit.preparing import Prepared
from ae_train.fit.rows import HeldRows
from ae_train.network.pca import fit_pca
from ae_train.recipe import Recipe

Array = NDArray[Any]
FOLDS = 5
# Of training: past it a training takes minutes, and five more of them too long.
MOST_ROWS = 20_000


def fold_gains(recipe: Recipe, prepared: Prepared, epochs: int) -> tuple[Array, Array] | None:
    """(gains over PCA, PCA's errors) of each unit of training rows, as sums of squares.

    Of networks trained for `epochs` on the other folds, beside PCA fitted to them. None where
    there are too many rows, or too few units, for that.
    """
    train = prepared.train
    units = units_of(prepared.data, prepared.split.train)
    count = int(units.max()) + 1
    if not isinstance(train, HeldRows) or len(train) > MOST_ROWS or count < FOLDS:
        return None
    found = [
        _fold(recipe, prepared, train, units * FOLDS // count == fold, epochs)
        for fold in range(FOLDS)
    ]
    if any(part is None for part in found):
        return None
    errors, pca = np.zeros(len(train)), np.zeros(len(train))
    for held, ours, theirs in (part for part in found if part is not None):
        errors[held], pca[held] = ours, theirs
    gains = block_sums(pca - errors, units)
    return (gains, block_sums(pca, units)) if np.isfinite(gains).all() else None


def _fold(
    recipe: Recipe, prepared: Prepared, train: HeldRows, held: Array, epochs: int
) -> tuple[Array, Array, Array] | None:
    """Which rows are held out, and the squared errors of each, of the network and of PCA."""
    rows = prepared.split.train
    kept = ~held
    kept[kept] = ~sharing_steps(prepared.data, rows[kept], rows[held])
    assert isinstance(recipe.latent_dim, int)  # resolved
    if kept.sum() < max(2, recipe.latent_dim):
        return None
    seen, unseen = _picked(train, kept), _picked(train, held)
    pca = fit_pca(seen.s.flatten(1).cpu().numpy(), recipe.latent_dim)
    part = replace(prepared, train=seen, sample=seen, validation=unseen, pca=pca)
    torch.manual_seed(recipe.seed)
    model, corrupt = build(recipe, part)
    fitting = Fitting(model, recipe.fit, seen, unseen, corrupt)
    fitting.advance(epochs)
    errors = evaluate(model, unseen).squares.numpy()
    return held, errors, pca_squares(pca, unseen, recipe.latent_dim)


def _picked(rows: HeldRows, which: Array) -> HeldRows:
    at = torch.from_numpy(np.flatnonzero(which)).to(rows.s.device)
    present = None if rows.present is None else rows.present[at]
    return HeldRows(rows.s[at], present)
