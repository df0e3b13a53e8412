"""The training loop: steps over shuffled rows, early stopping, and a state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_runtime.errors import TrainingFailed
from ae_train.fit.blocks import block_sums
from ae_train.fit.corruption import Corrupt
from ae_train.fit.rows import Rows
from ae_train.network.model import Model
from ae_train.recipe import ResolvedFit

Stop = Literal["epochs", "patience", "interrupt"]


@dataclass(frozen=True)
class Epoch:
    """Figures of an epoch; losses are means over present numbers, in scaled space.

    epochs: how many there are at most. seconds_left: until the last of them, at the pace so far;
    training may well stop earlier.
    """

    epoch: int
    epochs: int
    train_loss: float | None
    validation_loss: float
    validation_mse: float
    lr: float
    best_epoch: int
    seconds_left: float


@dataclass
class State:
    """All that the rest of a training depends on, between two epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    model: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    random: Tensor | None = None
    device_random: Tensor | None = None  # state of the GPU's generator
    # (epochs + 1, blocks) float64, squares summed over each block of validation rows.
    block_errors: Tensor | None = None


class Errors(NamedTuple):
    """Mean loss and mean squared error over present numbers, and the summed squares of each row.

    squares: (N,) float64, on the CPU.
    """

    loss: float
    mse: float
    squares: Tensor


def evaluate(model: Model, rows: Rows) -> Errors:
    """The errors of the model, as used, on rows in scaled space."""
    model.eval()
    of_rows: list[Tensor] = []
    totals = torch.zeros(5, dtype=torch.float64)  # loss, its weight, squares, numbers, penalty
    share = model.objective.share()
    numbers = 1
    with torch.no_grad():
        for s, present in rows.blocks():
            y, penalty = model.as_used(s)
            losses = model.objective.loss(y, s)
            errors = (model.objective.output(y) - s).square()
            weights = _weights(s, present, share)
            if present is not None:
                losses, errors = losses * present, errors * present
            numbers = s[0].numel()
            of_rows.append(errors.flatten(1).sum(1, dtype=torch.float64).cpu())
            sums = [
                losses.sum(dtype=torch.float64),
                torch.as_tensor(float(s.numel()) if weights is None else weights.double().sum()),
                errors.sum(dtype=torch.float64),
                torch.as_tensor(float(s.numel()) if present is None else present.sum()),
                torch.zeros(()) if penalty is None else penalty.sum(dtype=torch.float64),
            ]
            totals += torch.stack([value.double().cpu() for value in sums])
    loss, weight, squares, count, penalties = totals.tolist()
    mean, mse = loss / max(weight, 1e-12), squares / max(count, 1)
    combined = model.bottleneck.combine(
        torch.tensor(mean),
        torch.tensor(penalties / max(len(rows), 1) / numbers),
        model.objective.likelihood,
    )
    return Errors(float(combined), mse, torch.cat(of_rows))


def _weights(s: Tensor, present: Tensor | None, share: Tensor | None) -> Tensor | None:
    """Weights of the numbers in the mean loss, broadcast to s; None: each counts 1."""
    if share is None:
        return present
    return share.expand_as(s) if present is None else share * present


