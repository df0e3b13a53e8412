"""New rows by PCA and a Gaussian mixture that is fitted as a bundle's sampler is."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from ae_train.fit.sampling import COMPONENTS

Array = np.ndarray[Any, Any]


def pca_mixture(known: Array, held: Array, latent_dim: int, count: int) -> Array:
    """New rows (count, D): PCA of the known rows, a mixture of its latents, decoded.

    As many components as make the held rows most likely.
    """
    pca = PCA(latent_dim, random_state=0).fit(known)
    z, z_held = pca.transform(known), pca.transform(held)
    mixtures = [GaussianMixture(size, random_state=0).fit(z[:20_000]) for size in COMPONENTS]
    best = max(mixtures, key=lambda mixture: mixture.score(z_held))
    drawn, _ = best.sample(count)
    return np.asarray(pca.inverse_transform(np.random.default_rng(0).permutation(drawn)))
