"""Networks: encoder and decoder in scaled space, one file each."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ae_train import recipe
from ae_train.arch.dense import Dense
from ae_train.pca import Pca


class Arch(Protocol):
    """What a pair of networks is to the model, besides a torch module."""

    def __init__(
        self, row_shape: tuple[int, ...], code_dim: int, latent_dim: int, recipe: recipe.Arch,
        networks: bool = True,
    ) -> None: ...  # fmt: skip

    def start_from(self, pca: Pca, start: tuple[float, float]) -> None:
        """Become PCA, if the recipe has a path for it. start: gain and shift of the output."""

    def encode(self, s: Tensor) -> Tensor:
        """The code, (B, code_dim). s: (B, *row_shape), scaled."""

    def decode(self, z: Tensor) -> Tensor:
        """The network's output y, (B, *row_shape). z: (B, latent_dim)."""


# A new network is one file with a class like Dense, its line here, and its word in recipe.py.
# Operators that it brings into the graph are admitted in ae_runtime/admission.py.
ARCHS: dict[str, type[Arch]] = {"dense": Dense}
