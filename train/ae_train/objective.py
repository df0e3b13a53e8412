"""What training brings down: losses between network output and scaled rows, one class each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ae_runtime.errors import DataError

_TOUCH = 1e-6  # float32 rounding at the ends of [0, 1]


class Mse(nn.Module):
    """Mean squared error; the network's output is the reconstruction."""

    # (gain, shift) of the output layer for which output(gain * s + shift) starts out as s.
    start: ClassVar[tuple[float, float]] = (1.0, 0.0)

    def output(self, y: Tensor) -> Tensor:
        """Reconstruction in scaled space from the network's output y."""
        return y

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        """Loss of each number, the shape of s."""
        return (y - s).square()

    def check(self, s: Tensor, scaling: str) -> None:
        """Raise DataError unless the loss is defined on scaled rows s."""


class Bce(nn.Module):
    """Binary cross-entropy of numbers in [0, 1]; the network's output is a logit."""

    # sigmoid(4 (s - 1/2)) = s to first order around 1/2.
    start: ClassVar[tuple[float, float]] = (4.0, -2.0)

    def output(self, y: Tensor) -> Tensor:
        return torch.sigmoid(y)

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        target = s.clamp(0, 1)  # held-out rows may lie past the training range
        return nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none")

    def check(self, s: Tensor, scaling: str) -> None:
        low, high = float(s.min()), float(s.max())
        if low < -_TOUCH or high > 1 + _TOUCH:
            raise DataError(
                "objective bce is undefined here: it needs data in [0, 1], and with scaling = "
                f"{scaling!r} they run from {low:.4g} to {high:.4g}; use objective = 'mse', or "
                "scaling = 'range' if each column has natural bounds"
            )


# A new objective is one class and its line here.
OBJECTIVES: dict[str, type[Mse] | type[Bce]] = {"mse": Mse, "bce": Bce}
