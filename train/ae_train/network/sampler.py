"""Samples of latents from uniform noise, as a module that is exported."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ae_train.network.bottleneck.plain import Plain


class Sampler(nn.Module):
    """Latents like those of training rows, from noise that a host draws.

    A mixture of normal distributions over what the encoder networks give; the bottleneck makes
    latents of it, so that sparse and quantized ones are valid codes.
    tensors: by name, M components of K numbers. ends (M - 1,): where the shares of the components
    end, of 1. means (M, K). factors (M, K, K): Cholesky factors of their covariances.
    """

    ends: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, bottleneck: Plain, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.__dict__["bottleneck"] = bottleneck  # not a submodule: it is saved with the model
        for name, tensor in sorted(tensors.items()):  # sorted: a loaded sampler has the same graph
            self.register_buffer(name, tensor)

    bottleneck: Plain

    @property
    def noise_dim(self) -> int:
        """How many uniform numbers a sample takes: one, and two for each pair of latents."""
        return noise_dim(self.means.shape[1])

    def forward(self, noise: Tensor) -> Tensor:
        """Latents z, (B, K) float32. noise: (B, noise_dim) float32 in [0, 1)."""
        return self.bottleneck.encode(self.codes(noise).float())

    def codes(self, noise: Tensor) -> Tensor:
        """Codes as the encoder networks would give them, (B, K) float64."""
        u, count, size = noise.double(), *self.means.shape
        normal = _normal(u[:, 1:])[:, :size]  # (B, K)
        which = (u[:, :1] >= self.ends.double()).to(torch.int64).sum(1) if count > 1 else None
        if which is None:
            return self.means.double() + normal @ self.factors[0].double().T
        factors = self.factors.double().index_select(0, which)
        return self.means.double().index_select(0, which) + (factors @ normal[..., None])[..., 0]


def noise_dim(latent_dim: int) -> int:
    """How many uniform numbers a sample of `latent_dim` latents takes."""
    return 1 + 2 * ((latent_dim + 1) // 2)


def _normal(u: Tensor) -> Tensor:
    """Turn uniform numbers u (B, N), in pairs, into standard normal ones. Box & Muller 1958."""
    half = u.shape[1] // 2
    radius = (-2 * torch.log(1 - u[:, :half])).sqrt()  # of 1 - u, which is never 0
    angle = 2 * math.pi * u[:, half:]
    # The sine of a quarter turn more, because onnxruntime 1.23 has no cosine in double.
    cosine = torch.sin(angle + math.pi / 2)
    return torch.cat([radius * cosine, radius * torch.sin(angle)], 1)
