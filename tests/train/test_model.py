"""Traps that other libraries fell into: dropout, activations, averages, missing values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.fit import rows as rows_module
from ae_train.fit.fitting import Epoch, Fitting, evaluate
from ae_train.fit.rows import HeldRows
from ae_train.network.arch.dense import ACTIVATIONS
from ae_train.network.model import CODE_ACTIVATIONS, Model
from ae_train.recipe import Recipe, as_resolved
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]


def model_of(recipe: Recipe, size: int = 5) -> Model:
    torch.manual_seed(0)
    fit = replace(recipe.fit, objective=recipe.fit.objective or "mse")
    return Model(as_resolved(replace(recipe, fit=fit)), Form("table", "float32", (size,)))


def last_layer(net: nn.Sequential | None, weight: float, bias: float) -> nn.Linear:
    assert net is not None
    layer = net[-1]
    assert isinstance(layer, nn.Linear)
    nn.init.constant_(layer.weight, weight)
    nn.init.constant_(layer.bias, bias)
    return layer


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).float()


def test_dropout_leaves_code_and_output_alone(small: Make) -> None:
    recipe = small(arch={"dropout": 0.9, "pca_path": False})
    model = model_of(recipe).train()
    s = normal(64, 5)
    assert not torch.equal(model(s)[0], model(s)[0])  # it is on
    # Hidden units no longer count, so what is left is random only if code or output is dropped.
    last_layer(model.arch.encode_net, 0.0, 1.0)
    last_layer(model.arch.decode_net, 0.0, -3.0)
    assert (model.arch.encode(s) == 1).all()
    assert (model(s)[0] == -3).all()


def test_dropout_is_off_in_use(small: Make) -> None:
    model = model_of(small(arch={"dropout": 0.9, "pca_path": False})).eval()
    s = normal(64, 5)
    assert torch.equal(model.reconstruct_scaled(s), model.reconstruct_scaled(s))
    assert torch.equal(model(s)[0], model.reconstruct_scaled(s))


def test_dropout_is_on_in_training_and_off_in_evaluation(small: Make, rows: np.ndarray) -> None:
    fit = {"lr": 1e-30, "weight_decay": 0.0, "epochs": 1}  # the weights stay as they are
    arch, data = {"dropout": 0.5, "pca_path": False}, {"validation": "train"}
    shown: list[Epoch] = []
    run = train(rows, small(arch=arch, fit=fit, data=data), show=lambda e, _: shown.append(e))
    s = run.model.preprocess.scale_rows(torch.from_numpy(rows[run.split.train]))
    with torch.no_grad():
        expected = float((run.model.reconstruct_scaled(s) - s).square().mean())
    assert shown[1].validation_loss == pytest.approx(expected, rel=1e-5)  # float32 sums
    assert shown[1].train_loss != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("code_activation", CODE_ACTIVATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nothing_bends_the_output(small: Make, activation: str, code_activation: str) -> None:
    arch = {"activation": activation, "code_activation": code_activation, "pca_path": False}
    model = model_of(small(arch=arch)).eval()
    for value in (-3.0, 3.0):  # standardised data lie on both sides, past 1
        last_layer(model.arch.decode_net, 0.0, value)
        assert (model.reconstruct_scaled(normal(4, 5)) == value).all()


@pytest.mark.parametrize(
    ("code_activation", "ends"),
    [("none", (-3.0, 3.0)), ("relu", (0.0, 3.0)), ("tanh", (-0.9951, 0.9951)),
     ("sigmoid", (0.0474, 0.9526))],
)  # fmt: skip
def test_the_code_is_bent_as_asked(
    small: Make, code_activation: str, ends: tuple[float, float]
) -> None:
    model = model_of(small(arch={"code_activation": code_activation, "pca_path": False})).eval()
    for value, end in zip((-3.0, 3.0), ends, strict=True):
        last_layer(model.arch.encode_net, 0.0, value)
        torch.testing.assert_close(
            model.code(normal(4, 5)), torch.full((4, 2), end), atol=1e-4, rtol=0
        )  # `ends` has four digits


@pytest.mark.parametrize(("depth", "hidden"), [(0, 0), (1, 1), (3, 3)])
def test_depth_counts_hidden_layers(small: Make, depth: int, hidden: int) -> None:
    model = model_of(small(arch={"depth": depth, "pca_path": False}))
    for net in (model.arch.encode_net, model.arch.decode_net):
        assert net is not None
        assert sum(type(module) is ACTIVATIONS["silu"] for module in net) == hidden
        assert sum(isinstance(module, nn.Linear) for module in net) == hidden + 1


def test_use_does_not_depend_on_the_batch(small: Make, rows: np.ndarray) -> None:
    run = train(rows, small(arch={"dropout": 0.5}))
    x = torch.from_numpy(rows)
    with torch.no_grad():
        z = run.model.encode(x)
        assert torch.equal(run.model.encode(x), z)
        one_by_one = torch.cat([run.model.encode(row) for row in x.split(1)])
        x_hat = run.model.decode(z)
        decoded = torch.cat([run.model.decode(row) for row in z.split(1)])
    # torch picks another float32 kernel for one row: roundings of sums of at most 8 numbers.
    torch.testing.assert_close(one_by_one, z, atol=1e-5, rtol=0)
    torch.testing.assert_close(decoded, x_hat, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [7, 100, 239, 1000])
def test_the_training_loss_weighs_rows_not_batches(
    small: Make, rows: np.ndarray, batch: int
) -> None:
    # 240 rows; no step moves a weight, so the epoch's loss is that of the whole set at the start.
    fit = {"lr": 1e-30, "weight_decay": 0.0, "epochs": 1, "batch": batch}
    losses: list[float | None] = []
    run = train(rows, small(fit=fit), show=lambda epoch, _: losses.append(epoch.train_loss))
    s = run.model.preprocess.scale_rows(torch.from_numpy(rows[run.split.train]))
    with torch.no_grad():
        expected = (run.model.reconstruct_scaled(s) - s).square().mean()
    assert losses[0] is None
    assert losses[1] == pytest.approx(float(expected), rel=1e-5)  # float32 sums


def test_evaluation_weighs_rows_not_batches(
    small: Make, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_block_rows", lambda numbers: 7)
    check_quality(train(rows, small()), rows)


def test_missing_values_count_in_no_error(small: Make, rows: np.ndarray) -> None:
    x = rows.copy()
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    check_quality(train(x, small()), x)


def check_quality(run: Run, x: np.ndarray) -> None:
    """Reported errors are means over present numbers, and PCA is that of the filled rows."""
    s, present = (
        {part: values[getattr(run.split, part)] for part in ("train", "validation", "test")}
        for values in (
            run.model.preprocess.scale_rows(torch.from_numpy(x)).double().numpy(),
            ~np.isnan(x),
        )
    )
    mean = s["train"].mean(0)
    axes = np.linalg.svd(s["train"] - mean, full_matrices=False)[2][: run.recipe.latent_dim or 0]
    quality = msgspec.to_builtins(run.schema.quality)
    for part, prefix in (("validation", ""), ("test", "test_")):
        rows = s[part]
        with torch.no_grad():
            model = run.model.reconstruct_scaled(torch.from_numpy(rows).float()).numpy()
        expected: dict[str, Any] = {
            f"{part}_mse": model,
            f"{prefix}pca_mse": (rows - mean) @ axes.T @ axes + mean,
            f"{prefix}mean_mse": np.broadcast_to(mean, rows.shape),
        }
        for name, x_hat in expected.items():
            error = ((x_hat - rows) ** 2)[present[part]].mean()
            assert quality[name] == pytest.approx(error, rel=1e-5)  # the model is float32


def test_the_loss_does_not_see_what_was_filled(small: Make) -> None:
    recipe = small(arch={"pca_path": False, "depth": 0})
    model = model_of(recipe)
    assert model.arch.encode_net is not None
    nn.init.zeros_(model.arch.encode_net[-1].weight)  # the code does not see the rows either
    present = torch.from_numpy(np.random.default_rng(1).random((50, 5)) < 0.6)
    present[3] = False
    s = normal(50, 5)
    filled = torch.where(present, s, 1e3)
    seen = []
    for target in (s, filled):
        rows = HeldRows(target, present)
        batches = torch.arange(50).split(16)
        fit = Fitting(model, recipe.fit, rows, rows)
        seen.append(
            [float(fit._loss(target[batch], present[batch]).detach()) for batch in batches]
            + [*evaluate(model, rows)[:2]]
        )
    assert seen[0] == seen[1]
    errors = (model(s)[0] - s).square()[present].detach()
    assert seen[0][-1] == pytest.approx(float(errors.mean()), rel=1e-6)  # float32


def test_rmse_of_columns_is_in_their_units(small: Make) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((200, 4)) * [1.0, 1e-6, 1e6, 1.0]
    x[:, 3] = 5.0
    split = train(x, small()).split
    x[split.test[0], 3] = 6.0  # constant over the training rows alone
    run = train(x, small())
    test = torch.from_numpy(x[split.test])
    with torch.no_grad():
        errors = run.model.decode(run.model.encode(test)) - test
    found = [column.rmse for column in run.schema.columns or []]
    # float32 in scaled space.
    np.testing.assert_allclose(found, errors.square().mean(0).sqrt(), rtol=1e-4)
