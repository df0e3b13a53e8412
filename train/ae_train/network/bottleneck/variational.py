"""The variational bottleneck: a Gaussian for every row, kept near the standard one.

Kingma & Welling 2013, Auto-Encoding Variational Bayes. The decoder's noise is the one that fits
best (Rybkin, Daniilidis & Levine 2021, Simple and Effective VAE Training with Calibrated
Decoders), so that squared error and divergence are both in nats and need no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ae_train.network.bottleneck.plain import CodeSummary, Plain, below

_START = -3.0  # log variance: noise of a fifth of a std, which leaves a start near PCA
_SPAN = 10.0  # log variances beyond are cut off: std of .007 to 148
_TINY = 1e-9  # mean squared error below which nothing is gained
_UNUSED = 0.01  # nats a row; what a unit says below is less than the decoder's rounding error
# Share of unused units: a third of them shows that K is too large, most of them a collapse.
_COLLAPSE = 0.5


class Variational(Plain):
    """z ~ N(mean, variance) in training, the mean in use; h = (mean, log variance + 3)."""

    unit_scale = True
    has_prior = True

    def __init__(self, latent_dim: int, beta: float) -> None:
        super().__init__(latent_dim)
        self.code_dim = 2 * latent_dim
        self.beta = beta

    def forward(self, h: Tensor) -> Tensor:
        mean, log_variance = self._split(h)
        return mean + (log_variance / 2).exp() * torch.randn_like(mean)

    def encode(self, h: Tensor) -> Tensor:
        return h[:, : self.latent_dim]

    def penalty(self, h: Tensor) -> Tensor:
        """KL divergence from the standard normal, (B,) nats."""
        return self._divergence(h).sum(1)

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        """Negative evidence lower bound in nats a number, up to a constant for squared errors.

        -log N(s; y, noise) is (error / noise + log noise) / 2 and least at noise = error: there it
        is log(error) / 2 + constant.
        """
        nats = loss if likelihood else 0.5 * (loss + _TINY).log()
        return nats + self.beta * penalty

    def describe(self, h: Tensor) -> dict[str, Any]:
        """Figures: kl, the mean nats of each unit, and unused, the units that say nothing."""
        kl = self._divergence(h).mean(0)
        return {"kl": kl.tolist(), "unused": torch.nonzero(kl < _UNUSED).flatten().tolist()}

    def summary(
        self, usage: Mapping[str, Any], z_std: Sequence[float], least_std: float
    ) -> CodeSummary:
        unused = below(usage["kl"], _UNUSED)
        why = (
            "the KL divergence costs more than they would save; try --set "
            f"bottleneck.beta={self.beta / 4:g}"
        )
        return CodeSummary(
            super().summary(usage, z_std, least_std).stands,
            usage["kl"],
            "KL divergence of a row in nats",
            unused,
            note=f"KL divergence of a whole row: {sum(usage['kl']):.3g} nats.",
            why_unused=why if len(unused) > _COLLAPSE * self.latent_dim else "",
        )

    def _split(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = h.chunk(2, 1)
        return mean, (log_variance + _START).clamp(-_SPAN, _SPAN)

    def _divergence(self, h: Tensor) -> Tensor:
        """Nats of each unit, (B, K)."""
        mean, log_variance = self._split(h)
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
