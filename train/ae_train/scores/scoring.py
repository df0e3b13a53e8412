"""Fit the scores of a trained model on rows that were measured."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_train.network.model import Model
from ae_train.network.pca import Pca, fit_pca
from ae_train.network.scorer import NAMES, Scorer
from ae_train.recipe import Scoring
from ae_train.scores.measured import NUMBERS, Measured

Array = NDArray[Any]
AXES = 128  # leading axes of a covariance; all other directions share one variance
SHRINK = 0.01  # share of the mean variance that is added to that of each axis
# Like SHRINK, for the space that centres are in; found by trials on the sets of `make
# bench-anomaly`. With none, directions of noise count as much as the others; with much, those that
# find broken relations count for little.
SOFT = 0.3
# Variance of a negligible error: a hundredth of a std, squared. Where errors are smaller, another
# machine's rounding of x_hat would show in what is divided by them.
EXACT = 1e-4
CENTRE_NUMBERS = 1 << 20  # numbers of all centres together: 4 MB in the bundle
MIN_CENTRES, ROWS_A_CENTRE = 16, 4
SHARED = 5  # rows, at least, that a centre is the mean of, as for a category
MIN_AXES = 16
_TRIMS = 3  # times that scores are fitted again without the most anomalous rows
# Weights in "combined", in the order of NAMES: by trials on the sets of `make bench-anomaly`.
_WEIGHTS = (2.0, 0.0, 1.0, 0.0)


def fit_calmest(model: Model, rows: Measured, settings: Scoring, seed: int) -> Scorer:
    """Fit a scorer without the share settings.trim of rows that it scores highest itself."""
    calm = rows
    for _ in range(_TRIMS if settings.trim else 0):
        scorer = _fit(model, calm, settings, seed)
        four = four_scores(scorer, rows)
        scorer.combine(*weights(four))
        calm = rows.at(calmest(with_combined(scorer, four)[:, scorer.default], settings.trim))
    return _fit(model, calm, settings, seed)


def calmest(scores: Array, trim: float) -> Array:
    """Places, in order, of all rows but the share `trim` with the highest scores."""
    if not trim:
        return np.arange(len(scores))
    places = np.argsort(scores, kind="stable")[: max(2, math.ceil(len(scores) * (1 - trim)))]
    return np.sort(places)


def four_scores(scorer: Scorer, rows: Measured) -> Array:
    """Every score but the combined one, (N, 4), in float32."""
    step = max(1, NUMBERS // 16 // max(rows.s.shape[1], 1))
    parts = zip(
        *(part.split(step) for part in (rows.s, rows.s_hat, rows.z)),
        rows.there.split(step) if rows.there is not None else [None] * -(-len(rows) // step),
        strict=True,
    )
    with torch.no_grad():
        return torch.cat([scorer.of_scaled(*part)[0] for part in parts]).numpy()[:, :-1]


def with_combined(scorer: Scorer, four: Array) -> Array:
    """Scores with the combined one, (N, 5) float64. four: (N, 4), of this scorer or another."""
    shift, weight = (part.numpy().astype(np.float64) for part in (scorer.shift, scorer.weight))
    return np.column_stack([four, ((four - shift) * weight).sum(1)])


def weights(four: Array) -> tuple[Array, Array]:
    """(shift (4,), weight (4,)) of the combination, from how scores spread over held-out rows."""
    each = four.astype(np.float64)
    low, middle, high = np.quantile(each, [0.25, 0.5, 0.75], axis=0)
    weight = np.array(_WEIGHTS) / np.maximum(high - low, 1e-6 * np.maximum(middle, 1e-6))
    return middle, weight / sum(_WEIGHTS)


def _fit(model: Model, rows: Measured, settings: Scoring, seed: int) -> Scorer:
    s, error = rows.s, rows.s - rows.s_hat
    if rows.there is not None:
        s, error = torch.where(rows.there, s, rows.s_hat), error * rows.there
    axes, errors = fit_pca(s.numpy()), fit_pca(error.numpy())
    gain, rest = _inverse(axes, 0.0)
    spread, spread_rest = _softly(axes)
    held = (axes.axes[: len(gain)] ** 2 * gain[:, None]).sum(0)  # of P's diagonal, times rest
    error_gain, error_rest = _inverse(errors, EXACT)
    z_mean, z_axes = _whitening(rows.z.numpy().astype(np.float64))
    tensors = {
        "mean": axes.mean,
        "axes": axes.axes[: len(gain)],
        "gain": gain,
        "unit": 1 / np.sqrt(rest * np.maximum(1 - held, 1e-12)),
        "spread": spread,
        "spread_rest": np.array(spread_rest),
        "error_mean": errors.mean,
        "error_axes": errors.axes[: len(error_gain)],
        "error_gain": error_gain,
        "error_rest": np.array(error_rest),
        "centres": _centres(_white(s.numpy(), axes, spread), settings.centres, seed),
        "z_mean": z_mean,
        "z_axes": z_axes,
        "weight": np.zeros(len(NAMES) - 1),
        "shift": np.zeros(len(NAMES) - 1),
    }
    buffers = {name: torch.from_numpy(np.asarray(a, np.float32)) for name, a in tensors.items()}
    return Scorer(model.preprocess, buffers, settings.name).eval()


def _inverse(pca: Pca, least: float) -> tuple[Array, float]:
    """(gain (R,), rest) of the inverse covariance (I - axes' gain axes) / rest.

    least: variance that is added at least.
    """
    variance, left = _leading(pca)
    shrink = max(SHRINK * _mean_variance(pca), least, 1e-12)
    rest = left + shrink
    return 1 - rest / (variance + shrink), rest


def _softly(pca: Pca) -> tuple[Array, float]:
    """(std along the axes (R,), variance in each other direction), both grown by SOFT."""
    variance, left = _leading(pca)
    shrink = max(SOFT * _mean_variance(pca), 1e-12)
    return np.sqrt(variance + shrink), left + shrink


def _leading(pca: Pca) -> tuple[Array, float]:
    """(variances of the leading axes (R,), variance in each direction that is left)."""
    width = pca.axes.shape[1]
    variance = pca.variance[: min(AXES, max(MIN_AXES, CENTRE_NUMBERS // max(width, 1)))]
    left = max(pca.total - float(variance.sum()), 0.0) / max(width - len(variance), 1)
    return variance, left


def _mean_variance(pca: Pca) -> float:
    return pca.total / max(pca.axes.shape[1], 1)


def _white(s: Array, pca: Pca, spread: Array) -> Array:
    """Coordinates of rows along the leading axes, in units of `spread`, (N, R) float32."""
    along = (s - pca.mean) @ pca.axes[: len(spread)].T
    return np.asarray(along / spread, np.float32)


def _whitening(z: Array) -> tuple[Array, Array]:
    """(mean (K,), axes (K, K)): (z - mean) @ axes is white."""
    mean = z.mean(0)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(z.T, bias=True)))
    least = max(SHRINK * float(variance.mean()), 1e-12)
    return mean, axes / np.sqrt(np.maximum(variance, 0) + least)


def _centres(s: Array, count: int, seed: int) -> Array:
    """Centres of k-means, (N, W), from k-means++, each the mean of at least SHARED rows.

    A bundle must not carry rows: the centre of a smaller cluster is the mean of the rows that are
    nearest to it.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neighbors import NearestNeighbors

    most = max(MIN_CENTRES, CENTRE_NUMBERS // max(s.shape[1], 1))
    count = max(1, min(count, most, len(s) // ROWS_A_CENTRE))
    # One thread: sums in another order would give other bits.
    with _libraries().limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than centres
        means = KMeans(count, init=_first_centres, n_init=1, max_iter=30, random_state=seed).fit(s)
        centres = np.array(means.cluster_centers_)
        small = np.bincount(means.labels_, minlength=count) < SHARED
        if small.any():
            near = NearestNeighbors(n_neighbors=min(SHARED, len(s)), algorithm="brute").fit(s)
            rows = near.kneighbors(centres[small], return_distance=False)
            centres[small] = s[rows].mean(1)
    return centres


@cache
def _libraries() -> Any:
    """The thread pools of this process, looked up once: a search takes 6 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _first_centres(s: Array, count: int, random_state: np.random.RandomState) -> Array:
    """Rows of s (N, W) far from each other, (count, W): greedy k-means++.

    Arthur & Vassilvitskii 2007. The same rows as scikit-learn's, in a fourth of its time, most of
    which goes into checks of its arguments, once for each centre.
    """
    exact, ones = s.astype(np.float64), np.ones((len(s), 1), s.dtype)
    norms = np.einsum("ij,ij->i", exact, exact)

    def squares(rows: Array) -> Array:
        """Squared distances of these rows to all, (R, N)."""
        products = (-2 * exact[rows]) @ exact.T
        return np.maximum((products + norms[rows, None] + norms).astype(s.dtype), 0)

    chosen = [int(random_state.choice(len(s), p=ones[:, 0] / ones.sum()))]
    nearest = squares(np.array(chosen))[0]  # squared distance of each row to the centres so far
    rest = nearest @ ones
    while len(chosen) < count:
        draws = random_state.uniform(size=2 + int(np.log(count))) * rest
        rows = np.searchsorted(np.cumsum(nearest), draws).clip(max=len(s) - 1)
        candidates = np.minimum(nearest, squares(rows))
        sums = candidates @ ones
        best = int(np.argmin(sums))
        chosen.append(int(rows[best]))
        nearest, rest = candidates[best], sums[best]
    return s[chosen]
