"""Corruption: what it leaves alone, how much it takes, and that only the encoder sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ae_train.data.form import Form
from ae_train.fit.corruption import Corrupt, make_corruption
from ae_train.fit.fitting import Fitting
from ae_train.fit.rows import HeldRows
from ae_train.network.model import Model
from ae_train.recipe import Corruption, Recipe, as_resolved
from ae_train.training import train

Make = Callable[..., Recipe]
TABLE = Form("table", "float64", (50,))
MIXED = Form("table", "float64", (3,), levels=(2, 7))
FORMS = [TABLE, MIXED, Form("image", "uint8", (5, 4, 3)), Form("series", "float32", (6, 2))]
AMOUNT = 0.3


def corruption(name: str, form: Form) -> Corrupt:
    torch.manual_seed(0)
    made = make_corruption(Corruption(name=name, amount=AMOUNT), form)  # type: ignore[arg-type]
    assert made is not None
    return made


def numbers(form: Form, rows: int = 4000) -> Tensor:
    """Rows of which no two numbers are equal, and each column lies in a range of its own."""
    draws = torch.rand(rows, form.numbers, generator=torch.Generator().manual_seed(1))
    return (draws + 2 * torch.arange(1, form.numbers + 1)).reshape(rows, *form.scaled_shape)


def mixed_rows(rows: int = 4000) -> Tensor:
    """Three numbers, and two categories as one-hot."""
    generator = torch.Generator().manual_seed(1)
    words = [torch.randint(size, (rows,), generator=generator) for size in MIXED.levels]
    hot = [torch.eye(size)[word] for size, word in zip(MIXED.levels, words, strict=True)]
    return torch.cat([torch.rand(rows, 3, generator=generator) + 1, *hot], 1)


def test_none_is_no_function() -> None:
    assert make_corruption(Corruption(), TABLE) is None


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.kind}{len(form.levels)}")
@pytest.mark.parametrize("name", ["gaussian", "mask", "swap"])
def test_rows_themselves_stay_as_they_are(name: str, form: Form) -> None:
    s = numbers(form, 64)
    before = s.clone()
    corrupted = corruption(name, form)(s)
    assert corrupted.shape == s.shape
    assert not torch.equal(corrupted, s)
    assert torch.equal(s, before)  # the loss compares with them


def test_gaussian_is_noise_of_the_deviation_asked_for() -> None:
    s = numbers(TABLE)
    noise = corruption("gaussian", TABLE)(s) - s
    # 200,000 draws: a deviation is known to 0.2 %, a mean to 0.0007.
    assert float(noise.std()) == pytest.approx(AMOUNT, rel=0.01)
    assert abs(float(noise.mean())) < 0.004
    assert float(torch.corrcoef(noise[:, :2].T)[0, 1]) == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("form", [TABLE, *FORMS[2:]], ids=lambda form: form.kind)
def test_mask_hides_its_share_and_leaves_the_rest(form: Form) -> None:
    s = numbers(form)
    corrupted = corruption("mask", form)(s)
    hidden = corrupted == 0
    assert torch.equal(corrupted[~hidden], s[~hidden])
    assert float(hidden.float().mean()) == pytest.approx(AMOUNT, abs=0.01)  # 48,000 draws: 0.002
    by_column = hidden.flatten(1).float().mean(0)
    assert float((by_column - AMOUNT).abs().max()) < 0.035  # 4,000 draws each: 0.007


@pytest.mark.parametrize("form", [TABLE, *FORMS[2:]], ids=lambda form: form.kind)
def test_swap_takes_its_share_from_the_same_column_of_other_rows(form: Form) -> None:
    s = numbers(form)
    corrupted = corruption("swap", form)(s).flatten(1)
    flat = s.flatten(1)
    moved = corrupted != flat
    assert float(moved.float().mean()) == pytest.approx(AMOUNT, abs=0.01)
    for column in range(flat.shape[1]):
        assert torch.isin(corrupted[:, column], flat[:, column]).all()
    # Marginals stay: what was moved has the column's mean. 1,200 of them, deviation 0.29.
    for column in range(flat.shape[1]):
        taken = corrupted[moved[:, column], column]
        assert float(taken.mean()) == pytest.approx(float(flat[:, column].mean()), abs=0.05)


def test_mask_hides_whole_words() -> None:
    s = mixed_rows()
    corrupted = corruption("mask", MIXED)(s)
    assert float((corrupted[:, :3] == 0).float().mean()) == pytest.approx(AMOUNT, abs=0.03)
    parts = zip(
        corrupted[:, 3:].split(MIXED.levels, 1), s[:, 3:].split(MIXED.levels, 1), strict=True
    )
    for part, true in parts:
        hidden = (part == 0).all(1)  # as a missing word is
        assert torch.equal(part[~hidden], true[~hidden])
        # However many words there are, a column is hidden as a whole: 4,000 draws.
        assert float(hidden.float().mean()) == pytest.approx(AMOUNT, abs=0.03)


def test_swap_takes_whole_words() -> None:
    s = mixed_rows()
    corrupted = corruption("swap", MIXED)(s)
    for part, true in zip(
        corrupted[:, 3:].split(MIXED.levels, 1), s[:, 3:].split(MIXED.levels, 1), strict=True
    ):
        assert torch.equal(part.sort(1).values, true.sort(1).values)  # one 1, else 0
        moved = (part != true).any(1).float().mean()
        by_chance = float(true.mean(0).square().sum())  # the other row has the same word
        assert float(moved) == pytest.approx(AMOUNT * (1 - by_chance), abs=0.03)


def test_the_loss_compares_with_rows_as_they_were(small: Make) -> None:
    recipe = as_resolved(small(arch={"pca_path": False}, fit={"objective": "mse"}))
    model = Model(recipe, Form("table", "float32", (5,)))
    s = torch.randn(40, 5)
    held = HeldRows(s)
    fitting = Fitting(model, recipe.fit, held, held, corrupt=torch.zeros_like)
    model.eval()
    expected = (model(torch.zeros_like(s))[0] - s).square().mean()
    assert float(fitting._loss(s, None).detach()) == float(expected.detach())


def test_judging_sees_no_corruption(small: Make) -> None:
    def refuse(s: Tensor) -> Tensor:
        raise AssertionError("corrupted outside of a step")

    recipe = as_resolved(small(fit={"epochs": 0, "objective": "mse"}))
    held = HeldRows(torch.randn(40, 5))
    model = Model(recipe, Form("table", "float32", (5,)))
    Fitting(model, recipe.fit, held, held, corrupt=refuse).run(lambda epoch, state: None)


@pytest.mark.parametrize("name", ["gaussian", "mask", "swap"])
def test_a_denoising_training_repeats_and_is_another_one(
    small: Make, rows: np.ndarray, name: str
) -> None:
    recipe = small(corruption={"name": name, "amount": AMOUNT}, fit={"keep": "last"})
    first, second = train(rows, recipe), train(rows, recipe)
    plain = train(rows, small(fit={"keep": "last"}))
    assert first.model_id == second.model_id != plain.model_id
    assert train(rows, small(corruption={"name": name})).recipe.corruption.amount == 0.1
