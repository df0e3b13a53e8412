"""Bottlenecks: what happens to the code between encoder and decoder, one file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from ae_train import recipe
from ae_train.bottleneck.plain import Plain


class Bottleneck(Protocol):
    """What a bottleneck is to the model, besides a torch module.

    code_dim: numbers that the encoder network must give. is_identity: whether `encode` gives its
    input back, so that a network that starts as PCA is PCA.
    """

    code_dim: int
    is_identity: bool

    def __call__(self, h: Tensor) -> Tensor:
        """Latents for a training step, (B, latent_dim); may be random. h: (B, code_dim)."""

    def encode(self, h: Tensor) -> Tensor:
        """Latents for use, (B, latent_dim); deterministic. h: (B, code_dim)."""


# A new bottleneck is one file with a class like Plain, its line here, and its word in recipe.py.
# Operators that it brings into the graph are admitted in ae_runtime/admission.py.
BOTTLENECKS: dict[str, Callable[[int, recipe.Bottleneck], Bottleneck]] = {"plain": Plain}
