"""Fit the scorer on all rows; estimate scores of unseen rows by scorers of some of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Score, Threshold
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset, Split
from ae_train.fit.blocks import units_of
from ae_train.fit.preparing import Prepared
from ae_train.network.model import Model
from ae_train.network.scorer import NAMES, Scorer
from ae_train.recipe import Scoring
from ae_train.scores.measured import Measured, measure, some
from ae_train.scores.scoring import calmest, fit_calmest, four_scores, weights, with_combined
from ae_train.scores.step_scores import crossed_windows, of_steps
from ae_train.scores.thresholds import calibrated, describe, independent_rows, threshold

Array = NDArray[Any]
Rows = NDArray[np.int64]
FIT_ROWS, HELD_ROWS = 20_000, 50_000
ENOUGH = 2000  # held-out rows that make a threshold exact enough without folds
# Independent rows at most that a confidence interval counts: scorers of some of the rows score a
# little higher than the scorer of all, which no number of rows makes up for.
SURE_ROWS = 2000.0
FOLDS, MANY_FOLDS, FEW_ROWS = 5, 10, 500
_FOLD_WINDOWS = 6000
_LATER_WINDOWS = 32  # windows in a row, held out, that are enough for a series' threshold
_BLOCKS = 8  # blocks of neighbouring rows that show how rows depend on each other


class Scores(NamedTuple):
    """A scorer, its scores' quantiles and threshold; those of time steps, too, for a cut series."""

    scorer: Scorer
    scores: list[Score]
    threshold: Threshold
    step_scores: list[Score] | None = None
    step_threshold: Threshold | None = None


@dataclass(frozen=True)
class Crossed:
    """Scores of rows by the scorer of all rows and by scorers that were not fitted on them.

    own, unseen: (N, 4). held: (N,) bool, whether the model was not trained on the row either.
    groups: partitions of the rows into dependent groups, each (N,); () where rows are independent.
    later: whether "nearest", too, is described by the held rows only.
    """

    own: Array
    unseen: Array
    held: NDArray[np.bool_]
    groups: tuple[Array, ...] = ()
    later: bool = False


def fit_scorer(model: Model, prepared: Prepared, settings: Scoring, seed: int) -> Scores:
    """The scorer of a model on the CPU, quantiles of the scores of unseen rows, and a threshold.

    The scorer is fitted on all rows. Scores of unseen rows are estimated by scorers of most of
    the rows, on the rows that were left out; by a single one, on the held-out rows, where these are
    many or where the caller said which they are. All scores but "nearest" depend on the model: for
    them only rows count that it was not trained on, if there are any. The share settings.trim of
    the rows, the most anomalous, is left out of all this.
    """
    data = prepared.data
    numbers = some(np.arange(len(data)), data.form.numbers, FIT_ROWS)
    rows = measure(model, data, numbers)
    scorer = fit_calmest(model, rows, settings, seed)

    def fitted(mask: Array) -> Scorer:
        places = np.flatnonzero(mask)
        if isinstance(data.parts[0], Windows):  # neighbouring ones are nearly the same
            places = some(places, data.form.numbers, _FOLD_WINDOWS)
        return fit_calmest(model, rows.at(places), settings, seed)

    if not isinstance(data.parts[0], Windows):
        crossed = _of_rows(model, prepared, scorer, rows, numbers, fitted, seed)
        scorer.combine(*_weights(crossed))
        return Scores(scorer, *_described(scorer, crossed, settings))
    windows = crossed_windows(model, prepared, scorer, rows, numbers, fitted)
    # The next steps are most like the latest ones, where these are enough to tell.
    later = bool(windows.held.sum() >= _LATER_WINDOWS * data.parts[0].window)
    crossed = Crossed(*windows[:3], windows.blocks, later)
    scorer.combine(*_weights(crossed))
    steps = of_steps(data.parts[0], windows)
    return Scores(
        scorer,
        *_described(scorer, crossed, settings),
        *_described(scorer, Crossed(*steps[:3], steps.blocks, later), settings),
    )


def _weights(rows: Crossed) -> tuple[Array, Array]:
    return weights(rows.unseen[rows.held] if rows.held.any() else rows.unseen)


def _described(scorer: Scorer, rows: Crossed, settings: Scoring) -> tuple[list[Score], Threshold]:
    own, unseen = with_combined(scorer, rows.own), with_combined(scorer, rows.unseen)
    scores = []
    for at, name in enumerate(NAMES):
        scored = rows.held if name != "nearest" or rows.later else np.ones(len(own), bool)
        scored = np.flatnonzero(scored if scored.any() else ~scored)
        scored = scored[calmest(unseen[scored, scorer.default], settings.trim)]
        values = calibrated(own[scored, at], unseen[scored, at])
        rate = settings.false_alarm_rate
        groups = [group[scored] for group in rows.groups]
        alike = independent_rows(values, groups, rate) if groups else float(len(values))
        scores.append(describe(name, values, rate, min(alike, SURE_ROWS)))
    return scores, threshold(scores[scorer.default], settings.false_alarm_rate)


def _of_rows(
    model: Model,
    prepared: Prepared,
    scorer: Scorer,
    rows: Measured,
    numbers: Rows,
    fitted: Any,
    seed: int,
) -> Crossed:
    """Score held-out rows where there are enough of them, else all rows, fold by fold."""
    data, split = prepared.data, prepared.split
    held = _held_out(data, split)
    if data.split is not None or len(held) >= ENOUGH:
        apart = ~np.isin(numbers, held)
        held = some(held, data.form.numbers, HELD_ROWS)
        if len(held) and apart.sum() > 1:
            left_out = measure(model, data, held)
            own, unseen = four_scores(scorer, left_out), four_scores(fitted(apart), left_out)
            return Crossed(own, unseen, np.ones(len(held), bool), _groups(data, held))
    own = four_scores(scorer, rows)
    unseen = own.copy()
    for out in _folds(data, numbers, seed):
        unseen[out] = four_scores(fitted(~out), rows.at(out))
    return Crossed(own, unseen, np.isin(numbers, held), _groups(data, numbers))


def _held_out(data: Dataset, split: Split) -> Rows:
    """Rows that the model was not trained on; if the caller split them, the validation rows."""
    others = [split.validation] if data.split is not None else [split.validation, split.test]
    return np.setdiff1d(np.concatenate(others), split.train)


def _folds(data: Dataset, numbers: Rows, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield masks (N,) bool of the rows that each scorer leaves out; groups stay together."""
    count = MANY_FOLDS if len(numbers) <= FEW_ROWS else FOLDS
    unit = units_of(data, numbers)
    units = int(unit.max()) + 1
    count = min(count, units)
    fold = np.arange(units) * count // units  # neighbours together, for series
    if data.form.kind != "series":
        fold = np.random.default_rng(seed).permutation(fold)
    for at in range(count):
        out = fold[unit] == at
        if (~out).sum() > 1:
            yield out


def _groups(data: Dataset, numbers: Rows) -> tuple[Array, ...]:
    if data.groups is not None:
        return (units_of(data, numbers),)
    if data.form.kind != "series":
        return ()
    sizes = (1 << power for power in range(2, 40))  # windows that were cut before may overlap
    return tuple(np.arange(len(numbers)) // n for n in sizes if n * _BLOCKS <= len(numbers))
