"""Going on from a run: its weights and scaling are kept, and what cannot be kept is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError, RecipeError, RunError
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.fit.fitting import Epoch
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]
LEAVE = "leave them as they were, or train anew, without init"


@pytest.fixture(scope="module")
def before(rows: np.ndarray, small: Make, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is better than PCA."""
    run = train(rows, small(fit={"epochs": 30}), tmp_path_factory.mktemp("before") / "run")
    assert not run.schema.quality.is_pca
    return run


@pytest.fixture(scope="module")
def as_pca(rows: np.ndarray, small: Make) -> Run:
    """A run that found nothing better than PCA."""
    run = train(rows, small(fit={"epochs": 0}))
    assert run.schema.quality.is_pca
    return run


def same(a: Run, b: Run, prefix: str = "") -> bool:
    left, right = a.model.state_dict(), b.model.state_dict()
    names = [name for name in left if name.startswith(prefix)]
    assert names
    return all(torch.equal(left[name], right[name]) for name in names)


@pytest.mark.parametrize("which", ["before", "as_pca"])
def test_without_epochs_the_run_is_the_old_one(
    request: pytest.FixtureRequest, small: Make, rows: np.ndarray, which: str
) -> None:
    old: Run = request.getfixturevalue(which)
    new = train(rows, small(fit={"epochs": 0}), init=old)
    assert same(old, new)
    assert new.model_id == old.model_id
    # The old one was judged with its choice among epochs; here there is one only.
    assert replace(new.schema.quality, gain=None) == replace(old.schema.quality, gain=None)
    x = torch.from_numpy(rows)
    assert torch.equal(new.model.encode(x), old.model.encode(x))


def test_it_starts_as_good_as_the_old_run_was(before: Run, rows: np.ndarray) -> None:
    shown: list[Epoch] = []
    train(rows, before.recipe, init=before, show=lambda epoch, _: shown.append(epoch))
    assert shown[0].epoch == 0
    assert shown[0].validation_mse == before.schema.quality.validation_mse
    assert shown[0].validation_mse < 0.98 * before.schema.quality.pca_mse


def test_new_rows_are_scaled_as_the_old_ones_were(
    before: Run, small: Make, rows: np.ndarray
) -> None:
    drifted = rows * 1.2 + 0.3
    new = train(drifted, small(fit={"epochs": 5}), init=before)
    assert same(before, new, "preprocess.")
    assert not same(before, new, "arch.")
    anew = train(drifted, small(fit={"epochs": 5}))
    assert not same(before, anew, "preprocess.")
    s = before.model.preprocess.scale_rows(torch.from_numpy(drifted[new.split.validation]))
    with torch.no_grad():
        old_mse = float((before.model.reconstruct_scaled(s) - s).square().mean())
    assert new.schema.quality.validation_mse < old_mse  # it learned of the drift


def test_the_recipe_is_the_old_one_unless_another_is_given(before: Run, rows: np.ndarray) -> None:
    assert train(rows, init=before).recipe == before.recipe


def test_a_folder_stands_for_its_run(before: Run, small: Make, rows: np.ndarray) -> None:
    assert before.folder is not None
    recipe = small(fit={"epochs": 2})
    by_folder = train(rows, recipe, init=before.folder)
    assert by_folder.model_id == train(rows, recipe, init=before).model_id
    with pytest.raises(RunError) as caught:
        train(rows, recipe, init=before.folder / "none")
    assert str(caught.value) == f"{before.folder / 'none'} does not exist"


def test_the_old_run_stays_as_it_was(before: Run, small: Make, rows: np.ndarray) -> None:
    weights = {name: value.clone() for name, value in before.model.state_dict().items()}
    train(rows + 0.1, small(fit={"epochs": 3}), init=before)
    assert all(
        torch.equal(value, weights[name]) for name, value in before.model.state_dict().items()
    )


def test_a_model_that_is_pca_can_learn_more(as_pca: Run, small: Make, rows: np.ndarray) -> None:
    run = train(rows, small(fit={"epochs": 30}), init=as_pca)
    assert not run.schema.quality.is_pca
    assert run.schema.quality.validation_mse < 0.98 * as_pca.schema.quality.validation_mse


@pytest.mark.parametrize(
    ("sections", "changed"),
    [
        ({"latent_dim": 3}, "latent_dim"),
        ({"latent_dim": "auto"}, "latent_dim"),
        ({"arch": {"width": 9}, "data": {"scaling": "robust"}}, "arch.width, data.scaling"),
        ({"bottleneck": {"name": "ordered"}}, "bottleneck.name"),
        ({"fit": {"objective": "huber"}}, "fit.objective"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_another_model_is_refused(
    before: Run, small: Make, rows: np.ndarray, sections: dict[str, object], changed: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        train(rows, small(**sections), init=before)
    assert str(caught.value) == f"the run to go on from has another {changed}; {LEAVE}"


def test_what_is_about_the_training_alone_may_change(
    before: Run, small: Make, rows: np.ndarray
) -> None:
    fit = {"epochs": 2, "lr": 1e-4, "batch": 32, "optimizer": "adadelta", "patience": 3}
    run = train(rows, small(fit=fit, seed=3, corruption={"name": "mask"}), init=before)
    assert run.recipe.fit.batch == 32


def test_other_rows_are_refused(before: Run, rows: np.ndarray) -> None:
    with pytest.raises(RecipeError) as caught:
        train(rows[:, :4].astype(np.float32), init=before)
    assert str(caught.value) == (
        "the run to go on from takes table rows of (5,) float64, the data are table rows of (4,) "
        "float32; train anew, without init"
    )


def words(levels: list[str]) -> Dataset:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 2))
    columns = [Column("a"), Column("b"), Column("c", "category", levels=levels)]
    return make_dataset(x, "table", columns, codes=(x[:, :1] > 0).astype(np.int32))


def test_a_run_on_words_goes_on_with_the_same_words(small: Make) -> None:
    old = train(words(["no", "yes"]), small())
    assert same(old, train(words(["no", "yes"]), small(fit={"epochs": 0}), init=old))


def test_categories_of_tables_keep_their_codes(small: Make) -> None:
    a = np.random.default_rng(0).standard_normal(60)
    table = {"a": a, "b": np.where(a > 0, "yes", "no")}
    old = train(table, small(latent_dim=1, fit={"epochs": 2}))
    none = small(latent_dim=1, fit={"epochs": 0})
    fewer = {"a": a[a < 0], "b": table["b"][a < 0]}
    swapped = {"a": a, "b": np.where(a > 1, "no", "yes")}  # the more frequent one is another
    for rows in (table, fewer, swapped):
        assert same(old, train(rows, none, init=old))
    with pytest.raises(DataError) as caught:
        train(table | {"c": a}, none, init=old)
    assert str(caught.value) == "x: the run to go on from has no column c; drop it"
