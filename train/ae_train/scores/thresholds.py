"""Quantiles of scores with their ties, a threshold, and its confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Score, Threshold
from ae_runtime.model.tails import alarms_between, exceeded_by, same_as

Array = NDArray[Any]
# Shares of rows that quantiles are given at, the largest score beside them.
LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
TIED = 5  # rows with the same score that make it a tie, which unseen rows have, too
_MOST_TIES, _TIE_SHARE = 32, 0.01  # ties among the quantiles, and their least share of rows
_TAIL_SHARE, _TAIL_ROWS = 0.1, (5, 50)  # share and number of rows that the tail is fitted to
_ALIKE = 1e-6  # relative difference of the scores of equal rows, in one call
_EXCEEDANCES = 10  # rows above a level that show whether they cluster
_CLUSTER_SHARES = (0.1, 0.05, 0.02, 0.01)  # shares of rows above these levels


def calibrated(own: Array, unseen: Array) -> Array:
    """Estimate the scores that new rows like these would have from the scorer, (N,).

    own: their scores by the scorer that was fitted on them. unseen: by scorers that were not. A
    value of `own` that many rows share stays, because new rows have it as well.
    """
    own, unseen = own.astype(np.float64), unseen.astype(np.float64)
    _, group, count = np.unique(
        np.rint(own / (_ALIKE * (1 + np.abs(np.median(own))))),
        return_inverse=True,
        return_counts=True,
    )
    return np.where(count[group] >= TIED, own, unseen)


def describe(name: str, scores: Array, rate: float, rows: float | None = None) -> Score:
    """Quantiles of a score over rows that it was not fitted on, and the mean excess of its tail.

    rate: a share that a quantile leaves above it, if there are enough rows. rows: how many
    independent rows they are worth; None for all. With n independent rows, a new one scores
    above the k-th smallest with a probability of (n + 1 - k) / (n + 1), whatever the distribution
    (Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World): the new one counts as
    well.
    """
    scores = np.sort(scores.astype(np.float64))
    count = len(scores)
    quantiles = _quantiles(scores, rate)
    near = same_as(quantiles)
    at_least = (count - np.searchsorted(scores, quantiles - near) + 1) / (count + 1)
    above = (count - np.searchsorted(scores, quantiles + near, "right") + 1) / (count + 1)
    alone = at_least - above <= 1.5 / (count + 1)  # a single row: the share past it is as large
    at_least = np.where(alone, above, at_least)
    at_least[1:] = np.minimum(at_least[1:], above[:-1])
    at_least[0] = 1.0
    return Score(
        name,
        (1 - at_least).tolist(),
        quantiles.tolist(),
        _tail_mean(scores),
        above.tolist(),
        float(rows or count),
    )


def _quantiles(scores: Array, rate: float) -> Array:
    """Sorted scores at LEVELS and at the rate, those with ties, and the largest."""
    count = len(scores)
    levels = np.array([*LEVELS, 1 - rate, 1.0])
    places = np.ceil((count + 1) * levels - 1e-9).astype(int).clip(1, count) - 1
    values, times = np.unique(scores[places], return_counts=True)
    ties, times = np.unique(scores, return_counts=True)
    many = times >= max(TIED, _TIE_SHARE * count)
    ties = ties[many][np.argsort(-times[many], kind="stable")[:_MOST_TIES]]
    apart: list[float] = []
    for value in np.unique(np.concatenate([values, ties])).tolist():
        if not apart or value > apart[-1] + float(same_as(apart[-1])):
            apart.append(value)
    return np.array(apart if len(apart) > 1 else apart * 2)


def _tail_mean(scores: Array) -> float:
    """Mean excess of the highest scores over the next lower one."""
    low, high = _TAIL_ROWS
    most = min(max(low, min(high, int(_TAIL_SHARE * len(scores)))), len(scores) - 1)
    return float((scores[-most:] - scores[-most - 1]).mean()) if most else 0.0


def threshold(score: Score, rate: float) -> Threshold:
    """The threshold that a share `rate` of ordinary rows exceeds, with a confidence interval."""
    low, high = alarms_between(score, rate) or (None, None)
    return Threshold(score.name, exceeded_by(score, rate), rate, "held-out", low, high)


def independent_rows(scores: Array, groups: list[Array], rate: float) -> float:
    """How many independent rows would tell shares above a value as well as these scores (N,).

    groups: partitions of the rows, each (N,) group numbers: blocks of time steps, say. Rows that
    score high together tell less than as many that do not: by the variance of counts in a group
    over that of independent rows (Kish 1965, Survey Sampling: the design effect).
    """
    count, effect = len(scores), 1.0
    for share in (*_CLUSTER_SHARES, rate):
        high = scores > np.quantile(scores, 1 - share)
        part = high.mean()
        if high.sum() < _EXCEEDANCES:
            continue
        for group in groups:
            sizes = np.bincount(group)
            sizes, counts = sizes[sizes > 0], np.bincount(group, high)[sizes > 0]
            spread = ((counts - part * sizes) ** 2).sum() * len(sizes) / max(len(sizes) - 1, 1)
            effect = max(effect, spread / (count * part * (1 - part)))
    return max(count / float(effect), 1.0)
