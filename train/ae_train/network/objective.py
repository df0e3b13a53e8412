"""Objectives: losses between network output and scaled rows, one class each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ae_runtime.errors import DataError
from ae_train.data.form import Form

_TOUCH = 1e-6  # float32 rounding at the ends of [0, 1]


class Mse(nn.Module):
    """Mean squared error; the network's output is the reconstruction."""

    # Whether the loss is a negative log-likelihood in nats as it stands.
    likelihood: ClassVar[bool] = False

    def __init__(self, form: Form) -> None:
        super().__init__()

    def start(self) -> tuple[float | Tensor, float | Tensor]:
        """(gain, shift) of the output layer for which output(gain * s + shift) is s at first."""
        return 1.0, 0.0

    def output(self, y: Tensor) -> Tensor:
        """Reconstruction in scaled space from the network's output y."""
        return y

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        """Loss of each number, the shape of s."""
        return (y - s).square()

    def mean_loss(self, y: Tensor, s: Tensor) -> Tensor:
        """Mean of `loss` over all numbers, in one pass: for steps in which none is missing."""
        return nn.functional.mse_loss(y, s)

    def share(self) -> Tensor | None:
        """Weight of each number of a row, its share of a column; None: each is a whole column."""
        return None

    def fit(self, s: Tensor) -> None:
        """Learn from the scaled training rows s what the loss needs."""

    def check(self, s: Tensor, scaling: str) -> None:
        """Raise DataError unless the loss is defined on scaled rows s."""


class Mae(Mse):
    """Mean absolute error: the reconstruction is a median, which outliers move little."""

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        return (y - s).abs()

    def mean_loss(self, y: Tensor, s: Tensor) -> Tensor:
        return nn.functional.l1_loss(y, s)


class Huber(Mse):
    """Squared error below one std, absolute error beyond (Huber 1964)."""

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        return nn.functional.huber_loss(y, s, reduction="none")

    def mean_loss(self, y: Tensor, s: Tensor) -> Tensor:
        return nn.functional.huber_loss(y, s)


class Bce(Mse):
    """Binary cross-entropy of numbers in [0, 1]; the network's output is a logit."""

    likelihood: ClassVar[bool] = True

    def start(self) -> tuple[float | Tensor, float | Tensor]:
        return 4.0, -2.0  # sigmoid(4 (s - 1/2)) = s to first order around 1/2

    def output(self, y: Tensor) -> Tensor:
        return torch.sigmoid(y)

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        target = s.clamp(0, 1)  # held-out rows may lie past the training range
        return nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none")

    def mean_loss(self, y: Tensor, s: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(y, s.clamp(0, 1))

    def check(self, s: Tensor, scaling: str) -> None:
        low, high = float(s.min()), float(s.max())
        if low < -_TOUCH or high > 1 + _TOUCH:
            raise DataError(
                "objective bce is undefined here: it needs data in [0, 1], and with scaling = "
                f"{scaling!r} they run from {low:.4g} to {high:.4g}; use objective = 'mse', or "
                "scaling = 'range' if each column has natural bounds"
            )


class Mixed(Mse):
    """Squared error of each number, cross-entropy of each categorical column.

    Cross-entropies are in units of the column's entropy over the training rows, so that a model
    that knows nothing of a row pays about 1 for any column, of numbers or categories.
    """

    likelihood: ClassVar[bool] = True

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.levels, self.width = form.levels, form.row_shape[0]
        self.register_buffer("weight", torch.ones(sum(form.levels)))

    weight: Tensor

    def start(self) -> tuple[float | Tensor, float | Tensor]:
        gain = torch.ones(self.width + sum(self.levels))
        gain[self.width :] = 4.0  # softmax(4 s) favours what s favours; its rest is learned
        return gain, 0.0

    def output(self, y: Tensor) -> Tensor:
        parts = [part.softmax(1) for part in y[:, self.width :].split(self.levels, 1)]
        return torch.cat([y[:, : self.width], *parts], 1)

    def loss(self, y: Tensor, s: Tensor) -> Tensor:
        numbers = (y[:, : self.width] - s[:, : self.width]).square()
        logits = y[:, self.width :].split(self.levels, 1)
        chances = torch.cat([part.log_softmax(1) for part in logits], 1)
        return torch.cat([numbers, -chances * s[:, self.width :] * self.weight], 1)

    def mean_loss(self, y: Tensor, s: Tensor) -> Tensor:
        return self.loss(y, s).mean()

    def share(self) -> Tensor:
        sizes = torch.tensor(self.levels, dtype=self.weight.dtype, device=self.weight.device)
        parts = (1 / sizes).repeat_interleave(sizes.long())
        return torch.cat([torch.ones_like(parts).new_ones(self.width), parts])

    @torch.no_grad()
    def fit(self, s: Tensor) -> None:
        weights = []
        for part in s[:, self.width :].split(self.levels, 1):
            chance = part.mean(0) / part.mean(0).sum().clamp(min=1e-12)
            entropy = -(chance * chance.clamp(min=1e-12).log()).sum()
            weights.append((1 / entropy.clamp(min=0.1)).expand(part.shape[1]))
        self.weight.copy_(torch.cat(weights))


# A new objective is one class and its line here.
OBJECTIVES: dict[str, type[Mse]] = {
    "mse": Mse,
    "mae": Mae,
    "huber": Huber,
    "bce": Bce,
    "mixed": Mixed,
}
