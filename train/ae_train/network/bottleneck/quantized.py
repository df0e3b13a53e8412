"""The quantized bottleneck: every latent is one of a few values.

Finite scalar quantisation (Mentzer, Minnen, Agustsson & Tschannen 2023), with latents that are
kept normal, so that the normal distribution function spreads them evenly over the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ae_train.network.bottleneck.plain import CodeSummary, Plain, below

_UNUSED_BITS = 0.05  # bits of entropy: one value for 99.4 % of the rows


class Quantized(Plain):
    """z is on the grid (2 j + 1 - L) / L, j = 0 .. L - 1, each value the nearest float32.

    A row's j is the L-th of the standard normal distribution that h falls into. In a step the
    gradient is that of the distribution function, as if nothing were rounded. bits a row: K log2 L.
    """

    is_identity = False
    is_dense = False
    unit_scale = True
    levels: int

    def __init__(self, latent_dim: int, levels: int) -> None:
        super().__init__(latent_dim)
        self.levels = levels

    def forward(self, h: Tensor) -> Tensor:
        smooth = 2 * _normal_cdf(h) - 1
        return smooth + (self.encode(h) - smooth).detach()

    def encode(self, h: Tensor) -> Tensor:
        return (2 * self._indices(h) + (1 - self.levels)) / self.levels

    def penalty(self, h: Tensor) -> Tensor:
        """Penalty (B,) in nats: how far the latents of these rows are from a normal sample.

        Each is compared with the normal quantile of its rank among the rows.
        """
        ranks = h.detach().argsort(0).argsort(0).to(h.dtype)
        normal = torch.special.ndtri((ranks + 0.5) / len(h))
        return 0.5 * (h - normal).square().sum(1)

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        # For squared errors: the gradient of log(loss) / 2 + penalty, in units of the loss.
        return loss + penalty * (1.0 if likelihood else 2 * loss.detach())

    def describe(self, h: Tensor) -> dict[str, Any]:
        """Figures: entropy in bits of each latent, bits of a row, perplexity of whole codes."""
        j = self._indices(h).long()
        counts = torch.nn.functional.one_hot(j, self.levels).sum(0)  # (K, L)
        _, codes = torch.unique(j, dim=0, return_counts=True)
        return {
            "levels": self.levels,
            "entropy": _entropy(counts).tolist(),
            "bits": self.latent_dim * math.log2(self.levels),
            "perplexity": float(2 ** _entropy(codes)),
        }

    def summary(
        self, usage: Mapping[str, Any], z_std: Sequence[float], least_std: float
    ) -> CodeSummary:
        most = math.log2(self.levels)
        share = sum(usage["entropy"]) / self.latent_dim / most
        return CodeSummary(
            f"{usage['bits']:.0f} bits in {self.latent_dim} latents",
            usage["entropy"],
            "entropy in bits",
            below(usage["entropy"], _UNUSED_BITS),
            most,
            f"{self.levels} values each, {usage['bits']:.4g} bits a row; entropy on average "
            f"{100 * share:.0f} % of what they hold; perplexity of whole codes "
            f"{usage['perplexity']:.4g}.",
        )

    def _indices(self, h: Tensor) -> Tensor:
        """Grid index j of each latent, (B, K), in h's dtype."""
        return (self.levels * _normal_cdf(h) - 0.5).round().clamp(0, self.levels - 1)


def _normal_cdf(h: Tensor) -> Tensor:
    # Erf, for its results in onnxruntime are the same for any batch; those of Exp are not.
    return 0.5 * (1 + torch.erf(h * math.sqrt(0.5)))


def _entropy(counts: Tensor) -> Tensor:
    """Entropy in bits over the last axis."""
    shares = counts / counts.sum(-1, keepdim=True)
    return -torch.xlogy(shares, shares).sum(-1) / math.log(2)
