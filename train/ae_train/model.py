"""The model: preprocessing, network, bottleneck and objective put together."""

from __future__ import annotations

from torch import Tensor, nn

from ae_runtime.manifest import Dtype
from ae_train.arch import ARCHS
from ae_train.bottleneck import BOTTLENECKS
from ae_train.objective import OBJECTIVES
from ae_train.preprocess import Preprocess
from ae_train.recipe import Recipe


class Model(nn.Module):
    """An autoencoder that takes and gives rows in data units.

    `encode` and `decode` are what is exported, `forward` is what is trained.
    """

    def __init__(
        self, recipe: Recipe, kind: str, dtype: Dtype, row_shape: tuple[int, ...],
        networks: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if recipe.latent_dim is None:
            raise ValueError("a model needs a recipe with its latent_dim")
        self.preprocess = Preprocess(kind, dtype, row_shape)
        self.bottleneck = BOTTLENECKS[recipe.bottleneck.name](recipe.latent_dim, recipe.bottleneck)
        self.arch = ARCHS[recipe.arch.name](
            row_shape, self.bottleneck.code_dim, recipe.latent_dim, recipe.arch, networks
        )
        self.objective = OBJECTIVES[recipe.fit.objective]()

    def encode(self, x: Tensor) -> Tensor:
        """Latents, (B, K). x: (B, ...) in data units."""
        return self.bottleneck.encode(self.arch.encode(self.preprocess.scale_rows(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Rows in data units, in x's shape and dtype. z: (B, K)."""
        return self.preprocess.unscale_rows(self.objective.output(self.arch.decode(z)))

    def decode_unrounded(self, z: Tensor) -> Tensor:
        """Like decode, before integers are rounded and clipped."""
        return self.preprocess.unrounded(self.objective.output(self.arch.decode(z)))

    def forward(self, s: Tensor) -> Tensor:
        """The network's output y for scaled rows s, as in a training step, which may be random."""
        return self.arch.decode(self.bottleneck(self.arch.encode(s)))

    def as_used(self, s: Tensor) -> Tensor:
        """The network's output y for scaled rows s, as exported: deterministic."""
        return self.arch.decode(self.bottleneck.encode(self.arch.encode(s)))

    def reconstruct_scaled(self, s: Tensor) -> Tensor:
        """Reconstruction in scaled space, (B, ...), as exported. s: (B, ...) scaled."""
        return self.objective.output(self.as_used(s))
