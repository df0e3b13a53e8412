"""What a recipe leaves out, filled in from the data: the resolved recipe has no gaps."""

from __future__ import annotations

from msgspec.structs import replace

from ae_runtime.errors import DataError, RecipeError
from ae_train.data.form import Form
from ae_train.fit.corruption import DEFAULTS
from ae_train.fit.preparing import Prepared
from ae_train.network.arch import ARCHS, check_arch, default_arch
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.network.pca import default_latent_dim
from ae_train.recipe import Arch, Recipe

# Steps are what a training is made of: with fewer the errors of most tables still fall, and more
# take long on large data. Small data are seen at most 200 times.
STEPS, MIN_EPOCHS, MAX_EPOCHS = 12_000, 10, 200


def resolve(recipe: Recipe, prepared: Prepared) -> Recipe:
    """The recipe without gaps, but for latent_dim = "auto".

    Raises DataError if the code would be larger than the data, RecipeError for choices that do
    not go together.
    """
    form = prepared.data.form
    recipe = replace(
        recipe,
        latent_dim=recipe.latent_dim or default_latent_dim(prepared.pca),
        data=replace(recipe.data, kind=form.kind, **_windows_of(recipe, prepared)),
        arch=_resolved_arch(recipe, form),
        fit=replace(
            recipe.fit, objective=_objective(recipe, form), epochs=_epochs(recipe, prepared)
        ),
    )
    corruption = recipe.corruption
    if corruption.name != "none" and corruption.amount is None:
        corruption = replace(corruption, amount=DEFAULTS[corruption.name])
        recipe = replace(recipe, corruption=corruption)
    if recipe.latent_dim != "auto":
        recipe = with_latent_dim(recipe, prepared, recipe.latent_dim or 0)
    return recipe


def with_latent_dim(recipe: Recipe, prepared: Prepared, latent_dim: int) -> Recipe:
    """The recipe for a latent size. Raises DataError if that is larger than the data."""
    numbers, rows = prepared.data.form.numbers, len(prepared.split.train)
    limit, what = min((numbers, "numbers of a row"), (rows, "training rows"))
    if latent_dim > limit:
        raise DataError(
            f"latent_dim = {latent_dim} is larger than the {limit} {what}; choose at most {limit}"
        )
    settings = BOTTLENECKS[recipe.bottleneck.name].resolve(latent_dim, recipe.bottleneck)
    return replace(recipe, latent_dim=latent_dim, bottleneck=settings)


def _resolved_arch(recipe: Recipe, form: Form) -> Arch:
    name = recipe.arch.name or default_arch(form)
    check_arch(name, form)
    defaults = ARCHS[name].DEFAULTS.items()
    left_out = {key: value for key, value in defaults if getattr(recipe.arch, key) is None}
    return replace(recipe.arch, name=name, **left_out)


def _epochs(recipe: Recipe, prepared: Prepared) -> int:
    if recipe.fit.epochs is not None:
        return recipe.fit.epochs
    steps = -(-len(prepared.split.train) // recipe.fit.batch)
    effort = BOTTLENECKS[recipe.bottleneck.name].effort
    return effort * max(MIN_EPOCHS, min(MAX_EPOCHS, -(-STEPS // steps)))


def _objective(recipe: Recipe, form: Form) -> str:
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


def _windows_of(recipe: Recipe, prepared: Prepared) -> dict[str, int]:
    part = prepared.data.parts[0]
    if prepared.data.stride is None:
        return {}
    return {"window": part.shape[1], "stride": prepared.data.stride}
