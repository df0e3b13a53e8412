"""The dense network: a multilayer perceptron on either side."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.recipe import ResolvedArch

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Dense(nn.Module):
    """Perceptrons of `depth` hidden layers of `width` units, on rows of any shape, flattened."""

    KINDS: ClassVar[tuple[str, ...]] = ("table", "image", "series")

    def __init__(self, form: Form, code_dim: int, decoder_dim: int, recipe: ResolvedArch) -> None:
        super().__init__()
        self.row_shape = form.scaled_shape
        size = form.numbers
        self.encode_net = _perceptron(size, code_dim, recipe)
        self.decode_net = _perceptron(decoder_dim, size, recipe)

    def encode(self, s: Tensor) -> Tensor:
        return self.encode_net(s.flatten(1))

    def decode(self, u: Tensor) -> Tensor:
        y = self.decode_net(u)
        return y.reshape(-1, *self.row_shape) if len(self.row_shape) > 1 else y

    def start_at_zero(self) -> None:
        for net in (self.encode_net, self.decode_net):
            for parameter in net[-1].parameters():
                nn.init.zeros_(parameter)


def _perceptron(inputs: int, outputs: int, recipe: ResolvedArch) -> nn.Sequential:
    """`depth` hidden layers, each with activation and dropout, and a bare output layer."""
    layers: list[nn.Module] = []
    for _ in range(recipe.depth):
        layers += [nn.Linear(inputs, recipe.width), ACTIVATIONS[recipe.activation]()]
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout))
        inputs = recipe.width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
