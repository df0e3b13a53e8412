"""The PCA path: the linear part of a model, to which the networks add what they learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.network.pca import Pca

_LEAST = 1e-6  # share of the largest std: axes below are rounding errors


class PcaPath(nn.Module):
    """h = P (s - m) and y = Q z + n, with P, Q, m, n from PCA at first; all but m are trained."""

    def __init__(self, form: Form, latent_dim: int) -> None:
        super().__init__()
        self.row_shape = form.scaled_shape
        self.register_buffer("center", torch.zeros(form.numbers))
        self.encode_axes = nn.Linear(form.numbers, latent_dim, bias=False)
        self.decode_axes = nn.Linear(latent_dim, form.numbers)

    center: Tensor

    @torch.no_grad()
    def start_from(
        self, pca: Pca, gain: float | Tensor, shift: float | Tensor, unit_scale: bool
    ) -> None:
        """Set the weights to PCA's. gain, shift: of the output, one for all or for each number.

        unit_scale: give latents of unit variance.
        """
        axes = torch.from_numpy(pca.axes[: self.decode_axes.in_features]).float()
        std = torch.ones(len(axes), 1)
        if unit_scale:
            variance = torch.from_numpy(pca.variance[: len(axes)]).float()[:, None]
            std = variance.sqrt().clamp(min=_LEAST * float(variance.max().sqrt()))
        mean = torch.from_numpy(pca.mean)
        self.center.copy_(mean)
        self.encode_axes.weight.zero_()
        self.encode_axes.weight[: len(axes)] = axes / std
        self.decode_axes.weight.zero_()
        scaled = axes * std * gain  # (rank, D)
        self.decode_axes.weight[:, : len(axes)] = scaled.T
        self.decode_axes.bias.copy_(gain * mean + shift)

    def centred(self, s: Tensor) -> Tensor:
        """Rows s less the mean m, in the shape of s."""
        return (s.flatten(1) - self.center).reshape(s.shape)

    def encode(self, s: Tensor) -> Tensor:
        """Latents of PCA, (B, K). s: (B, *row_shape), centred."""
        return self.encode_axes(s.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """Network output of PCA, (B, *row_shape). z: (B, K)."""
        y = self.decode_axes(z)
        return y.reshape(-1, *self.row_shape) if len(self.row_shape) > 1 else y
