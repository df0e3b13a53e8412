"""Networks for images and series: any size, any channels, PCA at the start, rows on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ae_runtime.errors import RecipeError
from ae_train.data.form import Form, Kind
from ae_train.network.arch import default_arch
from ae_train.recipe import Recipe, make_recipe
from ae_train.training import train

SHAPES: list[tuple[Kind, tuple[int, ...]]] = [
    ("image", (16, 16)),
    ("image", (7, 5)),
    ("image", (6, 9, 3)),
    ("image", (1, 4)),
    ("series", (12, 2)),
    ("series", (9, 1)),
]


def rows_of(kind: Kind, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 3)) @ random.standard_normal((3, int(np.prod(shape))))
    x = x.reshape(60, *shape)
    return (40 * x + 128).clip(0, 255).astype(np.uint8) if kind == "image" else x


def recipe(kind: Kind, name: str, **fit: Any) -> Recipe:
    arch = {"name": name, "width": 4, "depth": 2}
    fields = {"latent_dim": 2, "data": {"kind": kind}, "arch": arch}
    return make_recipe({**fields, "fit": {"epochs": 2, **fit}})


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
@pytest.mark.parametrize("name", ["dense", "conv", "gru"])
def test_shapes_come_back_and_a_start_is_pca(name: str, kind: Kind, shape: tuple[int, ...]) -> None:
    x = rows_of(kind, shape)
    if name == "gru" and kind == "image":
        with pytest.raises(RecipeError) as error:
            train(x, recipe(kind, name))
        assert str(error.value) == (
            "[arch] name = 'gru' is for series rows, these are image rows; use 'dense'"
        )
        return
    run = train(x, recipe(kind, name, lr=1e-30, weight_decay=0.0, keep="last"))
    # No step has moved a weight, so the model is PCA still, and is saved as that.
    assert run.schema.quality.is_pca
    run = train(x, recipe(kind, name, lr=1e-2, epochs=8))
    with torch.no_grad():
        z = run.model.encode(torch.from_numpy(x))
        x_hat = run.model.decode(z)
        alone = torch.cat([run.model.encode(row) for row in torch.from_numpy(x).split(1)])
    assert isinstance(x_hat, torch.Tensor)
    assert (tuple(z.shape), tuple(x_hat.shape)) == ((60, 2), x.shape)
    assert x_hat.numpy().dtype == x.dtype
    torch.testing.assert_close(alone, z, atol=2e-5, rtol=1e-5)  # float32, other kernels


@pytest.mark.parametrize("name", ["conv", "gru"])
def test_networks_beat_pca_on_waves(name: str) -> None:
    random = np.random.default_rng(0)
    angle = random.uniform(0, 6.28, (400, 1)) + random.uniform(0.2, 0.6, (400, 1)) * np.arange(12)
    x = np.sin(angle)[:, :, None]
    fields = {"latent_dim": 2, "data": {"kind": "series"}, "arch": {"name": name, "width": 16}}
    quality = train(
        x, make_recipe({**fields, "fit": {"epochs": 30, "lr": 1e-2, "batch": 32}})
    ).schema.quality
    assert quality.validation_mse < 0.8 * quality.pca_mse


def test_the_network_follows_kind_and_shape() -> None:
    def default(kind: Kind, *shape: int) -> str:
        return default_arch(Form(kind, "float32", shape))

    assert default("image", 16, 16) == default("image", 64, 20, 3) == "conv"
    assert default("image", 8, 8) == default("image", 15, 40) == "dense"
    assert default("table", 900) == default("series", 64, 8) == "dense"
