"""Fit the scores of a trained model on its training rows, and their thresholds on held-out rows."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_runtime.manifest import Score, Threshold
from ae_train.data import Dataset
from ae_train.model import Model
from ae_train.pca import Pca, fit_pca
from ae_train.preparing import Prepared
from ae_train.recipe import Scoring
from ae_train.rows import HeldRows, StreamedRows, make_rows
from ae_train.scorer import NAMES, Scorer, scaled_back

Array = NDArray[Any]
AXES = 128  # of a covariance; what is left of the variance counts alike in all other directions
SHRINK = 0.01  # of the mean variance, added to that of each axis
# The same, for the space that centres are in: by trials on the sets of `make bench-anomaly`. With
# none, directions of noise count as much as the others; with much, those that find broken relations
# count for little.
SOFT = 0.3
# Variance of an error that says nothing: a hundredth of a deviation, squared. Where errors are
# smaller, another machine's rounding of x_hat would show in what is divided by them.
EXACT = 1e-4
CENTRE_NUMBERS = 1 << 20  # of all centres together: 4 MB in the bundle
MIN_CENTRES, ROWS_A_CENTRE = 16, 4
SHARED = 5  # rows at least that a centre is the mean of, as a word of a category stands for
MIN_AXES = 16
_FIT_ROWS, _HELD_ROWS, _NUMBERS = 20_000, 100_000, 1 << 24
_TRIMS = 3  # times that scores are fitted again without the strangest rows
# Shares of held-out rows that quantiles are given at, as far as TAIL_ROWS are past them.
LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
TAIL_ROWS = 5
_MAD = 1.4826  # deviations of a normal distribution in its median absolute deviation
# Of the combination, in the order of NAMES: by trials on the sets of `make bench-anomaly`.
_WEIGHTS = (2.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class _Measured:
    """Rows in scaled space, their reconstructions and latents as a bundle's host has them.

    s, s_hat: (N, W). z: (N, K). there: (N, W) bool, which numbers there are; None: all.
    """

    s: Tensor
    s_hat: Tensor
    z: Tensor
    there: Tensor | None

    def __len__(self) -> int:
        return len(self.s)

    def calmest(self, scores: Array, trim: float) -> _Measured:
        """All but the share `trim` of the rows, those with the highest scores."""
        if not trim:
            return self
        kept = np.argsort(scores, kind="stable")[: max(2, math.ceil(len(self) * (1 - trim)))]
        at = torch.from_numpy(np.sort(kept))
        there = None if self.there is None else self.there[at]
        return _Measured(self.s[at], self.s_hat[at], self.z[at], there)


def fit_scorer(
    model: Model, prepared: Prepared, settings: Scoring, seed: int
) -> tuple[Scorer, list[Score], Threshold]:
    """The scorer of a model on the CPU, what its scores are on held-out rows, and a threshold.

    Quantiles and the threshold are what a scorer of the training rows gives the validation rows.
    Centres and covariances of the scorer itself are of all rows, windows of series that lie across
    two parts among them. Of all these, the share settings.trim that is strangest is left out.
    """
    rows = _measure(model, _some(prepared.sample, _FIT_ROWS))
    held = _measure(model, _some(prepared.validation, _HELD_ROWS))
    scorer = _fit_calmest(model, rows, settings, seed)
    held = held.calmest(_scores(scorer, held)[:, scorer.default], settings.trim)
    shift, weight = _weights(_scores(scorer, held))
    scorer.combine(shift, weight)
    found = _scores(scorer, held).astype(np.float64)
    scores = [describe(name, found[:, at]) for at, name in enumerate(NAMES)]
    limit = threshold(NAMES[scorer.default], found[:, scorer.default], settings)
    final = _fit_calmest(model, _measure(model, _every_row(model, prepared.data)), settings, seed)
    final.combine(shift, weight)
    return final, scores, limit


def _fit_calmest(model: Model, rows: _Measured, settings: Scoring, seed: int) -> Scorer:
    """A scorer of all rows but the share settings.trim that it finds the strangest itself."""
    kept = rows
    for _ in range(_TRIMS if settings.trim else 0):
        scorer = _fit(model, kept, settings, seed)
        kept = rows.calmest(_scores(scorer, rows)[:, scorer.default], settings.trim)
    return _fit(model, kept, settings, seed)


def threshold(name: str, scores: Array, settings: Scoring) -> Threshold:
    """The value that a row like the held-out ones exceeds with at most the false alarm rate.

    scores: (N,) of held-out rows. With N >= 1 / rate - 1 the conformal quantile, the
    ceil((N + 1) (1 - rate))-th smallest (Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a
    Random World); with fewer, median and median absolute deviation, as of a normal distribution.
    """
    rate = settings.false_alarm_rate
    place = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if place <= len(scores):
        return Threshold(name, float(np.sort(scores)[place - 1]), rate, "held-out")
    middle = float(np.median(scores))
    spread = _MAD * float(np.median(np.abs(scores - middle)))
    return Threshold(name, middle + spread * NormalDist().inv_cdf(1 - rate), rate, "mad")


def describe(name: str, scores: Array) -> Score:
    """Quantiles of a score over held-out rows, and how it goes on past the last of them."""
    levels = [level for level in LEVELS if level <= max(0.5, 1 - TAIL_ROWS / len(scores))]
    quantiles = np.quantile(scores, levels)
    beyond = scores[scores > quantiles[-1]] - quantiles[-1]
    return Score(name, levels, quantiles.tolist(), float(beyond.mean()) if len(beyond) else 0.0)


def _measure(model: Model, rows: HeldRows | StreamedRows) -> _Measured:
    parts, gappy = [], False
    for on_device, present in rows.blocks():
        s = on_device.cpu()
        with torch.no_grad():
            z = model.bottleneck.encode(model.code(s))
            decoded = model.decode(z)
            back = decoded if isinstance(decoded, tuple) else (decoded,)
            s_hat = scaled_back(model.preprocess, back)
        there = torch.ones_like(s, dtype=torch.bool) if present is None else present.cpu()
        gappy = gappy or not bool(there.all())
        parts.append((s.flatten(1), s_hat.flatten(1), z, there.flatten(1)))
    s, s_hat, z, there = (torch.cat(each) for each in zip(*parts, strict=True))
    return _Measured(s, s_hat, z, there if gappy else None)


def _some(rows: HeldRows | StreamedRows, most: int) -> HeldRows | StreamedRows:
    """Every n-th row, so that there are at most so many, and _NUMBERS numbers."""
    width = rows.numbers if isinstance(rows, StreamedRows) else rows.s.shape[1:].numel()
    every = _step(len(rows), width, most)
    if every < 2:
        return rows
    if isinstance(rows, StreamedRows):
        return StreamedRows(rows.scale, rows.rows[::every], width, rows.device)
    return HeldRows(rows.s[::every], None if rows.present is None else rows.present[::every])


def _every_row(model: Model, data: Dataset) -> HeldRows | StreamedRows:
    """Rows of the whole dataset, every n-th as _some has it."""
    rows = np.arange(0, len(data), _step(len(data), data.form.numbers, _FIT_ROWS))
    return make_rows(data, model.preprocess, rows, torch.device("cpu"))


def _step(rows: int, width: int, most: int) -> int:
    return max(1, math.ceil(rows / max(1, min(most, _NUMBERS // max(width, 1)))))


def _scores(scorer: Scorer, rows: _Measured) -> Array:
    """(N, 5), in float32."""
    step = max(1, _NUMBERS // 16 // max(rows.s.shape[1], 1))
    parts = zip(
        *(part.split(step) for part in (rows.s, rows.s_hat, rows.z)),
        rows.there.split(step) if rows.there is not None else [None] * -(-len(rows) // step),
        strict=True,
    )
    with torch.no_grad():
        return torch.cat([scorer.of_scaled(*part)[0] for part in parts]).numpy()


def _fit(model: Model, rows: _Measured, settings: Scoring, seed: int) -> Scorer:
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
    """(deviations along the axes (R,), variance of what is left), both of them grown by SOFT."""
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
    """Rows along the leading axes, in units of `spread`, (N, R) float32."""
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
    from threadpoolctl import threadpool_limits

    most = max(MIN_CENTRES, CENTRE_NUMBERS // max(s.shape[1], 1))
    count = max(1, min(count, most, len(s) // ROWS_A_CENTRE))
    # One thread: sums in another order would give other bits.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than centres
        found = KMeans(count, n_init=1, max_iter=30, random_state=seed).fit(s)
        centres = np.array(found.cluster_centers_)
        small = np.bincount(found.labels_, minlength=count) < SHARED
        if small.any():
            near = NearestNeighbors(n_neighbors=min(SHARED, len(s)), algorithm="brute").fit(s)
            rows = near.kneighbors(centres[small], return_distance=False)
            centres[small] = s[rows].mean(1)
    return centres


def _weights(scores: Array) -> tuple[Array, Array]:
    """(shift (4,), weight (4,)) of the combination, from how scores spread over held-out rows."""
    each = scores[:, :-1].astype(np.float64)
    low, middle, high = np.quantile(each, [0.25, 0.5, 0.75], axis=0)
    weight = np.array(_WEIGHTS) / np.maximum(high - low, 1e-6 * np.maximum(middle, 1e-6))
    return middle, weight / sum(_WEIGHTS)
