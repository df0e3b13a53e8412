"""Bottlenecks: what happens to the code between encoder and decoder, one file each."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ae_train import recipe
from ae_train.network.bottleneck.ordered import Ordered
from ae_train.network.bottleneck.plain import Plain
from ae_train.network.bottleneck.quantized import Quantized
from ae_train.network.bottleneck.sparse import Sparse
from ae_train.network.bottleneck.variational import Variational


class Bottleneck(Protocol):
    """What a bottleneck is to the model, besides a torch module.

    code_dim: numbers that the encoder network gives, the latents' own first. decoder_dim: numbers
    that the decoder network takes, z first. is_identity: encode gives the first K of its input
    back, so that a model that starts as PCA is PCA. unit_scale: it works best on latents of unit
    variance, so PCA's are to be divided by their deviations at the start. effort: steps that it
    is trained for by default, in those of a plain code.

    encode and spread are traced to ONNX: rows must not influence each other there, nothing may be
    random, and the operators must be among those that ae_runtime/graphs/admission.py admits.
    """

    code_dim: int
    decoder_dim: int
    is_identity: bool
    unit_scale: bool
    effort: int

    def __init__(self, latent_dim: int, recipe: recipe.Bottleneck) -> None: ...

    @classmethod
    def resolve(cls, latent_dim: int, recipe: recipe.Bottleneck) -> recipe.Bottleneck:
        """The settings with what was left out filled in. Raises RecipeError."""

    def __call__(self, h: Tensor) -> Tensor:
        """Latents for a training step, (B, K); may be random. h: (B, code_dim)."""

    def encode(self, h: Tensor) -> Tensor:
        """Latents for use, (B, K); deterministic. h: (B, code_dim)."""

    def bounds(self, h: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest z, (B, K) each, that h may give if it is off by `tolerance`.

        tolerance: (B, 1). Verification and golden rows need it where z jumps.
        """

    def spread(self, z: Tensor) -> Tensor:
        """What the decoder network sees, (B, decoder_dim). z: (B, K)."""

    def penalty(self, h: Tensor) -> Tensor | None:
        """What this code costs besides the errors it leaves, (B,) nats, if it costs anything."""

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        """The whole loss of a step.

        loss: mean reconstruction loss per number. penalty: mean penalty per number. likelihood:
        whether the loss is a negative log-likelihood in nats as it stands.
        """

    def describe(self, h: Tensor) -> dict[str, Any]:
        """Figures of the code over these rows, as JSON holds them. h: (N, code_dim)."""


# A new bottleneck is one file with a class like Plain, its line here, and its word in recipe.py.
BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "plain": Plain,
    "ordered": Ordered,
    "sparse": Sparse,
    "variational": Variational,
    "quantized": Quantized,
}
