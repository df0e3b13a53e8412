"""Thresholds: ties are counted whole, rates are ordered, and what is stated of alarms holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.model.tails import ARITHMETIC, alarms_between, exceeded_by, tail_probability
from ae_train.scores.thresholds import TIED, calibrated, describe, independent_rows, threshold

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, int], Array]
RATES = (0.0005, 0.005, 0.01, 0.02, 0.05, 0.2)
KINDS: dict[str, Draw] = {
    "normal": lambda random, n: 5 + random.standard_normal(n),
    "lognormal": lambda random, n: np.exp(random.standard_normal(n)),
    "counts": lambda random, n: random.poisson(2.0, n) / 2,
    "rare": lambda random, n: (random.random(n) < 0.004) * random.integers(1, 4, n) * 1.0,
    "categories": lambda random, n: random.integers(0, 6, n) ** 2 * (random.random(n) < 0.1),
    "mixed": lambda random, n: np.where(random.random(n) < 0.5, 1.0, random.exponential(1.0, n)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [10, 50, 300, 5000])
def test_alarms_are_as_stated_and_grow_with_the_rate(kind: str, count: int) -> None:
    random = np.random.default_rng(count)
    fresh = np.sort(KINDS[kind](random, 100_000))
    within = 0
    for _ in range(40):
        score = describe("error", KINDS[kind](random, count), 0.01)
        limits = [exceeded_by(score, rate) for rate in RATES]
        assert limits == sorted(limits, reverse=True)
        for rate, limit in zip(RATES, limits, strict=True):
            low, high = alarms_between(score, rate) or (1.0, 0.0)
            within += low <= 1 - np.searchsorted(fresh, limit, "right") / len(fresh) <= high
    assert within >= 0.95 * 40 * len(RATES)


def test_a_threshold_by_hand() -> None:
    # A new row is above the 96th smallest of 100 with a probability of 5 / 101.
    found = threshold(describe("error", np.arange(100.0), 0.05), 5 / 101)
    assert found.value == pytest.approx(95 + 96 * ARITHMETIC, abs=1e-6)
    assert 94.5 < exceeded_by(describe("error", np.arange(100.0), 0.05), 0.05) < found.value
    low, high = found.low, found.high
    assert low is not None
    assert high is not None
    assert low < 0.04 < 0.05 < high


def test_few_rows_go_past_the_largest_and_say_so() -> None:
    scores = np.random.default_rng(0).exponential(1.0, 30)
    found = threshold(describe("error", scores, 0.01), 0.01)
    assert found.value > scores.max()
    assert found.low == 0.0
    # The largest of 30 rows is exceeded by more than this share in one of a hundred draws.
    assert found.high == pytest.approx(1 - 0.01 ** (1 / 30), rel=1e-3)


def test_rows_that_tie_are_as_rare_as_all_of_them() -> None:
    one, tenth = np.r_[np.zeros(299), 1.0], np.r_[np.zeros(270), np.linspace(1, 2, 30)]
    for scores in (one, tenth, np.zeros(50)):
        score = describe("error", scores, 0.01)
        # Another machine may have it a little lower, or higher.
        found = tail_probability(score, [-1e-6, 0.0, 1e-6])
        np.testing.assert_array_equal(found, [1.0, 1.0, 1.0])
        assert exceeded_by(score, 0.5) > 1e-6
    middle = describe("error", np.r_[np.zeros(500), np.ones(400), np.linspace(2, 3, 100)], 0.01)
    np.testing.assert_allclose(tail_probability(middle, [1.0, 1.0 + 1e-6]), 0.5, atol=2e-3)
    assert tail_probability(middle, [1.001])[0] == pytest.approx(0.1, abs=2e-3)


def test_ties_next_to_each_other_are_both_counted_whole() -> None:
    # Further apart than processors differ, by less than twice that.
    scores = np.r_[np.zeros(600), np.full(380, 1.5 * ARITHMETIC), np.linspace(0.5, 1, 20)]
    score = describe("error", scores, 0.01)
    limit = exceeded_by(score, 0.05)
    assert 1.5 * ARITHMETIC < limit < 3 * ARITHMETIC
    low, high = alarms_between(score, 0.05) or (1.0, 0.0)
    assert low < 0.02 < high < 0.05
    assert tail_probability(score, [1.5 * ARITHMETIC])[0] == pytest.approx(0.4, abs=2e-3)


def test_a_value_that_many_rows_share_is_what_the_scorer_gives() -> None:
    own = np.r_[np.zeros(TIED), np.full(TIED - 1, 0.5), 1.0]
    unseen = own + 0.25
    np.testing.assert_array_equal(
        calibrated(own, unseen), np.r_[np.zeros(TIED), np.full(TIED - 1, 0.75), 1.25]
    )


def test_rows_that_come_in_blocks_count_less() -> None:
    random = np.random.default_rng(0)
    alone = random.standard_normal(10_000)
    blocks = np.arange(10_000) // 100
    assert independent_rows(alone, [blocks], 0.01) > 3000
    # Ten rows each score the same: what is counted is a thousand of them.
    found = independent_rows(np.repeat(alone[:1000], 10), [blocks], 0.01)
    assert 400 < found < 1300
    assert describe("error", alone, 0.01, found).rows == found


@pytest.mark.parametrize("count", [2, 5, 60, 5000])
def test_quantiles_rise_to_the_largest_score(count: int) -> None:
    scores = np.random.default_rng(0).exponential(2.0, count)
    found = describe("error", scores, 0.01)
    assert found.quantiles[-1] == scores.max()
    assert found.levels[0] == 0.0
    assert (np.diff(found.quantiles) > 0).all()
    assert found.above is not None
    assert found.above[-1] == pytest.approx(1 / (count + 1))
    assert len(found.quantiles) <= 16
