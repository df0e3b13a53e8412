"""Samplers: what is drawn is distributed as what was learned, for every bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ae_train.fit import sampling
from ae_train.network.sampler import Sampler, _normal, noise_dim
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.training import train

Array = NDArray[Any]
Small = Callable[..., Recipe]


def drawn(sampler: Sampler, count: int) -> Array:
    noise = np.random.default_rng(0).random((count, sampler.noise_dim), np.float32)
    with torch.no_grad():
        return sampler(torch.from_numpy(noise)).numpy()


def islands(count: int) -> Array:
    """(count, 4) float64: rows of three kinds, far from each other; a half, a third and a sixth."""
    random = np.random.default_rng(0)
    kinds = random.choice(3, count, p=[1 / 2, 1 / 3, 1 / 6])
    centres = np.array([[0, 0, 0, 0], [9, 0, 9, 0], [0, 9, 0, 9.0]])
    return centres[kinds] + random.standard_normal((count, 4))


def test_uniform_numbers_become_normal_ones() -> None:
    u = torch.from_numpy(np.random.default_rng(0).random((200_000, 4)))
    x = _normal(u).numpy()
    np.testing.assert_allclose(np.cov(x.T), np.eye(4), atol=0.015)
    for level in (0.001, 0.1, 0.5, 0.9, 0.999):
        quantiles = np.quantile(x, level, axis=0)
        np.testing.assert_allclose(quantiles, NormalDist().inv_cdf(level), atol=0.06)
    ends = _normal(torch.tensor([[0.0, 0.0], [1 - 2**-24, 0.5]], dtype=torch.float64))
    assert torch.isfinite(ends).all()


def test_each_kind_of_row_is_drawn_as_often_as_it_was_there(small: Small) -> None:
    run = train(islands(3000), small(fit={"epochs": 20}))
    assert run.sampler is not None
    assert len(run.sampler.means) >= 3
    with torch.no_grad():
        x = run.model.decode(torch.from_numpy(drawn(run.sampler, 6000))).numpy()
    kinds = np.select([x[:, 0] + x[:, 2] > 9, x[:, 1] + x[:, 3] > 9], [1, 2])
    np.testing.assert_allclose(np.bincount(kinds) / 6000, [1 / 2, 1 / 3, 1 / 6], atol=0.04)
    np.testing.assert_allclose(np.cov(x.T), np.cov(islands(3000).T), atol=2.5)


def test_the_held_out_rows_choose_the_size() -> None:
    random = np.random.default_rng(0)
    one = random.standard_normal((2000, 2))
    assert len(sampling._mixtures(one, random.standard_normal((500, 2)), 0).weights_) <= 2
    four = np.concatenate(
        [one[:500] + 20 * np.array(at) for at in ((0, 0), (0, 1), (1, 0), (1, 1))]
    )
    assert len(sampling._mixtures(four, four + 0.1, 0).weights_) >= 4
    assert len(sampling._mixtures(one[:30], one[30:60], 0).weights_) == 1


def test_the_prior_is_drawn_from_where_posteriors_add_up_to_it() -> None:
    random = np.random.default_rng(0)
    prior, known = sampling._standard_normal(2), random.standard_normal((60, 2))
    held = random.standard_normal((500, 2))
    exact = np.mean([-(z @ z) / 2 - np.log(2 * np.pi) for z in held])
    assert prior.score(held) == pytest.approx(exact)
    assert prior.score(held) > sampling._mixtures(known, held, 0).score(held)
    assert prior.score(held + 2) < sampling._mixtures(known + 2, held + 2, 0).score(held + 2)


@pytest.mark.parametrize("name", ["plain", "ordered", "sparse", "variational", "quantized"])
def test_every_bottleneck_draws_codes_of_its_own(
    rows: Array, small: Small, tmp_path: Path, name: str
) -> None:
    run = train(rows, small(latent_dim=4, bottleneck={"name": name}), out=tmp_path / "run")
    assert run.sampler is not None
    z = drawn(run.sampler, 500)
    assert z.dtype == np.float32
    assert run.sampler.noise_dim == noise_dim(4) == 5
    if name == "sparse":
        assert ((z != 0).sum(1) == 1).all()
    if name == "quantized":
        steps = (z * 8 + 7) / 2
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-5)
        assert np.abs(z).max() < 1
    if name == "variational":  # as latents are in training: of a row's posterior
        with torch.no_grad():
            s = run.model.preprocess.scale_rows(torch.from_numpy(rows))
            seen = run.model.bottleneck(run.model.code(s)).numpy()
        spread = np.sqrt(np.diag(np.cov(seen.T)))
        np.testing.assert_allclose(z.mean(0) / spread, seen.mean(0) / spread, atol=0.25)
        off = (np.cov(z.T) - np.cov(seen.T)) / np.outer(spread, spread)
        assert np.abs(off).max() < 0.25
    np.testing.assert_array_equal(drawn(Run.load(tmp_path / "run").sampler, 500), z)  # type: ignore[arg-type]


def test_the_same_sampler_again(rows: Array, small: Small) -> None:
    first, second = (train(rows, small()).sampler for _ in range(2))
    assert first is not None
    assert second is not None
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize(("latent_dim", "numbers"), [(1, 3), (2, 3), (3, 5), (8, 9)])
def test_two_uniform_numbers_make_two_latents(latent_dim: int, numbers: int) -> None:
    assert noise_dim(latent_dim) == numbers
