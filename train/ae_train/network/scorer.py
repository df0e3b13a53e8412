"""Anomaly scores as a module that is exported: a row, its latents and its reconstruction in."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_train.network.mixed import MixedPreprocess
from ae_train.network.preprocess import Preprocess
from ae_train.recipe import words_of

# Places in `scores`: the names of the recipe but "none". A score is a root mean square, in std of a
# column, over what a row has; "combined" is a weighted mean of the others in units of how they
# spread over held-out rows.
NAMES = tuple(words_of("score", "name")[:-1])


class Scorer(nn.Module):
    """Scores and contributions of rows, with no network inside.

    tensors: by name, R axes of W scaled numbers, N centres, K latents. mean (W,), axes (R, W), gain
    (R,), unit (W,): the inverse covariance of scaled rows, P = (I - axes' gain axes) / rest, as
    unit = 1 / (rest * sqrt(P's diagonal)). spread (R,), spread_rest (): what makes them white, more
    softly: std along the axes, and the variance of what is left. centres (N, R): of k-means, in
    that space. error_mean (W,), error_axes (R', W), error_gain (R',), error_rest (): that of their
    reconstruction errors. z_mean (K,), z_axes (K, K): what makes latents white. weight, shift (4,):
    of the combination. default: name of the score that forward gives as `score`.
    """

    mean: Tensor
    axes: Tensor
    gain: Tensor
    unit: Tensor
    spread: Tensor
    spread_rest: Tensor
    error_mean: Tensor
    error_axes: Tensor
    error_gain: Tensor
    error_rest: Tensor
    centres: Tensor
    z_mean: Tensor
    z_axes: Tensor
    weight: Tensor
    shift: Tensor

    def __init__(
        self,
        preprocess: Preprocess | MixedPreprocess,
        tensors: Mapping[str, Tensor],
        default: str = "nearest",
    ) -> None:
        super().__init__()
        # Not a submodule: its numbers are the model's, and are saved with it. In double, because
        # differences of nearly equal numbers count here.
        self.__dict__["preprocess"] = copy.deepcopy(preprocess).double()
        self.default = NAMES.index(default)
        for name, tensor in sorted(tensors.items()):  # sorted: a loaded scorer has the same graph
            self.register_buffer(name, tensor)
        self._settle()

    preprocess: Preprocess | MixedPreprocess

    def combine(self, shift: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        """Set what "combined" is: the sum of (score - shift) * weight. shift, weight: (4,)."""
        self.shift.copy_(torch.from_numpy(shift))
        self.weight.copy_(torch.from_numpy(weight))

    def _settle(self) -> None:
        """Compute the small constants of of_scaled, in double and outside of the graph.

        Large matrices stay in float32 in the file, and become double when a session is opened.
        """
        t = {name: tensor.double() for name, tensor in self.named_buffers()}
        self._unspread, self._gain = (1 / t["spread"])[:, None], t["gain"][:, None]
        self._centre_squares = t["centres"].square().sum(1, keepdim=True)
        self._z_axes = t["z_axes"].T.contiguous()
        width, latent_dim = t["axes"].shape[1], len(t["z_mean"])
        ones, rest, error_rest = torch.ones(width).double(), t["spread_rest"], t["error_rest"]
        # Weights of six groups of squares: centred rows, along their axes, errors, centred errors,
        # along theirs, latents.
        sums = [
            {0: ones / rest, 1: t["spread"].square().reciprocal() - 1 / rest},
            {2: ones},
            {3: ones / error_rest, 4: -t["error_gain"] / error_rest},
            {5: torch.full((latent_dim,), 1 / latent_dim).double()},
        ]
        sizes = [width, len(t["spread"]), width, width, len(t["error_axes"]), latent_dim]
        self._sums = torch.stack(
            [
                torch.cat(
                    [row.get(at, torch.zeros(size).double()) for at, size in enumerate(sizes)]
                )
                for row in sums
            ]
        )
        self._ones = ones[None]

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(score (B,), parts (B, columns) or (B, *row_shape), scores (B, 5)), float32.

        arrays: what went into the encoder, z, and what came out of the decoder, in data units.
        parts: by how many std each number, category or pixel is off from what the others say: its
        contribution.
        """
        count = 1 + isinstance(self.preprocess, MixedPreprocess)
        x, z, x_hat = arrays[:count], arrays[count], arrays[count + 1 :]
        s = self.preprocess.scale_rows(*x)
        s_hat = scaled_back(self.preprocess, x_hat)
        scores, off = self.of_scaled(s, s_hat, z, self.preprocess.present(*x))
        parts = self._by_column(off) if count > 1 else off.reshape(s.shape)
        return scores[:, self.default], parts, scores

    def of_scaled(
        self, s: Tensor, s_hat: Tensor, z: Tensor, present: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(scores (B, 5), parts (B, W)) of rows s and reconstructions s_hat in scaled space.

        present: (B, ...) bool, which numbers there are; None: all. What is missing is taken to be
        as the model says, and is no part. With P the inverse covariance, a part
        (P (s - mean))_d / sqrt(P_dd) is the difference of a number to its regression on all others,
        in std of that difference (Whittaker 1990, Graphical Models in Applied Multivariate
        Statistics, chapter 5).
        """
        # Rows are columns here: a product with a constant on its left is what onnxruntime computes
        # without packing the constant for each call.
        s, s_hat = s.flatten(1).double().T, s_hat.flatten(1).double().T  # (W, B)
        there = None if present is None else present.flatten(1).double().T
        if there is not None:
            s = s * there + s_hat * (1 - there)
        error, centred = s - s_hat, s - _column(self.mean)
        error_centred = error - _column(self.error_mean)
        along = _times(self.axes, centred)  # (R, B)
        error_along = _times(self.error_axes, error_centred)
        latent = _times(self._z_axes, z.double().T - _column(self.z_mean))
        each = torch.cat([centred, along, error, error_centred, error_along, latent])
        nearest, others, latents = _times(self._sums, each * each).split([1, 2, 1])
        # Squared distances to the centres in white space, less the squares of the row, (N, B).
        distances = torch.addmm(
            self._centre_squares, self.centres.double(), along * self._unspread, alpha=-2
        )
        squares = torch.cat([nearest + distances.amin(0, keepdim=True), others])
        # Sums as products with a constant: those have the same bits in any batch.
        count = s.shape[0] if there is None else _times(self._ones, there).clamp(min=1)
        four = torch.cat([squares / count, latents]).clamp(min=0).sqrt()  # (4, B)
        combined = _times(self.weight[None], four - _column(self.shift))
        held = _times(self.axes.T, along * self._gain)
        off = ((centred - held) * _column(self.unit)).abs()
        if there is not None:
            off = off * there
        return torch.cat([four, combined]).T.float(), off.T.float()

    def _by_column(self, off: Tensor) -> Tensor:
        """Contributions by column: of a categorical column, its largest. off: (B, W)."""
        levels = self.preprocess.levels
        numbers, *categories = off.split([off.shape[1] - sum(levels), *levels], 1)
        return torch.cat([numbers, *(each.amax(1, keepdim=True) for each in categories)], 1)


def _times(matrix: Tensor, columns: Tensor) -> Tensor:
    """The product, (M, B), in double. matrix: (M, N) constant. columns: (N, B).

    A Gemm, not a MatMul: of that with a side that is transposed somewhere before, onnxruntime 1.23
    makes an operator that it does not have in double.
    """
    return torch.addmm(torch.zeros(1, 1, dtype=torch.float64), matrix.double(), columns)


def _column(numbers: Tensor) -> Tensor:
    return numbers.double()[:, None]


def scaled_back(preprocess: Preprocess | MixedPreprocess, x_hat: tuple[Tensor, ...]) -> Tensor:
    """Scale a decoder's output: numbers, then the probabilities of categories."""
    if isinstance(preprocess, MixedPreprocess):
        numbers = preprocess.numbers.scale_rows(x_hat[0])
        return torch.cat([numbers, x_hat[2].to(numbers.dtype)], 1)
    return preprocess.scale_rows(*x_hat)
