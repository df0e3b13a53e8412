"""The model that a training keeps: its network, or PCA of the same size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Gain
from ae_train.fit.blocks import MOST, block_sums, blocks_of
from ae_train.fit.building import bare_pca, pca_may_stand_in
from ae_train.fit.chance import EARLY, ROUNDING, gain_of, gains_of_best, is_beyond_chance
from ae_train.fit.evaluation import pca_squares
from ae_train.fit.fitting import Fitting, State
from ae_train.fit.folds import fold_gains
from ae_train.fit.preparing import Prepared
from ae_train.network.model import Model
from ae_train.recipe import Resolved

Array = NDArray[Any]


def model_to_keep(
    fitting: Fitting, recipe: Resolved, prepared: Prepared, may_fold: bool
) -> tuple[Model, Gain | None]:
    """(model, gain): the trained model if it is better than PCA beyond chance, else PCA.

    The trained model and None where PCA cannot stand in for it. may_fold: hold out training rows
    too, in turn, where validation rows are too few to tell.
    """
    if not pca_may_stand_in(fitting.model, recipe):
        return fitting.model, None
    sums, rows = validation_sums(fitting.state, recipe, prepared), len(prepared.validation)
    gain = gain_of(*sums, rows)
    unclear = gain.share > ROUNDING and not is_beyond_chance(gain)
    few = gain.blocks < MOST and recipe.data.validation != "train"
    if unclear and few and may_fold:
        folds = fold_gains(recipe, prepared, fitting.state.best_epoch)
        gain = gain_with_folds(*sums, rows, folds) or gain
    return fitting.model if is_beyond_chance(gain) else bare_pca(recipe, prepared), gain


def validation_sums(state: State, recipe: Resolved, prepared: Prepared) -> tuple[Array, Array]:
    """(gains, PCA's errors) of each block of validation rows, as sums of squares."""
    assert state.block_errors is not None  # kept from the start on
    squares = pca_squares(prepared.pca, prepared.validation, recipe.latent_dim)
    pca, errors = block_sums(squares, prepared.blocks), state.block_errors.numpy()
    if recipe.fit.keep == "last":
        return pca - errors[-1], pca
    return gains_of_best(errors, pca), pca


def gain_with_folds(
    gains: Array, pca: Array, rows: int, folds: Iterable[tuple[Array, Array, int]]
) -> Gain | None:
    """The gain over PCA on validation rows and on those of folds; None without folds.

    gains, pca: sums of squares for each block of the `rows` validation rows. folds: the same for
    each fold, trained when asked for, until the answer is clear: a gain beyond what one in a
    thousand choices of signs reaches (Haybittle 1971, Peto et al. 1976: looks as strict as that
    leave the level of the last one as it is), a loss on two folds, or a loss beyond chance on the
    first.
    """
    gain = None
    for count, (more_gains, more_pca, more_rows) in enumerate(folds, 1):
        gains, pca = np.concatenate([gains, more_gains]), np.concatenate([pca, more_pca])
        if not np.isfinite(gains).all():
            return None
        rows += more_rows
        blocks = blocks_of(np.arange(len(gains)))
        sums = block_sums(gains, blocks), block_sums(pca, blocks)
        gain = gain_of(*sums, rows, count)
        loss = gain_of(-sums[0], sums[1], rows)
        lost = gain.share <= 0 and (count > 1 or is_beyond_chance(loss))
        if lost or is_beyond_chance(gain_of(*sums, rows, count, EARLY)):
            break
    return gain
