"""Scores: what is strange stands out, thresholds keep their promise, no row is carried along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import roc_auc_score

from ae_train.data.loading import load
from ae_train.network.scorer import NAMES
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.scores import scoring
from ae_train.training import train

Array = NDArray[Any]
Small = Callable[..., Recipe]


def linked(count: int, seed: int) -> Array:
    """(count, 6) float64: four columns that follow from two, with noise of a twentieth."""
    random = np.random.default_rng(seed)
    u, v = random.standard_normal((2, count))
    x = np.stack([u, v, u + v, u - v, 2 * u, -v], 1)
    return x + 0.05 * random.standard_normal(x.shape)


@pytest.fixture(scope="module")
def run(small: Small) -> Run:
    return train(linked(4000, 0), small(data={"validation": 0.25}))


def scored(run: Run, *parts: Array) -> tuple[Array, Array, Array]:
    """(score, parts, scores) of rows, as a host computes them."""
    assert run.scorer is not None
    x = [torch.from_numpy(part) for part in parts]
    with torch.no_grad():
        z = run.model.encode(*x)
        x_hat = run.model.decode(z)
        back = x_hat if isinstance(x_hat, tuple) else (x_hat,)
        score, off, scores = run.scorer(*x, z, *back)
    return score.numpy(), off.numpy(), scores.numpy()


def broken(x: Array, column: int) -> Array:
    """Rows with another row's value in a column: each value is ordinary, the row is not."""
    x = x.copy()
    x[:, column] = np.roll(x[:, column], 1)
    return x


def test_rows_that_contradict_themselves_score_higher(run: Run) -> None:
    ordinary, strange = linked(1000, 1), broken(linked(1000, 2), 4)
    truth = np.repeat([False, True], 1000)
    scores = scored(run, np.concatenate([ordinary, strange]))[2]
    found = dict(zip(NAMES, scores.T, strict=True))
    # A value is not far from another row's in every case.
    assert roc_auc_score(truth, found["nearest"]) > 0.9
    for name in ("error", "whitened", "combined"):
        assert roc_auc_score(truth, found[name]) > 0.95, name


@pytest.mark.parametrize("column", range(6))
def test_the_column_that_is_wrong_is_the_most_off(run: Run, column: int) -> None:
    x = linked(500, 3)
    changed = broken(x, column)
    far = np.abs(changed[:, column] - x[:, column]) > 1
    off = scored(run, changed)[1]
    assert (off.argmax(1) == column)[far].mean() > 0.95


def test_the_threshold_keeps_its_false_alarm_rate(run: Run) -> None:
    threshold = run.schema.threshold
    assert threshold is not None
    assert (threshold.false_alarm_rate, threshold.method) == (0.01, "held-out")
    rate = float((scored(run, linked(20_000, 4))[0] > threshold.value).mean())
    assert threshold.low is not None
    assert threshold.high is not None
    assert threshold.low < rate < threshold.high < 0.03


def test_scores_are_those_of_a_plain_reference(run: Run) -> None:
    scorer, x = run.scorer, linked(50, 5)
    assert scorer is not None
    x[::3, 1] = np.nan
    with torch.no_grad():
        z = run.model.encode(torch.from_numpy(x)).numpy()
        x_hat = run.model.decode(torch.from_numpy(z)).numpy()
    t = {name: value.numpy().astype(np.float64) for name, value in scorer.state_dict().items()}
    numbers = run.model.preprocess
    offset, scale = numbers.offset.numpy(), numbers.scale.numpy()
    for row, found in enumerate(scored(run, x)[2]):
        s, s_hat = (x[row] - offset) / scale, (x_hat[row] - offset) / scale
        there = ~np.isnan(s)
        error = np.where(there, s - s_hat, 0)
        filled = np.where(there, s, s_hat)
        along = (filled - t["mean"]) @ t["axes"].T
        # Nothing but what rounding the axes to float32 leaves.
        left = (((filled - t["mean"]) ** 2).sum() - (along**2).sum()) / t["spread_rest"]
        far = [((along / t["spread"] - centre) ** 2).sum() for centre in t["centres"]]
        nearest = ((min(far) + left) / there.sum()) ** 0.5
        plain = (error[there] ** 2).mean() ** 0.5
        covariance = t["error_rest"] * np.linalg.inv(
            np.eye(6) - t["error_axes"].T * t["error_gain"] @ t["error_axes"]
        )
        e = error - t["error_mean"]
        whitened = (e @ np.linalg.solve(covariance, e) / there.sum()) ** 0.5
        latent = (((z[row] - t["z_mean"]) @ t["z_axes"]) ** 2).mean() ** 0.5
        four = np.array([nearest, plain, whitened, latent])
        combined = ((four - t["shift"]) * t["weight"]).sum()
        np.testing.assert_allclose(found, [*four, combined], rtol=1e-4, atol=1e-5)


