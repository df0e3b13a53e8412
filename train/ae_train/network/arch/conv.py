"""The convolutional network: stages that halve images or windows, and stages that double them."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any, ClassVar

from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.network.arch.dense import ACTIVATIONS
from ae_train.recipe import ResolvedArch

_CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_KERNEL = 5  # odd, so that halving any size and doubling it again can give it back
_HIDDEN = 256  # units of the layer between the stages and the code


class Conv(nn.Module):
    """`depth` convolutions of stride 2 and `width`, 2 `width`, ... channels, then a hidden layer.

    The decoder mirrors them with transposed convolutions (Radford, Metz and Chintala 2016).
    Images (H, W[, C]) are convolved in two dimensions, windows of series (T, C) in one.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("image", "series")

    def __init__(self, form: Form, code_dim: int, decoder_dim: int, recipe: ResolvedArch) -> None:
        super().__init__()
        self.row_shape = form.row_shape
        axes = 1 if form.kind == "series" else 2
        self.has_channels = len(form.row_shape) > axes
        activation = ACTIVATIONS[recipe.activation]
        sizes = [form.row_shape[:axes]]
        channels = [form.row_shape[axes] if self.has_channels else 1]
        for stage in range(recipe.depth):
            if min(sizes[-1]) < 2:
                break
            sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
            channels.append(recipe.width << stage)
        self.smallest = (channels[-1], *sizes[-1])
        flat = prod(self.smallest)
        half = _KERNEL // 2
        down: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            down += [_CONV[axes](inputs, outputs, _KERNEL, 2, half), activation()]
        self.encode_net = nn.Sequential(
            *down,
            nn.Flatten(),
            *_hidden(flat, activation(), recipe),
            nn.Linear(_HIDDEN, code_dim),
        )
        up: list[nn.Module] = []
        stages = list(pairwise(zip(channels, sizes, strict=True)))
        for (outputs, size), (inputs, _) in reversed(stages):
            extra = tuple(1 - n % 2 for n in size)
            transposed: Any = _TRANSPOSED[axes]
            up += [activation(), transposed(inputs, outputs, _KERNEL, 2, half, extra)]
        self.head = nn.Sequential(
            *_hidden(decoder_dim, activation(), recipe), nn.Linear(_HIDDEN, flat)
        )
        self.decode_net = nn.Sequential(*up)

    def encode(self, s: Tensor) -> Tensor:
        return self.encode_net(
            s.movedim(-1, 1) if self.has_channels else s.reshape(-1, 1, *self.row_shape)
        )

    def decode(self, u: Tensor) -> Tensor:
        y = self.decode_net(self.head(u).reshape(-1, *self.smallest))
        return y.movedim(1, -1) if self.has_channels else y.reshape(-1, *self.row_shape)

    def start_at_zero(self) -> None:
        for layer in (self.encode_net[-1], (self.decode_net or self.head)[-1]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


def _hidden(inputs: int, activation: nn.Module, recipe: ResolvedArch) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(inputs, _HIDDEN), activation]
    return [*layers, nn.Dropout(recipe.dropout)] if recipe.dropout else layers
