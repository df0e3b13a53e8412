"""A scorer of all rows, and what unseen rows will score: by scorers of some of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Score, Threshold
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset, Split
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
ENOUGH = 2000  # held-out rows that a threshold is exact enough with: no folds are made then
# Independent rows, at most, that a share is as sure as: what scorers of some of the rows give is a
# little more than what the one of all does, which no number of rows makes up for.
SURE_ROWS = 2000.0
FOLDS, MANY_FOLDS, FEW_ROWS = 5, 10, 500
_FOLD_WINDOWS = 6000
_LATER_WINDOWS = 32  # one after the other, that the threshold of a series comes from alone
_BLOCKS = 8  # of neighbouring rows, at least, that tell how rows hang together


class Scores(NamedTuple):
    """A scorer and what is known of its scores; of time steps, for a series that was cut."""

    scorer: Scorer
    scores: list[Score]
    threshold: Threshold
    step_scores: list[Score] | None = None
    step_threshold: Threshold | None = None


@dataclass(frozen=True)
class Crossed:
    """Scores of rows by the scorer of all rows and by scorers that were not fitted on them.

    own, unseen: (N, 4). held: (N,) bool, whether the model was not trained on the row either.
    groups: ways to cut the rows into groups that hang together, each (N,); () where none do. later:
    whether only the rows that are held tell of "nearest", too.
    """

    own: Array
    unseen: Array
    held: NDArray[np.bool_]
    groups: tuple[Array, ...] = ()
    later: bool = False


def fit_scorer(model: Model, prepared: Prepared, settings: Scoring, seed: int) -> Scores:
    """The scorer of a model on the CPU, quantiles of what unseen rows score, and a threshold.

    The scorer is fitted on all rows. What an unseen row scores is estimated by scorers of most of
    the rows, on the rows that were left out; by a single one, on the held-out rows, where these are
    many or where the caller said which they are. All scores but "nearest" depend on the model: for
    them only rows count that it was not trained on, if there are any. The share settings.trim of
    the rows, the most anomalous, is left out of all this.
    """
    data = prepared.data
    numbers = some(np.arange(len(data)), data.form.numbers, FIT_ROWS)
    rows = measure(model, data, numbers)
    scorer = fit_calmest(model, rows, settings, seed)

    def fitted(kept: Array) -> Scorer:
        places = np.flatnonzero(kept)
        if isinstance(data.parts[0], Windows):  # of which neighbours are nearly the same
            places = some(places, data.form.numbers, _FOLD_WINDOWS)
        return fit_calmest(model, rows.at(places), settings, seed)

    if not isinstance(data.parts[0], Windows):
        crossed = _of_rows(model, prepared, scorer, rows, numbers, fitted, seed)
        scorer.combine(*_weights(crossed))
        return Scores(scorer, *_described(scorer, crossed, settings))
    windows = crossed_windows(model, prepared, scorer, rows, numbers, fitted)
    # What comes next is like what came last, as far as that is long enough to tell.
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
        counts = rows.held if name != "nearest" or rows.later else np.ones(len(own), bool)
        counts = np.flatnonzero(counts if counts.any() else ~counts)
        kept = counts[calmest(unseen[counts, scorer.default], settings.trim)]
        values = calibrated(own[kept, at], unseen[kept, at])
        rate = settings.false_alarm_rate
        groups = [group[kept] for group in rows.groups]
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
    """Scores of held-out rows where there are enough of them, of all rows by folds elsewhere."""
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
    """Rows that the model was not trained on; of a split by the caller, those to validate on."""
    others = [split.validation] if data.split is not None else [split.validation, split.test]
    return np.setdiff1d(np.concatenate(others), split.train)


def _folds(data: Dataset, numbers: Rows, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Masks (N,) bool of the rows left out of each scorer; all rows of a group together."""
    count = MANY_FOLDS if len(numbers) <= FEW_ROWS else FOLDS
    unit = np.arange(len(numbers))
    if data.groups is not None:
        _, unit = np.unique(data.groups[numbers].astype(str), return_inverse=True)
    units = int(unit.max()) + 1
    count = min(count, units)
    fold = np.arange(units) * count // units  # neighbours together, where they hang together
    if data.form.kind != "series":
        fold = np.random.default_rng(seed).permutation(fold)
    for at in range(count):
        out = fold[unit] == at
        if (~out).sum() > 1:
            yield out


def _groups(data: Dataset, numbers: Rows) -> tuple[Array, ...]:
    if data.groups is not None:
        return (np.unique(data.groups[numbers].astype(str), return_inverse=True)[1],)
    if data.form.kind != "series":
        return ()
    sizes = (1 << power for power in range(2, 40))  # windows that were cut before may overlap
    return tuple(np.arange(len(numbers)) // n for n in sizes if n * _BLOCKS <= len(numbers))
