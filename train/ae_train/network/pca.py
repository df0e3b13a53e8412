"""Principal component analysis in scaled space: where a model starts, and what it must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_train.recipe import LEFT_OVER, MAX_LATENTS, MIN_LATENTS

Array = NDArray[Any]
_BLOCK_ROWS = 8192
_EXACT, _LEADING = 2048, 256  # rows or columns, and axes: see fit_pca


@dataclass(frozen=True)
class Pca:
    """All principal axes of some rows.

    mean: (D,). axes: (R, D), orthonormal rows, in order of variance. variance: (R,). total: the
    variance of all axes, those past R included. float64.
    """

    mean: Array
    axes: Array
    variance: Array
    total: float

    def reconstruct(self, s: Array, latent_dim: int) -> Array:
        """Rows rebuilt from their first latent_dim components, (B, D) float64."""
        axes = self.axes[:latent_dim]
        centred = np.asarray(s, np.float64) - self.mean
        return centred @ axes.T @ axes + self.mean


def fit_pca(s: Array, at_least: int = 0) -> Pca:
    """The principal axes of scaled rows s, (N, D), by a decomposition in float64.

    All of them where rows or columns are at most 2,048; past that the leading 256, or `at_least`,
    by randomized subspace iteration (Halko, Martinsson and Tropp 2011). Signs are fixed (the
    largest loading is positive), so that the same rows give the same axes.
    """
    mean = s.mean(axis=0, dtype=np.float64)
    rows, size = s.shape
    if min(rows, size) > _EXACT:
        centred = s.astype(np.float64) - mean
        total = float((centred**2).sum() / rows)
        from sklearn.utils.extmath import randomized_svd

        _, singular, axes = randomized_svd(
            centred, max(_LEADING, at_least), n_iter=7, random_state=0
        )
        variance = singular**2 / rows
    elif rows < size:
        _, singular, axes = np.linalg.svd(s.astype(np.float64) - mean, full_matrices=False)
        variance = singular**2 / rows
        total = float(variance.sum())
    else:
        scatter = np.zeros((size, size))
        for start in range(0, rows, _BLOCK_ROWS):
            block = s[start : start + _BLOCK_ROWS].astype(np.float64) - mean
            scatter += block.T @ block
        variance, vectors = np.linalg.eigh(scatter / rows)
        variance, axes = np.maximum(variance[::-1], 0.0), vectors.T[::-1]
        total = float(variance.sum())
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = np.ascontiguousarray(axes * np.where(largest < 0, -1.0, 1.0))
    return Pca(mean, axes, variance, total)


def default_latent_dim(pca: Pca) -> int:
    """The smallest K in 2..64 whose components leave at most 10 % of the variance; less than D."""
    left = 1 - np.cumsum(pca.variance) / pca.total
    enough = left <= LEFT_OVER + 1e-12
    smallest = int(np.argmax(enough)) + 1 if enough.any() else MAX_LATENTS
    fewer = max(1, pca.axes.shape[1] - 1)  # as many as a row has would compress nothing
    return min(max(smallest, MIN_LATENTS), MAX_LATENTS, len(pca.axes), fewer)
