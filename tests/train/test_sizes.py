"""The latent size found by trying: a curve that falls, a choice that is enough, and a resume."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ae_runtime.errors import RunError
from ae_train import training
from ae_train.fit import sizes as sizes_module
from ae_train.fit.fitting import Fitting
from ae_train.fit.preparing import Prepared
from ae_train.fit.sizes import TRIED, is_enough
from ae_train.network.pca import default_latent_dim, fit_pca
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.schema import Size
from ae_train.training import train

Make = Callable[..., Recipe]


class Cut(BaseException):
    """What ends a training in its middle, like a kill."""


@pytest.fixture(scope="module")
def curved() -> np.ndarray:
    """(400, 8): two hidden numbers behind curves of which PCA needs more than two axes."""
    random = np.random.default_rng(0)
    u, v = random.uniform(-1, 1, (2, 400))
    curves = [u, v, np.sin(3 * u), np.sin(3 * v), u * u, v * v, u * v, np.cos(3 * u)]
    return np.stack(curves, 1) + 0.02 * random.standard_normal((400, 8))


@pytest.fixture(scope="module")
def recipe(small: Make) -> Recipe:
    fit = {"epochs": 60, "batch": 160, "lr": 3e-2}
    return small(latent_dim="auto", arch={"width": 32}, fit=fit)


@pytest.fixture(scope="module")
def auto(curved: np.ndarray, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(curved, recipe, tmp_path_factory.mktemp("auto") / "run")


def scaled(run: Run, x: np.ndarray) -> np.ndarray:
    rows = x[run.split.train]
    return (rows - rows.mean(0)) / rows.std(0)


def test_the_curve_falls_and_its_last_size_is_the_choice(auto: Run, curved: np.ndarray) -> None:
    curve = auto.schema.sizes
    assert curve is not None
    tried = [size.latent_dim for size in curve]
    assert tried == list(TRIED)[: len(tried)]
    assert len(tried) > 1
    for before, after in pairwise(curve):
        assert after.pca_mse < before.pca_mse
        assert after.mse < before.mse
    assert all(size.mse <= size.pca_mse * 1.05 for size in curve)  # the network is no worse
    assert auto.recipe.latent_dim == auto.schema.latent_dim == tried[-1]


def test_the_choice_leaves_a_tenth_and_the_one_before_leaves_more(
    auto: Run, curved: np.ndarray
) -> None:
    assert auto.schema.sizes is not None
    *_, before, last = auto.schema.sizes
    mean_mse = auto.schema.quality.mean_mse
    assert last.mse <= 0.1 * mean_mse < before.mse
    # PCA needs more: that is what the search is for.
    assert last.latent_dim < default_latent_dim(fit_pca(scaled(auto, curved)))
    assert auto.schema.quality.validation_mse <= last.mse  # with four times the epochs


def test_the_search_leaves_no_trace_in_the_training(
    auto: Run, curved: np.ndarray, recipe: Recipe
) -> None:
    given = train(curved, msgspec.structs.replace(recipe, latent_dim=auto.recipe.latent_dim))
    assert given.model_id == auto.model_id
    assert given.recipe == auto.recipe
    assert given.schema.sizes is None


def test_what_is_enough() -> None:
    assert is_enough(Size(3, 0.1, 0.5), 1.0)
    assert not is_enough(Size(3, 0.101, 0.5), 1.0)


def test_noise_ends_at_the_size_of_pca(small: Make) -> None:
    x = np.random.default_rng(0).standard_normal((100, 5))
    run = train(x, small(latent_dim="auto", fit={"epochs": 4}))
    assert run.schema.sizes is not None
    assert [size.latent_dim for size in run.schema.sizes] == [1, 2, 3, 4]
    assert run.recipe.latent_dim == default_latent_dim(fit_pca(scaled(run, x))) == 4


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cut_before(size: int, patch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that are tried from now on, until `size` would be."""
    tried: list[int] = []
    original = sizes_module._try

    def spy(recipe: Recipe, prepared: Prepared, latent_dim: int) -> Size:
        if latent_dim == size:
            raise Cut
        tried.append(latent_dim)
        return original(recipe, prepared, latent_dim)

    patch.setattr(sizes_module, "_try", spy)
    return tried


def test_a_resume_takes_the_curve_so_far(
    auto: Run, curved: np.ndarray, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        tried = cut_before(2, patch)
        with pytest.raises(Cut):
            train(curved, recipe, tmp_path / "run")
        assert tried == [1]
    with pytest.MonkeyPatch.context() as patch:
        tried = cut_before(0, patch)
        with pytest.raises(RunError) as caught:
            train(curved + 1, recipe, tmp_path / "run", resume=True)
        part = tmp_path / "run.part"
        assert str(caught.value) == (
            f"{part} was started on other data; start anew with --overwrite"
        )
        assert tried == []
        train(curved, recipe, tmp_path / "run", resume=True)
        assert auto.schema.sizes is not None
        assert tried == [size.latent_dim for size in auto.schema.sizes][1:]
    assert auto.folder is not None
    assert contents(tmp_path / "run") == contents(auto.folder)


def test_a_resume_of_the_training_itself_searches_no_more(
    auto: Run, curved: np.ndarray, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)

    def cut(epoch: object, pca_mse: float) -> None:
        if epoch.epoch == 30:
            raise Cut

    with pytest.raises(Cut):
        train(curved, recipe, tmp_path / "run", show=cut)
    tried = cut_before(0, monkeypatch)
    train(curved, recipe, tmp_path / "run", resume=True)
    assert tried == []
    assert auto.folder is not None
    assert contents(tmp_path / "run") == contents(auto.folder)


def test_an_interrupted_search_chooses_nothing(
    curved: np.ndarray, small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(latent_dim="auto", fit={"epochs": 8})
    loss = Fitting._loss
    steps = iter(range(10**6))

    def interrupted(self: Fitting, *pair: object) -> object:
        if next(steps) == 13:  # 5 an epoch, 2 epochs a size: in the second
            raise KeyboardInterrupt
        return loss(self, *pair)

    with monkeypatch.context() as patch:
        patch.setattr(Fitting, "_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(curved, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    said: list[str] = []
    run = train(curved, recipe, tmp_path / "run", resume=True, say=said.append)
    assert run.schema.sizes is not None
    assert said == [
        f"latent {size.latent_dim}: validation MSE {size.mse:.5f}, PCA {size.pca_mse:.5f}"
        for size in run.schema.sizes[1:]  # the first was tried before the interrupt
    ]
