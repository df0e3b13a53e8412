"""The model: preprocessing, PCA path, network, bottleneck and objective put together."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.network.arch import ARCHS
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.objective import OBJECTIVES
from ae_train.network.pca import Pca
from ae_train.network.pca_path import PcaPath
from ae_train.network.preprocess import Preprocess
from ae_train.recipe import Resolved

CODE_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Model(nn.Module):
    """An autoencoder that takes and gives rows in data units.

    `encode` and `decode` are what is exported, `forward` is what is trained. networks = False
    leaves only the PCA path, where training found nothing better than PCA.
    """

    preprocess: Preprocess | MixedPreprocess

    def __init__(self, recipe: Resolved, form: Form, networks: bool = True) -> None:
        super().__init__()
        self.preprocess = MixedPreprocess(form) if form.is_mixed else Preprocess(form)
        settings = recipe.bottleneck.settings(recipe.latent_dim)
        self.bottleneck = BOTTLENECKS[recipe.bottleneck.name](recipe.latent_dim, **settings)
        self.path = PcaPath(form, recipe.latent_dim) if recipe.arch.pca_path else None
        self.arch = None
        if networks:
            sizes = self.bottleneck.code_dim, self.bottleneck.decoder_dim
            self.arch = ARCHS[recipe.arch.name](form, *sizes, recipe.arch)
        self.code_activation = CODE_ACTIVATIONS[recipe.arch.code_activation]()
        self.objective = OBJECTIVES[recipe.fit.objective](form)

    def start_from(self, pca: Pca) -> None:
        """Set the weights so that the model computes PCA, if it has a PCA path."""
        if self.path is not None:
            self.path.start_from(pca, *self.objective.start(), self.bottleneck.unit_scale)
            if self.arch is not None:
                self.arch.start_at_zero()

    def encode(self, *parts: Tensor) -> Tensor:
        """Latents, (B, K). parts: rows in data units."""
        return self.bottleneck.encode(self.code(self.preprocess.scale_rows(*parts)))

    def decode(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Rows in data units, in the shape and dtype of the parts. z: (B, K)."""
        return self.preprocess.unscale_rows(self.objective.output(self.expand(z)))

    def decode_parts(self, z: Tensor) -> tuple[Tensor, ...]:
        """Rows in data units as decode gives them, in a tuple for rows of any kind."""
        x_hat = self.decode(z)
        return x_hat if isinstance(x_hat, tuple) else (x_hat,)

    def decode_unrounded(self, z: Tensor) -> tuple[Tensor, ...]:
        """Like decode, before integers are rounded and clipped.

        (x_hat,), or numbers and probabilities of a mixed table.
        """
        return self.preprocess.unrounded_parts(self.objective.output(self.expand(z)))

    def code(self, s: Tensor) -> Tensor:
        """Output of the encoder networks, (B, code_dim). s: (B, ...) scaled."""
        if self.path is None:
            assert self.arch is not None
            return self.code_activation(self.arch.encode(s))
        s = self.path.centred(s)
        straight = self.path.encode(s)  # (B, K), the first of the code's numbers
        missing = self.bottleneck.code_dim - straight.shape[1]
        if missing:
            straight = nn.functional.pad(straight, (0, missing))
        return straight if self.arch is None else straight + self.arch.encode(s)

    def expand(self, z: Tensor) -> Tensor:
        """The network's output y, (B, ...). z: (B, K)."""
        straight = None if self.path is None else self.path.decode(z)
        if self.arch is None:
            assert straight is not None
            return straight
        y = self.arch.decode(self.bottleneck.spread(z))
        return y if straight is None else straight + y

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """(y, penalty) for scaled rows s in a training step, which may be random.

        y: (B, ...), the network's output. penalty: (B,) nats, or None.
        """
        h = self.code(s)
        return self.expand(self.bottleneck(h)), self.bottleneck.penalty(h)

    def as_used(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Like forward, but deterministic, as the model is exported."""
        h = self.code(s)
        return self.expand(self.bottleneck.encode(h)), self.bottleneck.penalty(h)

    def reconstruct_scaled(self, s: Tensor) -> Tensor:
        """Reconstruction in scaled space, (B, ...), as exported. s: (B, ...) scaled."""
        return self.objective.output(self.as_used(s)[0])


def in_float64(model: Model) -> Model:
    """A copy of the model that computes in float64 throughout."""
    return copy.deepcopy(model).double().eval().requires_grad_(False)
