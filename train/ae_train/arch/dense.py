"""The dense network: a multilayer perceptron that learns what PCA leaves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ae_train.pca import Pca
from ae_train.recipe import Arch

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
CODE_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Dense(nn.Module):
    """h = P (s - m) + f(s - m) and y = Q z + n + g(z), with P, Q, m, n from PCA and f = g = 0.

    It starts as PCA and trains all of it; f and g are perceptrons of `depth` hidden layers. With
    pca_path = false only f and g are left, from torch's random weights. networks = False leaves
    only PCA, for a model that found nothing better.
    """

    def __init__(
        self, row_shape: tuple[int, ...], code_dim: int, latent_dim: int, recipe: Arch,
        networks: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.row_shape = row_shape
        size = torch.Size(row_shape).numel()
        self.code_activation = CODE_ACTIVATIONS[recipe.code_activation]()
        path = recipe.pca_path
        self.register_buffer("center", torch.zeros(size) if path else None)
        self.encode_axes = nn.Linear(size, code_dim, bias=False) if path else None
        self.decode_axes = nn.Linear(latent_dim, size) if path else None
        self.encode_net = _perceptron(size, code_dim, recipe) if networks else None
        self.decode_net = _perceptron(latent_dim, size, recipe) if networks else None

    center: Tensor | None

    @torch.no_grad()
    def start_from(self, pca: Pca, start: tuple[float, float]) -> None:
        """Become PCA, if there is a path for it. start: gain and shift of the output layer."""
        if self.center is None or self.encode_axes is None or self.decode_axes is None:
            return
        gain, shift = start
        axes = torch.from_numpy(pca.axes[: self.decode_axes.in_features]).float()
        mean = torch.from_numpy(pca.mean)
        self.center.copy_(mean)
        self.encode_axes.weight.zero_()
        self.encode_axes.weight[: len(axes)] = axes
        self.decode_axes.weight.copy_(gain * axes.T)
        self.decode_axes.bias.copy_(gain * mean + shift)
        for net in (self.encode_net, self.decode_net):
            if net is not None:
                for parameter in net[-1].parameters():
                    nn.init.zeros_(parameter)

    def encode(self, s: Tensor) -> Tensor:
        """The code, (B, code_dim). s: (B, *row_shape), scaled."""
        s = s.flatten(1)  # (B, D)
        if self.center is not None:
            s = s - self.center
        return self.code_activation(_sum(self.encode_axes, self.encode_net, s))

    def decode(self, z: Tensor) -> Tensor:
        """The network's output y, (B, *row_shape). z: (B, latent_dim)."""
        y = _sum(self.decode_axes, self.decode_net, z)  # (B, D)
        return y.reshape(-1, *self.row_shape) if len(self.row_shape) > 1 else y


def _sum(axes: nn.Module | None, net: nn.Module | None, x: Tensor) -> Tensor:
    parts = [module(x) for module in (axes, net) if module is not None]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _perceptron(inputs: int, outputs: int, recipe: Arch) -> nn.Sequential:
    """`depth` hidden layers, each with activation and dropout, and a bare output layer."""
    layers: list[nn.Module] = []
    for _ in range(recipe.depth):
        layers += [nn.Linear(inputs, recipe.width), ACTIVATIONS[recipe.activation]()]
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout))
        inputs = recipe.width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
