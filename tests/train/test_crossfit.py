"""Scores of what a scorer has not seen: rows of a group together, windows that share no step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import make_dataset
from ae_train.fit.preparing import prepare
from ae_train.network.scorer import NAMES, Scorer
from ae_train.recipe import Recipe
from ae_train.scores import crossfit, step_scores
from ae_train.scores.measured import measure
from ae_train.scores.step_scores import OfTime, crossed_windows, of_steps
from ae_train.training import train

Array = NDArray[Any]
Rows = NDArray[np.int64]
Small = Callable[..., Recipe]


def noise(steps: int, seed: int) -> Array:
    """(steps, 2): each step half of the one before."""
    e = np.random.default_rng(seed).standard_normal((steps, 2))
    for at in range(1, steps):
        e[at] += 0.5 * e[at - 1]
    return e


def test_rows_of_a_group_are_left_out_together() -> None:
    names = np.repeat([f"g{n}" for n in range(40)], np.arange(1, 41))
    x = np.random.default_rng(0).standard_normal((len(names), 3))
    data = make_dataset(x, groups=names)
    numbers = np.arange(0, len(names), 2)
    times = np.zeros(len(numbers), int)
    for out in crossfit._folds(data, numbers, 0):
        assert not set(names[numbers[out]]) & set(names[numbers[~out]])
        times += out
    np.testing.assert_array_equal(times, 1)  # each row by one scorer that has not seen it


def gappy() -> Windows:
    """Windows of two series, every second step, with a gap of 25 steps in the first."""
    series = [noise(300, 1), noise(90, 2)]
    return Windows.cut(series, 8, 2, [[151, 176], []])


def test_windows_at_each_step_do_not_cross_a_gap() -> None:
    known = gappy()
    for at, (length, borders) in enumerate([(300, (151, 176)), (90, ())]):
        starts = step_scores._every_start(known, at)
        assert np.diff(starts).min() == 1
        assert starts[0] == 0
        assert starts[-1] + known.window == length
        for border in borders:
            assert not ((starts < border) & (starts + known.window > border)).any()
        assert set(known.starts[known.index == at]) <= set(starts)


class Marks:
    """In place of a scorer: every score is its number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def of_scaled(self, s: Tensor, *_: Any) -> tuple[Tensor]:
        return (torch.full((len(s), len(NAMES)), float(self.number)),)


def test_a_scorer_of_a_fold_shares_no_step_with_what_it_scores(small: Small) -> None:
    known, recipe = gappy(), small(data={"kind": "series", "window": 8})
    data = make_dataset(known, "series")
    model = train(data, recipe).model
    prepared = prepare(data, recipe, torch.device("cpu"))
    numbers = np.arange(0, len(known), 3)
    fitted_on: list[Rows] = [numbers]

    def fitted(apart: NDArray[np.bool_]) -> Any:
        fitted_on.append(numbers[apart])
        return Marks(len(fitted_on) - 1)

    rows, whole = measure(model, data, numbers), cast(Scorer, Marks(0))
    found = crossed_windows(model, prepared, whole, rows, numbers, fitted)
    assert (found.own == 0).all()
    assert len(fitted_on) == step_scores.FOLDS + 1
    for of, start, mark, held in zip(
        found.of, found.steps, found.unseen[:, 0], found.held, strict=True
    ):
        assert mark > 0
        assert not near(known, fitted_on[int(mark)], of, start)
        assert held == (not near(known, prepared.split.train, of, start))


def near(known: Windows, numbers: Rows, of: int, start: int) -> bool:
    """Whether one of these windows shares a step with the one that starts there."""
    apart = abs(known.starts[numbers] - start)
    return bool(((known.index[numbers] == of) & (apart < known.window)).any())


def test_a_step_scores_the_mean_of_its_windows_where_all_are_there() -> None:
    known = gappy()
    every = [step_scores._every_start(known, at) for at in (0, 1)]
    index = np.repeat([0, 1], [len(part) for part in every])
    starts = np.concatenate(every)
    kept = (starts < 40) | (starts > 60) | (index == 1)  # a stretch that was not looked at
    index, starts = index[kept], starts[kept]
    own = np.random.default_rng(0).random((len(starts), 4))
    held = starts > 200
    found = of_steps(known, OfTime(own, own + 1, held, index, starts, ()))
    wanted = []
    for at, length in enumerate((300, 90)):
        for step in range(length):
            there = (every[at] <= step) & (step < every[at] + known.window)
            mine = (index == at) & (starts <= step) & (step < starts + known.window)
            if there.any() and mine.sum() == there.sum():
                wanted.append((at, step, held[mine].all(), *own[mine].mean(0)))
    got = np.column_stack([found.of, found.steps, found.held, found.own])
    np.testing.assert_allclose(got, np.array(wanted, float), atol=1e-12)
    np.testing.assert_allclose(found.unseen, found.own + 1, atol=1e-12)
