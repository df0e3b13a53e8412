"""Drift: counters say how far rows are from what training knew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import load
from ae_runtime.drift import Drift
from ae_runtime.errors import ScoreUnknown, ShapeMismatch

COLUMNS = ["far", "tiny", "gaps", "constant", "empty", "count"]


def test_columns_are_counted_beside_their_range(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored")
    drift = Drift(ae)
    column = (ae.manifest.columns or [])[0]
    assert column.max is not None
    assert column.min is not None
    x = np.full((10, 6), np.nan)
    x[:, 0] = (column.min + column.max) / 2
    x[:3, 0] = column.max + 1
    x[3, 0] = column.min - 1
    x[4:, 5] = 1.0
    drift.add(x[:4])
    drift.add(x[4:])
    found = drift.report()
    assert found["rows"] == 10
    assert found["outside"] == dict.fromkeys(COLUMNS, 0.0) | {"far": 0.4}
    assert found["missing"]["columns"] == {
        "far": 0.0, "tiny": 1.0, "gaps": 1.0, "constant": 1.0, "empty": 1.0, "count": 0.4,
    }  # fmt: skip
    assert found["missing"]["all"] == pytest.approx((40 + 4) / 60)
    json.dumps(found)


def test_words_that_are_not_known_are_missing(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored_mixed")
    drift = Drift(ae)
    drift.add({"far": [1e6] * 4, "count": [0] * 4, "job": ["admin", "x", None, "tech"],
               "open": ["yes", "maybe", "no", "yes"]})  # fmt: skip
    assert drift.report()["missing"]["columns"] == {
        "far": 0.0, "count": 0.0, "job": 0.25, "open": 0.25,
    }  # fmt: skip
    # "x" is one of the others, which that column knows.
    assert list(drift.report()["outside"]) == ["far", "count"]


def test_scores_are_counted_by_the_quantiles(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored_image")
    x = np.random.default_rng(0).integers(0, 256, (500, 4, 5, 3)).astype(np.uint8)
    for name in ("nearest", "error"):
        drift, scores = Drift(ae, name), ae.score(x, name)
        for start in range(0, 500, 100):
            drift.add(x[start : start + 100], scores[start : start + 100])
        score = next(score for score in ae.manifest.scores or [] if score.name == name)
        assert drift.report()["scores"] == [
            {"level": level, "expected": 1 - level, "found": float((scores > quantile).mean())}
            for level, quantile in zip(score.levels, score.quantiles, strict=True)
        ]


def test_two_workers_are_one(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored")
    x = np.random.default_rng(0).standard_normal((60, 6)) * 1e6
    x[::3, 1] = np.nan
    whole, *parts = (Drift(ae) for _ in range(3))
    whole.add(x, ae.score(x))
    parts[0].add(x[:13], ae.score(x[:13]))
    parts[1].add(x[13:], ae.score(x[13:]))
    parts[0].merge(parts[1])
    assert parts[0].report() == whole.report()
    whole.reset()
    assert whole.report()["rows"] == 0
    assert set(whole.report()["outside"].values()) == {None}


def test_a_bundle_without_scores_counts_the_rest(table_bundle: Path) -> None:
    drift = Drift(load(table_bundle))
    drift.add(np.zeros((2, 6)), [1.0, 2.0])
    assert drift.report()["scores"] == []
    assert drift.report()["outside"]["far"] == 1.0
    with pytest.raises(ShapeMismatch):
        drift.add(np.zeros((2, 5)))
    with pytest.raises(ScoreUnknown, match="no score 'x'"):
        Drift(load(table_bundle.parent / "scored"), "x")
