"""Networks: encoder and decoder in scaled space, one file each."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from ae_runtime.errors import RecipeError
from ae_train import recipe
from ae_train.data.form import Form
from ae_train.network.arch.conv import Conv
from ae_train.network.arch.dense import Dense
from ae_train.network.arch.gru import Gru


class Arch(Protocol):
    """What a pair of networks is to the model, besides a torch module.

    DEFAULTS: settings of the recipe that it may leave out: width, depth, dropout. KINDS: of rows
    that it takes.
    """

    DEFAULTS: ClassVar[dict[str, float]]
    KINDS: ClassVar[tuple[str, ...]]

    def __init__(
        self, form: Form, code_dim: int, decoder_dim: int, recipe: recipe.Arch
    ) -> None: ...

    def encode(self, s: Tensor) -> Tensor:
        """The code, (B, code_dim). s: (B, *row_shape), scaled."""

    def decode(self, u: Tensor) -> Tensor:
        """The network's output y, (B, *row_shape). u: (B, decoder_dim)."""

    def start_at_zero(self) -> None:
        """Give zeros from both at first, so that a model on a PCA path starts as PCA."""


# A new network is one file with a class like Dense, its line here, and its word in recipe.py.
# Operators that it brings into the graph are admitted in ae_runtime/graphs/admission.py.
ARCHS: dict[str, type[Arch]] = {"dense": Dense, "conv": Conv, "gru": Gru}


# Pixels of the shorter side from which on neighbourhoods are worth a convolution.
MIN_IMAGE = 16


def default_arch(form: Form) -> str:
    """The network for rows of this form."""
    if form.kind == "image" and min(form.row_shape[:2]) >= MIN_IMAGE:
        return "conv"
    return "dense"


def check_arch(name: str, form: Form) -> None:
    """Raise RecipeError unless the network takes rows of this form."""
    kinds = ARCHS[name].KINDS
    if form.kind not in kinds:
        raise RecipeError(
            f"[arch] name = {name!r} is for {' and '.join(kinds)} rows, these are {form.kind} "
            "rows; use 'dense'"
        )
