"""The plain bottleneck: the code is what the encoder gives, and that is all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn


class CodeSummary(NamedTuple):
    """The figures of a code that report and advice show.

    stands: the code in words, such as "8 latents". values: a figure of each latent. label: what it
    is. unused: latents, counted from 0, that hold next to no information. limit: the most that a
    value can be; None: unbounded. note: on whole codes, or "". why_unused: why so many are unused
    and what to try, where the reason is not too large a K; or "".
    """

    stands: str
    values: Sequence[float]
    label: str
    unused: list[int]
    limit: float | None = None
    note: str = ""
    why_unused: str = ""


class Plain(nn.Module):
    """z = h: latent_dim free numbers. Other bottlenecks derive from it and say what differs.

    code_dim: numbers that the encoder network gives, the latents' own first. decoder_dim: numbers
    that the decoder network takes, z first. encode and spread are traced to ONNX: rows must not
    influence each other there, nothing may be random, and the operators must be among those that
    ae_runtime/graphs admits. Settings of the recipe that only one bottleneck reads are arguments of
    its constructor, by their names.
    """

    # encode gives the first K of its input back, so that a model that starts as PCA is PCA.
    is_identity = True
    # The first k latents are a good code of k numbers, for every k.
    is_ordered = False
    # A code can say as much as K free numbers.
    is_dense = True
    # It works best on latents of unit variance: PCA's are divided by their std at the start.
    unit_scale = False
    # Standard normal draws are good codes; in training z is drawn from a normal of each row.
    has_prior = False
    # How many times as many training steps as a plain code it gets by default.
    effort = 1
    # Values that each latent can take; None: any.
    levels: int | None = None

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = self.code_dim = self.decoder_dim = latent_dim

    def forward(self, h: Tensor) -> Tensor:
        """Latents for a training step, (B, K); may be random. h: (B, code_dim)."""
        return self.encode(h)

    def encode(self, h: Tensor) -> Tensor:
        """Latents for use, (B, K); deterministic. h: (B, code_dim)."""
        return h

    def bounds(self, h: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest z, (B, K) each, that h may give if it is off by `tolerance`.

        tolerance: (B, 1). Verification and golden rows need it where z jumps.
        """
        return self.encode(h - tolerance), self.encode(h + tolerance)

    def spread(self, z: Tensor) -> Tensor:
        """Input of the decoder network, (B, decoder_dim). z: (B, K)."""
        return z

    def penalty(self, h: Tensor) -> Tensor | None:
        """Penalty (B,) in nats: what a code costs besides the errors it leaves; None: nothing."""
        return None

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        """The loss of a step, with its penalty.

        loss: mean reconstruction loss per number. penalty: mean penalty per number. likelihood:
        whether the loss is a negative log-likelihood in nats as it stands.
        """
        return loss

    def describe(self, h: Tensor) -> dict[str, Any]:
        """Figures of the code over these rows, as JSON holds them. h: (N, code_dim)."""
        return {}

    def summary(
        self, usage: Mapping[str, Any], z_std: Sequence[float], least_std: float
    ) -> CodeSummary:
        """The figures of the code that report and advice show.

        usage: what `describe` gave for the training rows. z_std: (K,) over the same. least_std:
        below it a latent that can have any value says next to nothing.
        """
        stands = f"{self.latent_dim} latents" if self.latent_dim > 1 else "One latent"
        label = "standard deviation over the training rows"
        return CodeSummary(stands, z_std, label, below(z_std, least_std))


def below(values: Sequence[float], limit: float) -> list[int]:
    """Places of the values that are less than the limit."""
    return [at for at, value in enumerate(values) if value < limit]
