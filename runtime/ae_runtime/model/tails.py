"""Tail probabilities and thresholds of scores, with confidence intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Score

Array = NDArray[Any]
# Relative error of a score, as a share of 1 + the score: export allows a machine to differ from the
# model in float64 by half of it, so two machines may differ by all of it. Scores nearer than that
# count as equal.
ARITHMETIC = 2e-5
# Confidence that intervals are computed with, above the 95 % that they are stated with: held-out
# rows are scored by scorers of some of the rows, which differ a little from the scorer of all.
_SURE = 0.98


def same_as(values: ArrayLike) -> NDArray[np.float64]:
    """Distances from `values` within which scores count as equal to them."""
    return ARITHMETIC * (1 + np.abs(np.asarray(values, np.float64)))


def tail_probability(score: Score, values: ArrayLike) -> NDArray[np.float64]:
    """For each value, the share of rows like the held-out ones that score as high or higher.

    Between quantiles the logarithm of the share is interpolated; past the last one the tail is
    exponential.
    """
    values = np.asarray(values, np.float64)
    if score.above is None:
        return _of_older(score, values)
    quantiles, at_least = np.array(score.quantiles), 1 - np.array(score.levels)
    above = np.array(score.above)
    values = values - same_as(values)  # what ties with a quantile is as high
    after = np.searchsorted(quantiles, values)  # the first quantile that is as high
    low, high = np.maximum(after - 1, 0), np.minimum(after, len(quantiles) - 1)
    width = np.maximum(quantiles[high] - quantiles[low], np.finfo(np.float64).tiny)
    way = (values - quantiles[low]) / width
    between = above[low] * (at_least[high] / above[low]) ** np.clip(way, 0, 1)
    past = np.maximum(values - quantiles[-1], 0)
    tail = above[-1] * np.exp(-past / score.tail_mean) if score.tail_mean else above[-1]
    found = np.where(after == 0, at_least[0], np.where(after == len(quantiles), tail, between))
    return np.where(np.isnan(values), np.nan, found)


def exceeded_by(score: Score, rate: float) -> float:
    """The score that at most a share `rate` of rows like the held-out ones exceeds.

    Never lower for a lower rate. A score that ties with a quantile does not exceed it.
    """
    if score.above is None:
        return _exceeded_by_older(score, rate)
    value, _ = _limit(score, score.above, rate)
    return value + float(same_as(value))


def _limit(score: Score, above: list[float], rate: float) -> tuple[float, float]:
    """(score, share of rows above it): the share is `rate`, or less where many rows tie."""
    quantiles = score.quantiles
    if rate < above[-1]:
        return quantiles[-1] + score.tail_mean * math.log(above[-1] / rate), rate
    at = next(at for at, share in enumerate(above) if share <= rate)
    at_least = 1 - score.levels[at]
    if at == 0 or rate < at_least:
        return quantiles[at], above[at]
    way = math.log(above[at - 1] / rate) / math.log(above[at - 1] / at_least)
    return quantiles[at - 1] + way * (quantiles[at] - quantiles[at - 1]), rate


def alarms_between(score: Score, rate: float) -> tuple[float, float] | None:
    """95 % confidence interval of the share of ordinary rows above exceeded_by(score, rate).

    An exact interval for a counted share (Clopper & Pearson 1934, The use of
    confidence or fiducial limits), which holds for any distribution. None for an older bundle.
    """
    if score.above is None or score.rows is None:
        return None
    _, share = _limit(score, score.above, rate)
    # `share` counts one row more than was seen, the new one, as above: it is taken off here.
    return share_between(max(share * (score.rows + 1) - 1, 0.0), score.rows)


def share_between(count: float, rows: float) -> tuple[float, float]:
    """The confidence interval of a share, where `count` of `rows` independent rows were found."""
    tail = (1 - _SURE) / 2
    low = _beta_quantile(count, rows - count + 1, tail) if count >= 1 else 0.0
    return low, _beta_quantile(count + 1, rows - count, 1 - tail) if count < rows else 1.0


def _beta_quantile(a: float, b: float, share: float) -> float:
    """The quantile of a beta distribution, by the density of the logarithm of its odds."""
    middle = math.log(a / b)
    reach = 14 * math.sqrt(1 / a + 1 / b)  # a tail of exp(-reach * a) or exp(-reach * b), at most
    odds = np.linspace(middle - reach, middle + reach, 20_001)
    logs = a * odds - (a + b) * np.logaddexp(0, odds)
    below = np.cumsum(np.exp(logs - logs.max()))
    return 1 / (1 + math.exp(-float(np.interp(share * below[-1], below, odds))))


def _of_older(score: Score, values: Array) -> NDArray[np.float64]:
    levels, quantiles = np.array(score.levels), np.array(score.quantiles)
    inside = np.exp(np.interp(values, quantiles, np.log1p(-levels)))
    past = np.maximum(values - quantiles[-1], 0)
    if not score.tail_mean:
        return np.where(past > 0, 0.0, inside)
    return np.asarray(inside * np.exp(-past / score.tail_mean))


def _exceeded_by_older(score: Score, rate: float) -> float:
    last = 1 - score.levels[-1]
    if rate < last:
        return score.quantiles[-1] + score.tail_mean * math.log(last / rate)
    log_shares = -np.log1p(-np.array(score.levels))
    return float(np.interp(-math.log(rate), log_shares, score.quantiles))
