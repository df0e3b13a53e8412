"""Settings that a recipe leaves out, filled in from the data."""

from __future__ import annotations

from msgspec.structs import replace

from ae_runtime.errors import DataError, RecipeError
from ae_train.data.form import Form
from ae_train.fit.preparing import Prepared
from ae_train.network.arch import check_arch, default_arch
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.network.pca import default_latent_dim
from ae_train.recipe import (
    ARCH_SIZES,
    CORRUPTION,
    MAX_EPOCHS,
    MIN_EPOCHS,
    STEPS,
    Arch,
    Objective,
    Recipe,
    Resolved,
    as_resolved,
)


def fill_in(recipe: Recipe, prepared: Prepared) -> Recipe:
    """The recipe with left-out settings filled in, all but latent_dim = "auto".

    Raises DataError if the code would be larger than the data, RecipeError for choices that do
    not go together.
    """
    form = prepared.data.form
    corruption = recipe.corruption
    if corruption.name != "none" and corruption.amount is None:
        corruption = replace(corruption, amount=CORRUPTION)
    recipe = replace(
        recipe,
        data=replace(recipe.data, kind=form.kind, **_windows_of(prepared)),
        arch=_filled_arch(recipe.arch, form),
        corruption=corruption,
        fit=replace(
            recipe.fit, objective=_objective(recipe, form), epochs=_epochs(recipe, prepared)
        ),
    )
    if recipe.latent_dim == "auto":
        return recipe
    return resolve(recipe, prepared, recipe.latent_dim or default_latent_dim(prepared.pca))


def resolve(recipe: Recipe, prepared: Prepared, latent_dim: int) -> Resolved:
    """The recipe that fill_in gave, with this latent size.

    Raises DataError if the size is larger than the data, RecipeError if the bottleneck cannot.
    """
    numbers, rows = prepared.data.form.numbers, len(prepared.split.train)
    limit, what = min((numbers, "numbers of a row"), (rows, "training rows"))
    if latent_dim > limit:
        raise DataError(
            f"latent_dim = {latent_dim} is larger than the {limit} {what}; choose at most {limit}"
        )
    settings = recipe.bottleneck.settings(latent_dim)
    BOTTLENECKS[recipe.bottleneck.name](latent_dim, **settings)
    bottleneck = replace(recipe.bottleneck, **settings)
    return as_resolved(replace(recipe, latent_dim=latent_dim, bottleneck=bottleneck))


def _filled_arch(arch: Arch, form: Form) -> Arch:
    name = arch.name or default_arch(form)
    check_arch(name, form)
    sizes = ARCH_SIZES[name].items()
    left_out = {key: value for key, value in sizes if getattr(arch, key) is None}
    return replace(arch, name=name, **left_out)


def _epochs(recipe: Recipe, prepared: Prepared) -> int:
    if recipe.fit.epochs is not None:
        return recipe.fit.epochs
    steps = -(-len(prepared.split.train) // recipe.fit.batch)
    effort = BOTTLENECKS[recipe.bottleneck.name].effort
    return effort * max(MIN_EPOCHS, min(MAX_EPOCHS, -(-STEPS // steps)))


def _objective(recipe: Recipe, form: Form) -> Objective:
    objective = recipe.fit.objective or ("mixed" if form.is_mixed else "mse")
    if objective == "mixed" and not form.is_mixed:
        raise RecipeError(
            "[fit] objective = 'mixed' is for tables with categories, these rows are numbers; "
            "leave it out, or use 'mse'"
        )
    if form.is_mixed and objective in ("bce", "mae", "huber"):
        raise RecipeError(
            f"[fit] objective = {objective!r} is for numbers, this table has categories; "
            "leave it out, or use 'mixed' or 'mse'"
        )
    return objective


def _windows_of(prepared: Prepared) -> dict[str, int]:
    if prepared.data.stride is None:
        return {}
    return {"window": prepared.data.parts[0].shape[1], "stride": prepared.data.stride}
