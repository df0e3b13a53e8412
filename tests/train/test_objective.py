"""Losses against their formulas, and where binary cross-entropy is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ae_runtime.errors import DataError
from ae_train.data.form import Form
from ae_train.network.objective import OBJECTIVES, Bce, Mse
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]
FORM = Form("table", "float32", (3,))


def reconstruct(run: Run, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return run.model.decode(run.model.encode(torch.from_numpy(x))).numpy()


def test_mse_is_the_squared_difference() -> None:
    y, s = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, -2.5]])
    assert Mse(FORM).loss(y, s).tolist() == [[4.0, 0.25]]
    assert Mse(FORM).output(y) is y


def test_bce_is_the_cross_entropy_of_the_sigmoid() -> None:
    s = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    y = np.array([-3.0, 0.1, 0.0, 2.0, 4.0])
    p = 1 / (1 + np.exp(-y))
    expected = -(s * np.log(p) + (1 - s) * np.log(1 - p))
    found = Bce(FORM).loss(torch.tensor(y).float(), torch.tensor(s).float())
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32
    np.testing.assert_allclose(Bce(FORM).output(torch.tensor(y)), p, rtol=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_mean_loss_is_the_mean_of_the_losses(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    y = 2 * torch.randn(50, 3, generator=random)
    s = 1.4 * torch.rand(50, 3, generator=random) - 0.2  # past [0, 1] at both ends
    form = Form("table", "float64", (1,), (2,)) if name == "mixed" else FORM
    objective = OBJECTIVES[name](form)
    expected = objective.loss(y, s).mean()
    torch.testing.assert_close(objective.mean_loss(y, s), expected, rtol=1e-6, atol=0)  # float32


def test_bce_stays_finite_at_sure_and_wrong() -> None:
    y = torch.tensor([200.0, -200.0])
    assert Bce(FORM).loss(y, torch.tensor([0.0, 1.0])).tolist() == [200, 200]


def test_bce_takes_held_out_rows_past_the_range_as_its_end() -> None:
    y = torch.tensor([0.3, 0.3])
    inside, outside = torch.tensor([0.0, 1.0]), torch.tensor([-0.4, 1.7])
    assert torch.equal(Bce(FORM).loss(y, inside), Bce(FORM).loss(y, outside))


@pytest.mark.parametrize("objective", [Mse(FORM), Bce(FORM)])
def test_the_start_reproduces_its_input(objective: Mse | Bce) -> None:
    gain, shift = objective.start()
    s = torch.tensor([0.45, 0.5, 0.55])
    # Exact for mse; for bce to first order around 1/2: (s - 1/2)**3 * 16/3 = 7e-4.
    torch.testing.assert_close(objective.output(gain * s + shift), s, atol=1e-3, rtol=0)


def test_bce_is_refused_outside_0_to_1(small: Make) -> None:
    x = np.linspace(-3, 4, 300).reshape(100, 3)
    with pytest.raises(DataError) as caught:
        train(x, small(fit={"objective": "bce"}, data={"scaling": "none", "validation": "train"}))
    train_rows = train(x, small(data={"scaling": "none", "validation": "train"})).split.train
    low, high = x[train_rows].min(), x[train_rows].max()
    assert str(caught.value) == (
        "objective bce is undefined here: it needs data in [0, 1], and with scaling = 'none' they "
        f"run from {low:.4g} to {high:.4g}; use objective = 'mse', or scaling = 'range' if each "
        "column has natural bounds"
    )


@pytest.mark.parametrize("part", ["train", "validation"])
def test_one_row_outside_0_to_1_is_enough(small: Make, part: str) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (100, 3))
    recipe = small(fit={"objective": "bce"}, data={"scaling": "none"})
    row = getattr(train(x, recipe).split, part)[0]
    x[row, 1] = 1.01
    with pytest.raises(DataError, match=r"^objective bce is undefined here: .* to 1\.01; "):
        train(x, recipe)


def test_bce_on_scaled_ranges_learns_and_stays_within_them(small: Make, rows: np.ndarray) -> None:
    fit = {"objective": "bce", "epochs": 40, "keep": "last"}
    losses: list[float] = []
    run = train(
        rows,
        small(fit=fit, data={"scaling": "range"}),
        show=lambda epoch, _: losses.append(epoch.validation_loss),
    )
    assert losses[-1] < losses[0]
    quality = run.schema.quality
    assert quality.validation_mse < 0.7 * quality.mean_mse
    assert not quality.is_pca
    x = rows[run.split.train]
    x_hat = reconstruct(run, rows * 3)  # far outside
    slack = np.spacing(np.abs(x).max())  # offset + scale need not be the maximum to the last bit
    assert (x_hat >= x.min(0) - slack).all()
    assert (x_hat <= x.max(0) + slack).all()


def test_bce_on_images(small: Make) -> None:
    random = np.random.default_rng(0)
    x = (random.random((200, 4, 4)) * random.integers(0, 256, (200, 1, 1))).astype(np.uint8)
    with pytest.raises(DataError, match=r"^objective bce is undefined here: "):
        train(x, small(fit={"objective": "bce"}))
    run = train(x, small(fit={"objective": "bce", "epochs": 20}, data={"scaling": "range"}))
    assert run.schema.quality.validation_mse < run.schema.quality.mean_mse
