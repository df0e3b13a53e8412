"""Ctrl-C ends a training with the best model saved, wherever it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ae_runtime.errors import OutputExists
from ae_train import training
from ae_train.fit import fitting
from ae_train.fit.fitting import Epoch, Fitting
from ae_train.recipe import Recipe
from ae_train.run.checkpoint import Checkpoint
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]
Show = Callable[[Epoch, float], None]


def interrupt_at(epoch: int, shown: list[Epoch]) -> Show:
    def show(done: Epoch, pca_mse: float) -> None:
        shown.append(done)
        if done.epoch == epoch:
            raise KeyboardInterrupt

    return show


def interrupted_call(patch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """From now on `owner.name` is interrupted when it is called for this time, from 1 on."""
    original = getattr(owner, name)
    calls = iter(range(1, 10**6))

    def maybe(*arguments: object) -> object:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments)

    patch.setattr(owner, name, maybe)


@pytest.fixture
def recipe(small: Make) -> Recipe:
    return small(fit={"epochs": 40, "patience": 40, "lr": 0.03})


@pytest.mark.parametrize("epoch", [1, 12, 40])
def test_the_best_of_the_epochs_so_far_is_saved(
    recipe: Recipe, rows: np.ndarray, tmp_path: Path, epoch: int
) -> None:
    shown: list[Epoch] = []
    run = train(rows, recipe, tmp_path / "run", show=interrupt_at(epoch, shown))
    assert (run.schema.stopped, run.schema.epochs) == ("interrupt", epoch)
    best = min(shown, key=lambda done: done.validation_mse)
    assert run.schema.best_epoch == best.epoch
    quality = run.schema.quality
    # After few epochs what was gained over PCA may be chance, and PCA is saved.
    saved = quality.pca_mse if quality.is_pca else best.validation_mse
    assert quality.validation_mse == pytest.approx(saved, rel=1e-6)
    assert epoch == 1 or not quality.is_pca
    loaded = Run.load(tmp_path / "run")
    assert loaded.model_id == run.model_id
    assert loaded.schema.stopped == "interrupt"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == epoch + 1


def test_the_last_weights_are_kept_where_that_was_asked_for(
    small: Make, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(fit={"epochs": 40, "keep": "last"})
    weights: list[torch.Tensor] = []
    judge = Fitting._evaluate

    def spy(self: Fitting, *arguments: object) -> None:
        weights.append(self.model.path.encode_axes.weight.detach().clone())
        judge(self, *arguments)

    monkeypatch.setattr(Fitting, "_evaluate", spy)
    run = train(rows, recipe, show=interrupt_at(7, []))
    assert (run.schema.epochs, run.schema.best_epoch) == (7, 7)
    assert torch.equal(run.model.path.encode_axes.weight, weights[7])
    assert not torch.equal(weights[7], weights[6])


# What is going on when the interrupt comes, and the calls of it that come before.
PLACES = {
    "in a step": (Fitting, "_loss", 23),
    "while the epoch is judged": (fitting, "evaluate", 8),
    "while the epoch is logged": (Checkpoint, "log", 8),
    "while a state is saved": (Checkpoint, "save_state", 8),
}


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_comes_a_whole_run_is_left(
    small: Make,
    rows: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    keep: str,
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    recipe = small(fit={"epochs": 40, "keep": keep, "lr": 0.03})
    interrupted_call(monkeypatch, *PLACES[place])
    run = train(rows, recipe, tmp_path / "run")
    assert run.schema.stopped == "interrupt"
    assert 5 <= run.schema.best_epoch <= run.schema.epochs <= 7
    assert run.schema.quality.validation_mse <= run.schema.quality.pca_mse
    loaded = Run.load(tmp_path / "run")
    x = torch.from_numpy(rows)
    assert torch.equal(loaded.model.encode(x), run.model.encode(x))
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_before_the_first_epoch_there_is_nothing_to_save_but_all_to_resume(
    recipe: Recipe, rows: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, recipe, tmp_path / "run", show=interrupt_at(0, []))
    assert [path.name for path in tmp_path.iterdir()] == ["run.part"]
    run = train(rows, recipe, tmp_path / "run", resume=True)
    assert run.model_id == train(rows, recipe).model_id


def test_an_interrupted_run_is_finished_and_can_be_gone_on_from(
    recipe: Recipe, rows: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = train(rows, recipe, out, show=interrupt_at(5, []))
    with pytest.raises(OutputExists) as caught:
        train(rows, recipe, out, resume=True)
    assert str(caught.value) == f"{out} exists already; --overwrite replaces it"
    shown: list[Epoch] = []
    train(rows, recipe, init=out, show=lambda epoch, _: shown.append(epoch))
    assert shown[0].validation_mse == run.schema.quality.validation_mse


def test_a_resumed_training_can_be_interrupted_too(
    recipe: Recipe, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)

    class Cut(BaseException):
        pass

    def cut(done: Epoch, pca_mse: float) -> None:
        if done.epoch == 4:
            raise Cut

    with pytest.raises(Cut):
        train(rows, recipe, tmp_path / "run", show=cut)
    shown: list[Epoch] = []
    run = train(rows, recipe, tmp_path / "run", resume=True, show=interrupt_at(9, shown))
    assert [epoch.epoch for epoch in shown] == [5, 6, 7, 8, 9]
    assert (run.schema.stopped, run.schema.epochs) == ("interrupt", 9)
    whole = train(rows, recipe, show=interrupt_at(9, []))
    assert run.model_id == whole.model_id
