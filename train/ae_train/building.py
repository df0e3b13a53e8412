"""From a resolved recipe and prepared rows to a model at its start."""

from __future__ import annotations

from ae_train.corruption import Corrupt, make_corruption
from ae_train.fitting import evaluate
from ae_train.judging import baseline_mse
from ae_train.model import Model
from ae_train.preparing import Prepared
from ae_train.recipe import Recipe
from ae_train.rows import HeldRows

# Of errors in float32: what is better by less is PCA computed otherwise.
_ROUNDING = 1e-6


def build(
    recipe: Recipe, prepared: Prepared, init: Model | None = None
) -> tuple[Model, Corrupt | None]:
    """The model before its first step, on the device of the rows, and what corrupts its input.

    It starts as PCA where it has a path for it, or with the weights of `init`. Raises DataError
    for rows that the objective is undefined on.
    """
    form = prepared.data.form
    model = Model(recipe, form)
    model.preprocess = prepared.preprocess
    _check_objective(model, prepared, recipe.data.scaling)
    model.objective.fit(prepared.sample.s.cpu())
    model.start_from(prepared.pca)
    if init is not None:
        # A model that is PCA has no networks: they start at zero.
        model.load_state_dict(init.state_dict(), strict=init.arch is not None)
    return model.to(prepared.sample.s.device), make_corruption(recipe.corruption, form)


def better_than_pca(model: Model, recipe: Recipe, prepared: Prepared) -> Model:
    """The model, or PCA of its size where that is as good on validation rows and may stand in.

    It may where the code is K free numbers and squared error is what counts.
    """
    free = model.bottleneck.is_identity and recipe.fit.objective == "mse"
    if not (free and recipe.arch.pca_path):
        return model
    assert isinstance(recipe.latent_dim, int)  # resolved
    pca_mse = baseline_mse(prepared.pca, prepared.validation, recipe.latent_dim)
    if evaluate(model, prepared.validation)[1] < pca_mse * (1 - _ROUNDING):
        return model
    bare = Model(recipe, prepared.data.form, networks=False)
    bare.preprocess = prepared.preprocess
    bare.start_from(prepared.pca)
    return bare.to(prepared.sample.s.device).eval()


def _check_objective(model: Model, prepared: Prepared, scaling: str) -> None:
    # With scaling = "range" held-out rows may lie past the training range: they are clamped.
    for rows in (
        (prepared.sample, prepared.validation) if scaling != "range" else (prepared.sample,)
    ):
        if isinstance(rows, HeldRows):
            model.objective.check(rows.s, scaling)
