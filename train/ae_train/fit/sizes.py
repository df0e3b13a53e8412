"""The search for a latent size: short trainings of growing size, until one leaves little."""

from __future__ import annotations

from collections.abc import Callable

import torch
from msgspec.structs import replace

from ae_train.fit.building import build, pca_may_stand_in
from ae_train.fit.chance import gain_of, is_beyond_chance
from ae_train.fit.evaluation import baseline_mse
from ae_train.fit.fitting import Fitting
from ae_train.fit.keeping import validation_sums
from ae_train.fit.preparing import Prepared
from ae_train.fit.resolving import resolve
from ae_train.network.pca import default_latent_dim
from ae_train.recipe import LEFT_OVER, Recipe
from ae_train.schema import Size

TRIED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_SHARE_OF_EPOCHS = 4


def find_sizes(
    recipe: Recipe,
    prepared: Prepared,
    known: list[Size],
    tried: Callable[[list[Size]], None],
) -> list[Size]:
    """The curve of validation error against latent size, PCA's beside it.

    Sizes grow until the error is at most 10 % of the mean's, or PCA's default size is reached:
    a network needs no more. known: points of an interrupted search, not tried again. tried: called
    with the curve so far after each training of a fourth of the epochs.
    """
    most = default_latent_dim(prepared.pca)
    mean_mse = baseline_mse(prepared.pca, prepared.validation, 0)
    sizes = list(known)
    for latent_dim in [size for size in TRIED if size < most] + [most]:
        if sizes and is_enough(sizes[-1], mean_mse):
            break
        if latent_dim <= max((size.latent_dim for size in sizes), default=0):
            continue
        sizes.append(_try(recipe, prepared, latent_dim))
        tried(sizes)
    return sizes


def is_enough(size: Size, mean_mse: float) -> bool:
    """Whether a network of this size leaves at most 10 % of the variance."""
    return size.mse <= LEFT_OVER * mean_mse


def _try(recipe: Recipe, prepared: Prepared, latent_dim: int) -> Size:
    settings = resolve(recipe, prepared, latent_dim)
    epochs = -(-settings.fit.epochs // _SHARE_OF_EPOCHS)
    settings = replace(settings, fit=replace(settings.fit, epochs=epochs))
    torch.manual_seed(recipe.seed)
    model, corrupt = build(settings, prepared)
    errors: list[float] = []
    fitting = Fitting(
        model, settings.fit, prepared.train, prepared.validation, corrupt, prepared.blocks
    )
    stopped = fitting.run(lambda epoch, _: errors.append(epoch.validation_mse))
    if stopped == "interrupt":  # a curve cut short would choose another size
        raise KeyboardInterrupt
    pca_mse = baseline_mse(prepared.pca, prepared.validation, latent_dim)
    mse = errors[fitting.state.best_epoch]
    if pca_may_stand_in(model, settings):  # a gain within chance counts as PCA
        sums = validation_sums(fitting.state, settings, prepared)
        gain = gain_of(*sums, len(prepared.validation))
        mse = pca_mse * (1 - gain.share) if is_beyond_chance(gain) else pca_mse
    return Size(latent_dim, mse, pca_mse)
