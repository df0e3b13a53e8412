"""The distribution that samples are drawn from: a mixture of training codes, or the prior."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_train.fit.preparing import Prepared
from ae_train.fit.rows import Rows
from ae_train.network.model import Model
from ae_train.network.sampler import Sampler

Array = NDArray[Any]
COMPONENTS = (1, 2, 4, 8, 16, 32)  # numbers of components to try; the held-out rows choose
ROWS_A_COMPONENT = 20  # training rows, at least, for each latent of a component
RIDGE = 1e-3  # share of the mean variance that is added to each latent's
_WORSE = 2  # sizes in a row without a better one, after which no more are tried
_ROWS = 20_000  # codes, at most, that a mixture is fitted to


def fit_sampler(model: Model, prepared: Prepared, latent_dim: int, seed: int) -> Sampler:
    """Fit the sampler of a model that is on the CPU.

    A Gaussian mixture with full covariances over the codes of the training rows, of the size that
    gives the validation rows the highest likelihood. For a variational model, over draws from the
    rows' posteriors, and the prior is tried as well: where the posteriors do not add up to it, the
    decoder has not seen its latents (Ghosh et al. 2020, From Variational to Deterministic
    Autoencoders).
    """
    from sklearn import config_context

    known, held = _codes(model, prepared.sample, seed), _codes(model, prepared.validation, seed)
    with config_context(array_api_dispatch=False):  # GaussianMixture refuses it, where it is set
        best = _mixtures(known, held, seed)
        if model.bottleneck.has_prior:
            prior = _standard_normal(latent_dim)
            best = max(prior, best, key=lambda mixture: float(mixture.score(held)))
    return _sampler(model, best.weights_, best.means_, np.linalg.cholesky(best.covariances_))


def _standard_normal(latent_dim: int) -> Any:
    from sklearn.mixture import GaussianMixture

    prior = GaussianMixture(1)
    prior.weights_, prior.means_ = np.ones(1), np.zeros((1, latent_dim))
    prior.covariances_ = prior.precisions_cholesky_ = np.eye(latent_dim)[None]
    return prior


def _mixtures(known: Array, held: Array, seed: int) -> Any:
    """The mixture of the training codes under which the held-out ones are the most likely."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    ridge = max(RIDGE * float(known.var(0).mean()), 1e-12)
    best, highest, worse = None, -np.inf, 0
    # One thread: sums in another order would give other bits.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the held-out rows choose anyhow
        for count in COMPONENTS:
            few = count > 1 and len(known) < ROWS_A_COMPONENT * count * known.shape[1]
            if few or worse == _WORSE:
                break
            mixture = GaussianMixture(count, reg_covar=ridge, random_state=seed).fit(known)
            likelihood = float(mixture.score(held))
            worse = 0 if likelihood > highest else worse + 1
            if likelihood > highest:
                best, highest = mixture, likelihood
    return best


def _sampler(model: Model, weights: Array, means: Array, factors: Array) -> Sampler:
    tensors = {"ends": np.cumsum(weights)[:-1], "means": means, "factors": factors}
    buffers = {name: torch.from_numpy(np.asarray(a, np.float32)) for name, a in tensors.items()}
    return Sampler(model.bottleneck, buffers).eval()


@torch.no_grad()
def _codes(model: Model, rows: Rows, seed: int) -> Array:
    """Codes of at most _ROWS of the rows, as the bottleneck takes them, (N, code_dim) float64.

    For a variational model, latents (N, K) drawn from the rows' posteriors.
    """
    codes = torch.cat([model.code(s.cpu()) for s, _ in rows.blocks()])
    codes = codes[:: max(1, -(-len(codes) // _ROWS))]
    if model.bottleneck.has_prior:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codes = model.bottleneck(codes)
    return codes.double().numpy()
