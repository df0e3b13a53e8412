"""The plain bottleneck: the code is what the encoder gives, and that is all."""

from __future__ import annotations

from torch import Tensor, nn

from ae_train.recipe import Bottleneck


class Plain(nn.Module):
    """z = h. Keeps latent_dim free numbers, so a model with it is never worse than PCA."""

    def __init__(self, latent_dim: int, recipe: Bottleneck) -> None:
        super().__init__()
        self.code_dim = latent_dim  # numbers that the encoder network must give

    def forward(self, h: Tensor) -> Tensor:
        """Latents for a training step, (B, latent_dim); may be random. h: (B, code_dim)."""
        return h

    def encode(self, h: Tensor) -> Tensor:
        """Latents for use, (B, latent_dim); deterministic. h: (B, code_dim)."""
        return h
