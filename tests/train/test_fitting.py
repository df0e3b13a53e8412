"""The training loop: repeatable, stopped in time, and without traces in the caller's process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from ae_runtime.errors import TrainingFailed
from ae_train.data.form import Form
from ae_train.fit.fitting import Epoch, Fitting, State
from ae_train.fit.rows import HeldRows
from ae_train.network.model import Model
from ae_train.recipe import Recipe, as_resolved
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]
Weights = dict[str, Tensor]


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def fitted(recipe: Recipe, x: np.ndarray) -> tuple[Fitting, list[Weights]]:
    """A finished fitting on rows x, halved, and the weights after each epoch."""
    torch.manual_seed(0)
    resolved = as_resolved(replace(recipe, fit=replace(recipe.fit, objective="mse")))
    model = Model(resolved, Form("table", "float32", x.shape[1:]))
    s = torch.from_numpy(x).float()
    fitting = Fitting(model, resolved.fit, HeldRows(s[::2]), HeldRows(s[1::2]))
    weights: list[Weights] = []

    def keep(epoch: Epoch, state: State) -> None:
        weights.append({name: value.clone() for name, value in state.model.items()})

    fitting.run(keep)
    return fitting, weights


def noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 5))


@pytest.mark.parametrize("optimizer", ["adamw", "adadelta"])
def test_the_same_seed_gives_the_same_bits(small: Make, rows: np.ndarray, optimizer: str) -> None:
    sections = {"arch": {"dropout": 0.3}, "fit": {"optimizer": optimizer}}
    torch.manual_seed(1)
    first = train(rows, small(seed=4, **sections))
    torch.manual_seed(2)  # the caller's generator is none of its business
    second = train(rows, small(seed=4, **sections))
    other = train(rows, small(seed=5, **sections))
    assert same(first.model.state_dict(), second.model.state_dict())
    assert first.model_id == second.model_id
    assert not same(first.model.state_dict(), other.model.state_dict())
    assert first.model_id != other.model_id


def test_the_seed_reaches_the_weights_not_only_the_split(small: Make, rows: np.ndarray) -> None:
    runs = [
        train(rows, small(seed=seed, arch={"pca_path": False}, fit={"epochs": 0}))
        for seed in (0, 1)
    ]
    a, b = (run.model.state_dict()["arch.encode_net.0.weight"] for run in runs)
    assert not torch.equal(a, b)


def test_patience_ends_the_training(small: Make, rows: np.ndarray) -> None:
    x = np.random.default_rng(0).standard_normal((60, 10))
    run = train(x, small(fit={"epochs": 500, "patience": 4}))
    assert run.schema.epochs == run.schema.best_epoch + 4
    assert run.schema.epochs < 500


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_to_keep(small: Make, keep: str) -> None:
    recipe = small(arch={"pca_path": False}, fit={"epochs": 60, "keep": keep, "lr": 0.05})
    fitting, weights = fitted(recipe, noise())
    losses = []
    for after in weights:
        fitting.model.load_state_dict(after)
        s = fitting.validation.s
        with torch.no_grad():
            losses.append(float((fitting.model(s)[0] - s).square().mean()))
    best = int(np.argmin(losses))
    assert 0 < best < len(weights) - 1  # or the two words could not be told apart
    kept, _ = fitted(recipe, noise())
    assert same(kept.model.state_dict(), weights[best if keep == "best" else -1])
    assert kept.state.best_epoch == (best if keep == "best" else len(weights) - 1)


def test_the_learning_rate_follows_half_a_cosine(small: Make, rows: np.ndarray) -> None:
    seen: dict[str, list[float]] = {"cosine": [], "constant": []}
    for schedule, lrs in seen.items():
        fit = {"schedule": schedule, "epochs": 10, "lr": 0.2, "batch": 100}
        train(rows, small(fit=fit), show=lambda epoch, _, lrs=lrs: lrs.append(epoch.lr))
    assert seen["constant"] == [0.2] * 11
    steps = 3  # 240 rows in batches of 100; the last of the epoch's steps is reported
    expected = [0.1 * (1 + np.cos(np.pi * (steps * e - 1) / (steps * 10))) for e in range(1, 11)]
    np.testing.assert_allclose(seen["cosine"][1:], expected, rtol=1e-12)


def test_clipping_bounds_the_gradient(small: Make, rows: np.ndarray) -> None:
    norms = []
    for clip in (0.0, 0.01):
        fitting, _ = fitted(small(fit={"epochs": 1, "clip": clip}), rows)
        gradients = [p.grad for p in fitting.model.parameters() if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-4)  # torch divides by norm + 1e-6


def test_every_row_is_seen_once_an_epoch(
    small: Make, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    loss = Fitting._loss

    def spy(self: Fitting, s: Tensor, present: Tensor | None) -> Tensor:
        seen.append(s)
        return loss(self, s, present)

    monkeypatch.setattr(Fitting, "_loss", spy)
    # An objective that PCA does not stand in for: no more trainings, to be held against it.
    run = train(rows, small(fit={"epochs": 2, "batch": 100, "objective": "mae"}))
    expected = run.model.preprocess.scale_rows(torch.from_numpy(rows[run.split.train]))
    assert [len(batch) for batch in seen] == [100, 100, 40] * 2
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    for order in epochs:
        assert sorted(order.tolist()) == sorted(expected.tolist())
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_loss_that_is_no_number_ends_in_one_line_and_no_files(
    small: Make, rows: np.ndarray, tmp_path: Path, keep: str
) -> None:
    fit = {"lr": 1e9, "clip": 0.0, "epochs": 20, "keep": keep}
    with pytest.raises(TrainingFailed) as caught:
        train(rows, small(fit=fit), tmp_path / "run")
    assert str(caught.value) == (
        "the loss is no longer a number after epoch 1; lower [fit] lr (it is 1e+09) or set clip = 1"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lr", [1e-2, 1e9])
def test_the_callers_torch_stays_as_it_was(small: Make, rows: np.ndarray, lr: float) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(11)
        before = torch.get_rng_state()
        try:
            train(rows, small(fit={"lr": lr, "clip": 0.0}))
        except TrainingFailed:
            assert lr == 1e9
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_show_is_called_with_the_start_and_each_epoch(small: Make, rows: np.ndarray) -> None:
    shown: list[tuple[Epoch, float]] = []
    run: Run = train(rows, small(), show=lambda *said: shown.append(said))
    quality = run.schema.quality
    assert [epoch.epoch for epoch, _ in shown] == [0, 1, 2, 3]
    assert {pca_mse for _, pca_mse in shown} == {quality.pca_mse}
    assert shown[0][0].validation_mse == pytest.approx(quality.pca_mse, rel=1e-5)  # float32
    best = shown[run.schema.best_epoch][0]
    assert best.validation_mse == quality.validation_mse
    assert shown[-1][0].seconds_left == 0


def test_patience_is_for_the_best_weights(small: Make) -> None:
    fit = {"epochs": 40, "patience": 1, "lr": 0.3, "clip": 0.0}
    best, _ = fitted(small(fit=fit | {"keep": "best"}), noise())
    last, _ = fitted(small(fit=fit | {"keep": "last"}), noise())
    assert best.state.epoch < 40
    assert last.state.epoch == 40
