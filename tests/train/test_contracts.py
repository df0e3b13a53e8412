"""What a new bottleneck or recipe key may rely on: the exported path is judged, and ids stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ae_train.network import bottleneck
from ae_train.network.bottleneck.plain import CodeSummary, Plain
from ae_train.network.pca import default_latent_dim, fit_pca
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

SMALL = {"latent_dim": 2, "arch": {"width": 8, "depth": 1}, "fit": {"epochs": 0}}


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.standard_normal((200, 3)) @ random.standard_normal((3, 6))


class Noisy(Plain):
    """Random while it is trained, the identity when it is used."""

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.randn_like(h)


def test_the_errors_are_those_of_the_path_that_is_exported(
    table: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(table, make_recipe(SMALL))
    monkeypatch.setitem(bottleneck.BOTTLENECKS, "plain", Noisy)
    noisy = train(table, make_recipe(SMALL))
    assert noisy.schema.quality == plain.schema.quality
    assert noisy.schema.quality.is_pca


class Halved(Plain):
    """Not the identity: a model with it does not start as PCA."""

    is_identity = False

    def encode(self, h: Tensor) -> Tensor:
        return h / 2


def test_a_model_that_does_not_start_as_pca_is_not_called_pca(
    table: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bottleneck.BOTTLENECKS, "plain", Halved)
    quality = train(table, make_recipe(SMALL)).schema.quality
    assert not quality.is_pca
    assert quality.validation_mse > 1.5 * quality.pca_mse  # half of each latent is lost


class Drums(Plain):
    """Says of itself what report and advice are to say."""

    def summary(
        self, usage: Mapping[str, Any], z_std: Sequence[float], least_std: float
    ) -> CodeSummary:
        why = "nobody hits it; try a stick"
        return CodeSummary("Two drums", [3.0, 4.0], "beats", [1], 5.0, "Seven beats a row.", why)


def test_a_bottleneck_speaks_for_itself(
    table: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(bottleneck.BOTTLENECKS, "plain", Drums)
    run = train(table, make_recipe(SMALL), tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Two drums stand for the 6 numbers of a row." in page
    assert "Seven beats a row. Unused, in orange: 2." in page
    assert "beats of each of 2 latents, 3 to 4; 1 unused" in page
    unused = "latent 2 is unused, 1 of 2: nobody hits it; try a stick, or --latent 1"
    assert unused in run.schema.advice


def test_an_id_does_not_change_with_what_the_toolkit_adds_later(
    table: np.ndarray, tmp_path: Path
) -> None:
    run = train(table, make_recipe(SMALL), tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.toml"
    text = recipe.read_text()
    assert "patience = 20" in text
    recipe.write_text(
        text.replace("patience = 20\n", "")
    )  # as if the key were younger than the run
    assert Run.load(tmp_path / "run").model_id == run.model_id


def test_ids_tell_models_apart(table: np.ndarray) -> None:
    ids = {train(table, make_recipe(SMALL)).model_id for _ in range(2)}
    assert len(ids) == 1
    others = [
        train(table + 1e-3, make_recipe(SMALL)),
        train(table, make_recipe(SMALL | {"latent_dim": 3})),
        train(table.astype(np.float32), make_recipe(SMALL)),
    ]
    assert len(ids | {run.model_id for run in others}) == 4


def test_the_default_latent_is_smaller_than_a_row() -> None:
    random = np.random.default_rng(0)
    for numbers in (2, 3, 5):
        pca = fit_pca(random.standard_normal((100, numbers)))
        assert default_latent_dim(pca) == numbers - 1  # independent columns need them all
    assert default_latent_dim(fit_pca(random.standard_normal((100, 1)))) == 1
