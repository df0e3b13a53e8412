"""Of a file of fresh steps, as large a share is flagged as the bundle states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_export import export
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import make_dataset
from ae_train.recipe import make_recipe
from ae_train.training import train

RECIPE = {
    "latent_dim": 2,
    "arch": {"width": 8, "depth": 1},
    "fit": {"epochs": 2},
    "data": {"kind": "series"},
}


def test_fresh_steps_are_flagged_as_often_as_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = np.random.default_rng(0).standard_normal((12_000, 2))
    steps[1:] += 0.5 * steps[:-1]
    known = make_dataset(Windows.cut([steps[:2000]], 8, 2), "series")
    export(train(known, make_recipe(RECIPE)), "bundle")
    ae = ae_runtime.load("bundle")
    np.save("fresh.npy", steps[2000:])
    ae.score_file("fresh.npy", "scores.npy")
    score, _, flag = np.load("scores.npy").T
    stated = ae.manifest.step_threshold
    assert stated is not None
    assert stated.low is not None
    assert stated.high is not None
    np.testing.assert_array_equal(flag, score > stated.value)
    assert flag.mean() > 0
    assert stated.low <= flag.mean() <= stated.high
    # Means of windows vary less than windows do: by their threshold fewer steps would be flagged.
    assert ae.manifest.threshold is not None
    assert stated.value < ae.manifest.threshold.value
    # As a stream has them, one step after the other, and by the same threshold.
    assert ae_runtime.Stream(ae).settled_threshold == stated.value
