"""The training loop: steps over shuffled rows, early stopping, and a state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ae_runtime.errors import TrainingFailed
from ae_train.model import Model
from ae_train.recipe import Fit

_EVALUATE_ROWS = 4096


@dataclass(frozen=True)
class Rows:
    """Rows in scaled space. s: (N, ...) float32. present: the same shape, bool; None: all are."""

    s: Tensor
    present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.s)


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch; losses are means over present numbers, in scaled space.

    seconds_left: until the last epoch, at the pace so far; training may well stop earlier.
    """

    epoch: int
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


def evaluate(model: Model, rows: Rows) -> tuple[float, float]:
    """(loss, mean squared error) over the present numbers of rows, the model as used."""
    model.eval()
    loss = squares = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for start in range(0, len(rows), _EVALUATE_ROWS):
            s = rows.s[start : start + _EVALUATE_ROWS]
            y = model.as_used(s)
            losses = model.objective.loss(y, s)
            errors = (model.objective.output(y) - s).square()
            if rows.present is not None:
                present = rows.present[start : start + _EVALUATE_ROWS]
                losses, errors = losses * present, errors * present
            loss = loss + losses.sum(dtype=torch.float64)
            squares = squares + errors.sum(dtype=torch.float64)
    count = rows.s.numel() if rows.present is None else int(rows.present.sum())
    return float(loss) / max(count, 1), float(squares) / max(count, 1)


class Fitting:
    """One training. `run` goes on from `state` and leaves the weights to keep in the model."""

    def __init__(self, model: Model, recipe: Fit, train: Rows, validation: Rows) -> None:
        self.model, self.recipe = model, recipe
        self.train, self.validation = train, validation
        self.state = State()
        self.optimizer = _make_optimizer(model, recipe)
        self.steps_per_epoch = math.ceil(len(train) / recipe.batch)

    def run(self, after_epoch: Callable[[Epoch, State], None]) -> None:
        """Train until the last epoch or, where the best weights are kept, patience runs out.

        after_epoch is called with the start, as epoch 0, and after each epoch with a state that
        stays as it is until the call returns; what it raises ends the training. Raises
        TrainingFailed if a loss is no longer a number.
        """
        state, recipe = self.state, self.recipe
        if not state.model:
            self._judge(after_epoch, None, math.nan)
        started, first = time.monotonic(), state.epoch
        while state.epoch < recipe.epochs:
            stale = state.epoch - state.best_epoch >= recipe.patience
            if stale and recipe.keep == "best":
                break
            train_loss = self._epoch()
            state.epoch += 1
            pace = (time.monotonic() - started) / (state.epoch - first)
            self._judge(after_epoch, train_loss, pace * (recipe.epochs - state.epoch))
        if recipe.keep == "best":
            self.model.load_state_dict(state.best)
        else:
            state.best_epoch = state.epoch
        self.model.eval()

    def resume(self, state: State) -> None:
        """Go on from a state that after_epoch was given."""
        self.state = state
        self.model.load_state_dict(state.model)
        load_optimizer(self.optimizer, state.optimizer)
        if state.random is not None:
            torch.set_rng_state(state.random)

    def _epoch(self) -> float:
        """Mean training loss of one pass over the rows; no step waits for a number."""
        self.model.train()
        parameters = list(self.model.parameters())
        order = torch.randperm(len(self.train))
        total = torch.zeros(())
        for step, start in enumerate(range(0, len(order), self.recipe.batch)):
            self._set_lr(self.state.epoch * self.steps_per_epoch + step)
            batch = order[start : start + self.recipe.batch]
            loss = self._loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            if self.recipe.clip:
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
            self.optimizer.step()
            total += loss.detach() * len(batch)
        return float(total) / len(order)

    def _loss(self, batch: Tensor) -> Tensor:
        s = self.train.s[batch]
        losses = self.model.objective.loss(self.model(s), s)
        if self.train.present is None:
            return losses.mean()
        present = self.train.present[batch]
        return (losses * present).sum() / present.sum().clamp(min=1)

    def _judge(
        self,
        after_epoch: Callable[[Epoch, State], None],
        train_loss: float | None,
        seconds_left: float,
    ) -> None:
        state, recipe = self.state, self.recipe
        loss, mse = evaluate(self.model, self.validation)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the loss is no longer a number after epoch {state.epoch}; lower [fit] lr "
                f"(it is {recipe.lr:g})" + ("" if recipe.clip else " or set clip = 1")
            )
        state.model = self.model.state_dict()
        if loss < state.best_loss:
            state.best_loss, state.best_epoch = loss, state.epoch
            state.best = {name: value.clone() for name, value in state.model.items()}
        state.optimizer = optimizer_tensors(self.optimizer)
        state.random = torch.get_rng_state()
        lr = self.optimizer.param_groups[0]["lr"]
        epoch = Epoch(state.epoch, train_loss, loss, mse, lr, state.best_epoch, seconds_left)
        after_epoch(epoch, state)

    def _set_lr(self, step: int) -> None:
        lr = self.recipe.lr
        if self.recipe.schedule == "cosine":
            steps = self.recipe.epochs * self.steps_per_epoch
            lr *= 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = lr


def _make_optimizer(model: Model, recipe: Fit) -> torch.optim.Optimizer:
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