def test_the_covariance_is_that_of_the_rows(run: Run) -> None:
    assert run.scorer is not None
    t = {name: value.numpy().astype(np.float64) for name, value in run.scorer.state_dict().items()}
    x, known = linked(4000, 0), run.split.train
    s = (x - x[known].mean(0)) / x[known].std(0)
    # What each column is off from its regression on the others, with the shrinkage of fit.
    covariance = np.cov(s.T, bias=True)
    shrunk = covariance + scoring.SHRINK * np.trace(covariance) / 6 * np.eye(6)
    precision = np.linalg.inv(shrunk)
    expected = np.abs((s - s.mean(0)) @ precision) / np.sqrt(np.diag(precision))
    np.testing.assert_allclose(scored(run, x)[1], expected, atol=1e-3)
    assert t["axes"].shape == (6, 6)


def test_windows_across_two_parts_are_known_to_the_scorer(small: Small, tmp_path: Path) -> None:
    recipe = small(data={"kind": "series", "window": 16})
    random = np.random.default_rng(0)
    steps = np.cumsum(random.standard_normal((300, 2)), axis=0)  # it wanders: every part counts
    np.save(path := tmp_path / "steps.npy", steps)
    run = train(load([str(path)], recipe), recipe)
    assert sum(run.schema.rows.values()) < 300 - 16 + 1
    windows = np.lib.stride_tricks.sliding_window_view(steps, 16, axis=0).swapaxes(1, 2)
    scaled = run.model.preprocess.scale_rows(torch.from_numpy(windows.copy())).flatten(1)
    assert run.scorer is not None
    np.testing.assert_allclose(run.scorer.mean, scaled.mean(0), atol=1e-5)


def test_no_centre_is_a_row(small: Small) -> None:
    for count in (30, 200, 2000):
        x = linked(count, 6)
        x[0] = 20.0  # a cluster of its own
        run = train(x, small())
        assert run.scorer is not None
        centres = run.scorer.centres.numpy()
        numbers = run.model.preprocess
        s = (x - numbers.offset.numpy()) / numbers.scale.numpy()
        t = {name: value.numpy() for name, value in run.scorer.state_dict().items()}
        white = (s - t["mean"]) @ t["axes"].T / t["spread"]
        distance = np.abs(white[:, None] - centres[None]).max(2).min()
        assert distance > 1e-3
        assert len(centres) <= max(1, count // scoring.ROWS_A_CENTRE)


def test_without_the_strangest_rows(small: Small) -> None:
    ordinary, strange = linked(2000, 7), broken(linked(100, 8), 2)
    strange[:, 2] += 8
    x = np.concatenate([ordinary, strange])[np.random.default_rng(0).permutation(2100)]
    new = linked(300, 9)
    new[:, 2] += 8
    found = {}
    for trim in (0.0, 0.06):
        run = train(x, small(score={"trim": trim, "name": "nearest"}))
        assert run.schema.threshold is not None
        found[trim] = float((scored(run, new)[0] > run.schema.threshold.value).mean())
    assert found[0.0] < 0.3 < 0.8 < found[0.06]


def test_the_same_scorer_again(run: Run, small: Small) -> None:
    again = train(linked(4000, 0), small(data={"validation": 0.25}))
    assert run.scorer is not None
    assert again.scorer is not None
    for name, value in run.scorer.state_dict().items():
        assert torch.equal(value, again.scorer.state_dict()[name]), name


def test_a_loaded_run_scores_alike(rows: Array, small: Small, tmp_path: Path) -> None:
    made = train(rows, small(score={"name": "whitened"}), out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert loaded.schema.threshold == made.schema.threshold
    for ours, theirs in zip(scored(made, rows), scored(loaded, rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(scored(loaded, rows)[0], scored(loaded, rows)[2][:, 2])


def test_none_wanted(rows: Array, small: Small, tmp_path: Path) -> None:
    made = train(rows, small(score={"name": "none"}), out=tmp_path / "run")
    assert (made.scorer, made.schema.scores, made.schema.threshold) == (None, None, None)
    assert Run.load(tmp_path / "run").scorer is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "width", "count"), [(40, 1, 7), (700, 5, 64), (2000, 30, 256)])
def test_the_first_centres_are_those_of_scikit_learn(
    dtype: type, rows: int, width: int, count: int
) -> None:
    s = np.random.default_rng(0).standard_normal((rows, width)).astype(dtype)
    theirs, _ = kmeans_plusplus(s, count, random_state=3)
    ours = scoring._first_centres(s, count, np.random.RandomState(3))
    np.testing.assert_array_equal(ours, theirs)
