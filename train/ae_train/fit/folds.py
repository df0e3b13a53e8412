"""Training rows held out in turn, where the validation rows are too few to tell."""

from __future__ import annotations

from collections.abc import Iterator
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
from ae_train.recipe import Resolved

Array = NDArray[Any]
FOLDS = 5
# Training rows at most: with more, a training takes minutes, and five more take too long.
MOST_ROWS = 20_000


def fold_gains(
    recipe: Resolved, prepared: Prepared, epochs: int
) -> Iterator[tuple[Array, Array, int]]:
    """Yield (gains over PCA, PCA's errors, rows) of each fold: sums of squares for each unit.

    A fold's network is trained for `epochs` on the other folds, beside PCA fitted to them, when the
    fold is asked for. No folds with more than MOST_ROWS rows, or fewer units than FOLDS.
    """
    train, rows = prepared.train, prepared.split.train
    units = units_of(prepared.data, rows)
    count = int(units.max()) + 1
    if not isinstance(train, HeldRows) or len(train) > MOST_ROWS or count < FOLDS:
        return
    folds = []
    for fold in range(FOLDS):
        held = units * FOLDS // count == fold
        fitted = ~held
        fitted[fitted] = ~sharing_steps(prepared.data, rows[fitted], rows[held])
        folds.append((fitted, held))
    if min(fitted.sum() for fitted, _ in folds) < max(2, recipe.latent_dim):
        return
    for fitted, held in folds:
        errors, pca = _fold(recipe, prepared, _picked(train, fitted), _picked(train, held), epochs)
        labels = units[held] - units[held].min()
        yield block_sums(pca - errors, labels), block_sums(pca, labels), int(held.sum())


def _fold(
    recipe: Resolved, prepared: Prepared, seen: HeldRows, unseen: HeldRows, epochs: int
) -> tuple[Array, Array]:
    """Squared errors of each unseen row, of the network and of PCA."""
    pca = fit_pca(seen.s.flatten(1).cpu().numpy(), recipe.latent_dim)
    part = replace(prepared, train=seen, sample=seen, validation=unseen, pca=pca)
    torch.manual_seed(recipe.seed)
    model, corrupt = build(recipe, part)
    Fitting(model, recipe.fit, seen, unseen, corrupt).advance(epochs)
    errors = evaluate(model, unseen).squares.numpy()
    return errors, pca_squares(pca, unseen, recipe.latent_dim)


def _picked(rows: HeldRows, which: Array) -> HeldRows:
    at = torch.from_numpy(np.flatnonzero(which)).to(rows.s.device)
    return HeldRows(rows.s[at], None if rows.present is None else rows.present[at])