class Fitting:
    """One training. `run` goes on from `state` and leaves the weights to keep in the model.

    blocks: each validation row's block; if given, the errors of blocks are kept by epoch.
    """

    def __init__(
        self,
        model: Model,
        recipe: ResolvedFit,
        train: Rows,
        validation: Rows,
        corrupt: Corrupt | None = None,
        blocks: NDArray[np.int64] | None = None,
    ) -> None:
        self.model, self.recipe, self.epochs = model, recipe, recipe.epochs
        self.train, self.validation, self.corrupt = train, validation, corrupt
        self.blocks = blocks
        self.state = State()
        self.optimizer = _make_optimizer(model, recipe)
        self.steps_per_epoch = math.ceil(len(train) / recipe.batch)
        self.share = model.objective.share()

    def run(self, after_epoch: Callable[[Epoch, State], None]) -> Stop:
        """Train until the last epoch, an interrupt, or, where the best is kept, out of patience.

        after_epoch is called with the start, as epoch 0, and after each epoch with a state that
        stays as it is until the call returns; what it raises ends the training. Returns why it
        ended. Raises TrainingFailed if a loss is no longer a number.
        """
        state = self.state
        if not state.model:
            self._evaluate(after_epoch, None, math.nan)
        try:
            stop = self._epochs(after_epoch)
        except KeyboardInterrupt:
            stop = "interrupt"
        if self.recipe.keep == "best":
            self.model.load_state_dict(state.best)
        else:
            state.best_epoch = state.epoch
        self.model.eval()
        return stop

    def advance(self, epochs: int) -> None:
        """Train for so many epochs, without evaluating any."""
        for _ in range(epochs):
            self._epoch()
            self.state.epoch += 1

    def _epochs(self, after_epoch: Callable[[Epoch, State], None]) -> Stop:
        state, recipe = self.state, self.recipe
        started, first = time.monotonic(), state.epoch
        while state.epoch < self.epochs:
            stale = state.epoch - state.best_epoch >= recipe.patience
            if stale and recipe.keep == "best":
                return "patience"
            train_loss = self._epoch()
            state.epoch += 1
            pace = (time.monotonic() - started) / (state.epoch - first)
            self._evaluate(after_epoch, train_loss, pace * (self.epochs - state.epoch))
        return "epochs"

    def resume(self, state: State) -> None:
        """Go on from a state that after_epoch was given."""
        self.state = state
        self.model.load_state_dict(state.model)
        load_optimizer(self.optimizer, state.optimizer)
        if state.random is not None:
            torch.set_rng_state(state.random)
        if state.device_random is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state.device_random, self.device)

    def _epoch(self) -> float:
        """Train for one pass over the rows; returns the mean loss. No step waits for a number."""
        self.model.train()
        parameters = list(self.model.parameters())
        total = torch.zeros((), device=self.device)
        for step, (s, present) in enumerate(self.train.batches(self.recipe.batch)):
            self._set_lr(self.state.epoch * self.steps_per_epoch + step)
            loss = self._loss(s, present)
            self.optimizer.zero_grad()
            loss.backward()
            if self.recipe.clip:
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip, foreach=True)
            self.optimizer.step()
            total.add_(loss.detach(), alpha=len(s))
        return float(total) / len(self.train)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _loss(self, s: Tensor, present: Tensor | None) -> Tensor:
        y, penalty = self.model(s if self.corrupt is None else self.corrupt(s))
        weights = _weights(s, present, self.share)
        if weights is None:
            mean = self.model.objective.mean_loss(y, s)
        else:
            losses = self.model.objective.loss(y, s)
            losses = losses if present is None else losses * present
            mean = losses.sum() / weights.sum().clamp(min=1e-6)
        if penalty is None:
            return mean
        per_number = penalty.mean() / s[0].numel()
        return self.model.bottleneck.combine(mean, per_number, self.model.objective.likelihood)

    def _evaluate(
        self,
        after_epoch: Callable[[Epoch, State], None],
        train_loss: float | None,
        seconds_left: float,
    ) -> None:
        state, recipe = self.state, self.recipe
        loss, mse, squares = evaluate(self.model, self.validation)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the loss is no longer a number after epoch {state.epoch}; lower [fit] lr "
                f"(it is {recipe.lr:g})" + ("" if recipe.clip else " or set clip = 1")
            )
        state.model = self.model.state_dict()
        if self.blocks is not None:
            sums = torch.from_numpy(block_sums(squares.numpy(), self.blocks))[None]
            before = state.block_errors
            state.block_errors = sums if before is None else torch.cat([before, sums])
        if loss < state.best_loss:
            best = {name: value.clone() for name, value in state.model.items()}
            state.best, state.best_loss, state.best_epoch = best, loss, state.epoch
        state.optimizer = optimizer_tensors(self.optimizer)
        state.random = torch.get_rng_state()
        if self.device.type == "cuda":
            state.device_random = torch.cuda.get_rng_state(self.device)
        lr = self.optimizer.param_groups[0]["lr"]
        epoch = Epoch(
            state.epoch, self.epochs, train_loss, loss, mse, lr, state.best_epoch, seconds_left
        )
        after_epoch(epoch, state)

    def _set_lr(self, step: int) -> None:
        lr = self.recipe.lr
        if self.recipe.schedule == "cosine":
            steps = self.epochs * self.steps_per_epoch
            lr *= 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = lr


def _make_optimizer(model: Model, recipe: ResolvedFit) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.Adadelta(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named "parameter.key"."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{at}.{key}": torch.as_tensor(value)
        for at, entry in state.items()
        for key, value in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of optimizer_tensors."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        at, key = name.split(".", 1)
        state.setdefault(int(at), {})[key] = value
    fields = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": fields["param_groups"]})
