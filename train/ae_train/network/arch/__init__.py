"""Networks: encoder and decoder in scaled space, one file each."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, Protocol

from torch import Tensor

from ae_runtime.errors import RecipeError
from ae_train.data.form import Form
from ae_train.recipe import CONV_PIXELS, ArchName, ResolvedArch, words_of


class Arch(Protocol):
    """A torch module that is the two networks of a model. KINDS: the kinds of rows it takes."""

    KINDS: ClassVar[tuple[str, ...]]

    def __init__(
        self, form: Form, code_dim: int, decoder_dim: int, recipe: ResolvedArch
    ) -> None: ...

    def encode(self, s: Tensor) -> Tensor:
        """The code, (B, code_dim). s: (B, *row_shape), scaled."""

    def decode(self, u: Tensor) -> Tensor:
        """The network's output y, (B, *row_shape). u: (B, decoder_dim)."""

    def start_at_zero(self) -> None:
        """Make both networks give zeros at first, so that a model on a PCA path starts as PCA."""


# A new network is a file with a class of its name like Dense, and its name and sizes in recipe.py.
# Operators that it brings into the graph are admitted in ae_runtime/graphs.
ARCHS: dict[str, type[Arch]] = {
    name: getattr(import_module(f"ae_train.network.arch.{name}"), name.capitalize())
    for name in words_of("arch", "name")
}


def default_arch(form: Form) -> ArchName:
    """The network for rows of this form."""
    if form.kind == "image" and min(form.row_shape[:2]) >= CONV_PIXELS:
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
