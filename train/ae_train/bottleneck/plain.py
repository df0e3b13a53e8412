"""The plain bottleneck: the code is what the encoder gives, and that is all."""

from __future__ import annotations

from torch import Tensor, nn

from ae_train.recipe import Bottleneck


class Plain(nn.Module):
    """z = h: latent_dim free numbers."""

    is_identity = True

    def __init__(self, latent_dim: int, recipe: Bottleneck) -> None:
        super().__init__()
        self.code_dim = latent_dim

    def forward(self, h: Tensor) -> Tensor:
        return h

    def encode(self, h: Tensor) -> Tensor:
        return h
