"""What each bottleneck promises of its codes, and that a training with each goes on as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from ae_runtime.errors import RecipeError
from ae_train.data.dataset import make_dataset
from ae_train.fit.preparing import prepare
from ae_train.fit.resolving import fill_in
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.recipe import Bottleneck, Recipe
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]


def trained(small: Make, rows: np.ndarray, name: str, **settings: object) -> Run:
    recipe = small(bottleneck={"name": name, **settings}, fit={"epochs": 15}, latent_dim=4)
    return train(rows, recipe)


def codes(run: Run, rows: np.ndarray) -> Tensor:
    with torch.no_grad():
        return run.model.encode(torch.from_numpy(rows))


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_codes_are_deterministic_and_rows_do_not_influence_each_other(
    small: Make, rows: np.ndarray, name: str
) -> None:
    run = trained(small, rows, name)
    z = codes(run, rows)
    assert z.shape == (300, 4)
    assert torch.equal(codes(run, rows), z)
    one_by_one = torch.cat([codes(run, rows[at : at + 1]) for at in range(40)])
    if name == "quantized":  # float32 rounding may move a number across a border, by one value
        assert ((one_by_one - z[:40]).abs() < 1e-6).double().mean() > 0.98
    else:
        torch.testing.assert_close(one_by_one, z[:40], atol=1e-5, rtol=0)  # other kernels


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_a_saved_model_is_the_model(
    small: Make, rows: np.ndarray, name: str, tmp_path: object
) -> None:
    recipe = small(bottleneck={"name": name}, latent_dim=4)
    run = train(rows, recipe, f"{tmp_path}/run")
    again = Run.load(f"{tmp_path}/run")
    assert torch.equal(codes(again, rows), codes(run, rows))
    assert again.schema == run.schema


def test_a_prefix_of_an_ordered_code_is_a_code(small: Make, rows: np.ndarray) -> None:
    recipe = small(
        bottleneck={"name": "ordered"}, fit={"epochs": 60}, arch={"width": 32}, latent_dim=4
    )
    run = train(rows, recipe)
    x = torch.from_numpy(rows)
    s = run.model.preprocess.scale_rows(x)
    z = codes(run, rows)
    errors = []
    for kept in range(1, 5):
        cut = torch.where(torch.arange(4) < kept, z, 0.0)
        with torch.no_grad():
            errors.append(
                float((run.model.objective.output(run.model.expand(cut)) - s).square().mean())
            )
    assert errors == sorted(errors, reverse=True)
    centred = (s - s.mean(0)).double()
    variance = torch.linalg.svdvals(centred).square() / s.numel()
    for kept in (1, 2, 3):  # each prefix beats PCA of its size on three curved columns
        assert errors[kept - 1] < float(variance[kept:].sum())


def test_half_of_the_ordered_codes_are_whole_and_the_rest_of_any_length() -> None:
    torch.manual_seed(0)
    kept = (BOTTLENECKS["ordered"](5)(torch.ones(8000, 5)) != 0).sum(1)
    shares = torch.bincount(kept, minlength=6) / 8000
    expected = torch.tensor([0.0, 0.125, 0.125, 0.125, 0.125, 0.5])
    torch.testing.assert_close(shares, expected, atol=2 / 8000, rtol=0)  # one draw from each share


def test_an_ordered_code_is_trained_for_twice_the_epochs(small: Make, rows: np.ndarray) -> None:
    recipes = [small(bottleneck={"name": name}) for name in ("plain", "ordered")]
    fits = [replace(recipe.fit, epochs=None) for recipe in recipes]
    prepared = prepare(make_dataset(rows), recipes[0], torch.device("cpu"))
    epochs = [
        fill_in(replace(recipe, fit=fit), prepared).fit.epochs
        for recipe, fit in zip(recipes, fits, strict=True)
    ]
    assert epochs == [200, 400]


@pytest.mark.parametrize("active", [1, 2, 4])
def test_a_sparse_code_keeps_its_largest_latents(
    small: Make, rows: np.ndarray, active: int
) -> None:
    run = trained(small, rows, "sparse", active=active)
    z = codes(run, rows)
    assert ((z != 0).sum(1) == active).all()
    s = run.model.preprocess.scale_rows(torch.from_numpy(rows))
    with torch.no_grad():
        h = run.model.code(s)
    left = torch.where(z == 0, h, torch.zeros_like(h)).abs().amax(1)
    kept = torch.where(z != 0, z.abs(), torch.inf).amin(1)
    assert (left <= kept).all()
    assert run.schema.usage["active"] == active


def test_more_active_latents_than_there_are(small: Make, rows: np.ndarray) -> None:
    with pytest.raises(RecipeError) as error:
        train(rows, small(bottleneck={"name": "sparse", "active": 3}))
    assert str(error.value) == (
        "[bottleneck] active = 3, but there are 2 latents; set it lower, or latent_dim higher"
    )


@pytest.mark.parametrize("levels", [2, 5, 8])
def test_a_quantized_code_lies_on_its_grid(small: Make, rows: np.ndarray, levels: int) -> None:
    run = trained(small, rows, "quantized", levels=levels)
    grid = (2 * np.arange(levels) + 1 - levels) / levels
    assert set(np.unique(codes(run, rows).numpy())) <= set(grid.astype(np.float32))
    usage = run.schema.usage
    assert usage["bits"] == pytest.approx(4 * np.log2(levels))
    assert len(usage["entropy"]) == 4
    assert all(0 <= bits <= np.log2(levels) + 1e-9 for bits in usage["entropy"])
    assert 1 <= usage["perplexity"] <= min(levels**4, 240)


def test_a_variational_code_says_its_divergence(small: Make, rows: np.ndarray) -> None:
    run = trained(small, rows, "variational")
    usage = run.schema.usage
    assert len(usage["kl"]) == 4
    assert all(kl >= 0 for kl in usage["kl"])
    s = run.model.preprocess.scale_rows(torch.from_numpy(rows[run.split.train]))
    with torch.no_grad():
        h = run.model.code(s).double()
    mean, deviation = h[:, :4], ((h[:, 4:] - 3).clamp(-10, 10) / 2).exp()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, deviation), normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(usage["kl"], kl, rtol=1e-4)  # float32


def test_a_variational_step_draws_and_its_use_does_not(small: Make, rows: np.ndarray) -> None:
    model = trained(small, rows, "variational").model
    s = model.preprocess.scale_rows(torch.from_numpy(rows))
    with torch.no_grad():
        assert not torch.equal(model(s)[0], model(s)[0])
        assert torch.equal(model.as_used(s)[0], model.as_used(s)[0])


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_a_code_is_summed_up_by_its_own_figures(name: str) -> None:
    settings = Bottleneck(name=name).settings(6)  # type: ignore[arg-type]
    bottleneck = BOTTLENECKS[name](6, **settings)
    h = torch.randn(500, bottleneck.code_dim)
    h[:, [2, 8][: bottleneck.code_dim // 6]] = 0.0  # the third latent says nothing
    if name == "variational":
        h[:, 8] = 3.0  # the log variance of the standard normal
    usage, z_std = bottleneck.describe(h), bottleneck.encode(h).std(0).tolist()
    summary = bottleneck.summary(usage, z_std, 1e-3)
    assert len(summary.values) == 6
    assert summary.values[2] == min(summary.values)
    assert summary.limit is None or max(summary.values) <= summary.limit
    assert summary.unused == [2]


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_bounds_hold_what_a_small_error_may_lead_to(name: str) -> None:
    settings = Bottleneck(name=name).settings(6)  # type: ignore[arg-type]
    bottleneck = BOTTLENECKS[name](6, **settings).double()
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(4000, bottleneck.code_dim, generator=generator, dtype=torch.float64)
    tolerance = torch.full((len(h), 1), 1e-2, dtype=torch.float64)
    z, (low, high) = bottleneck.encode(h), bottleneck.bounds(h, tolerance)
    assert ((low <= z) & (z <= high)).all()
    jumps = high - low > 2.5e-2
    for _ in range(20):  # errors of up to the tolerance
        error = (2 * torch.rand(h.shape, generator=generator, dtype=torch.float64) - 1) * 1e-2
        moved = bottleneck.encode(h + error)
        assert ((low - 1e-12 <= moved) & (moved <= high + 1e-12)).all()
    # And no wider than need be: most codes do not jump, but some of those that can.
    if name in ("sparse", "quantized"):
        assert 0 < jumps.any(1).double().mean() < 0.5
    else:
        assert not jumps.any()
