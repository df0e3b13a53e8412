"""The plain bottleneck: the code is what the encoder gives, and that is all."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ae_train.recipe import Bottleneck


class Plain(nn.Module):
    """z = h: latent_dim free numbers."""

    is_identity = True
    unit_scale = False
    effort = 1

    def __init__(self, latent_dim: int, recipe: Bottleneck) -> None:
        super().__init__()
        self.latent_dim = self.code_dim = self.decoder_dim = latent_dim

    @classmethod
    def resolve(cls, latent_dim: int, recipe: Bottleneck) -> Bottleneck:
        return recipe

    def forward(self, h: Tensor) -> Tensor:
        return self.encode(h)

    def encode(self, h: Tensor) -> Tensor:
        return h

    def bounds(self, h: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode(h - tolerance), self.encode(h + tolerance)

    def spread(self, z: Tensor) -> Tensor:
        return z

    def penalty(self, h: Tensor) -> Tensor | None:
        return None

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        return loss

    def describe(self, h: Tensor) -> dict[str, Any]:
        return {}
