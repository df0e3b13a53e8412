"""A model at its start, built from a resolved recipe and prepared rows."""

from __future__ import annotations

from ae_train.fit.corruption import Corrupt, make_corruption
from ae_train.fit.preparing import Prepared
from ae_train.fit.rows import HeldRows
from ae_train.network.model import Model
from ae_train.recipe import Resolved


def build(
    recipe: Resolved, prepared: Prepared, init: Model | None = None
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


def pca_may_stand_in(model: Model, recipe: Resolved) -> bool:
    """Whether PCA could replace the model: K free numbers, squared error, and a start as PCA."""
    free = model.bottleneck.is_identity and recipe.fit.objective == "mse"
    return free and recipe.arch.pca_path


def bare_pca(recipe: Resolved, prepared: Prepared) -> Model:
    """A model that is PCA, without networks."""
    bare = Model(recipe, prepared.data.form, networks=False)
    bare.preprocess = prepared.preprocess
    bare.start_from(prepared.pca)
    return bare.to(prepared.sample.s.device).eval()


def _check_objective(model: Model, prepared: Prepared, scaling: str) -> None:
    # With scaling = "range" held-out rows may lie past the training range: they are clamped.
    parts = (prepared.sample,) if scaling == "range" else (prepared.sample, prepared.validation)
    for rows in parts:
        if isinstance(rows, HeldRows):
            model.objective.check(rows.s, scaling)
