"""A training that is interrupted or killed and resumed is the training that never stopped."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import console
from ae_runtime.errors import OutputExists, OutputFailed, RunError
from ae_train import training
from ae_train.cli import ae_train as click_command
from ae_train.fit.fitting import Epoch
from ae_train.recipe import Recipe
from ae_train.run.folder import Run
from ae_train.training import train

Make = Callable[..., Recipe]
EPOCHS = 8


class Cut(BaseException):
    """What ends a training in its middle, like a kill; not an interrupt, which saves the best."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cut_at(epoch: int) -> Callable[[Epoch, float], None]:
    def show(done: Epoch, pca_mse: float) -> None:
        if done.epoch == epoch:
            raise Cut

    return show


@pytest.fixture(params=["adamw", "adadelta"])
def recipe(request: pytest.FixtureRequest, small: Make) -> Recipe:
    """With dropout, so that the random state matters, and 4 steps an epoch."""
    fit = {"optimizer": request.param, "epochs": EPOCHS, "keep": "last"}
    return small(arch={"dropout": 0.3}, fit=fit)


@pytest.fixture
def uninterrupted(recipe: Recipe, rows: np.ndarray, tmp_path: Path) -> dict[str, bytes]:
    train(rows, recipe, tmp_path / "uninterrupted")
    return contents(tmp_path / "uninterrupted")


@pytest.mark.parametrize("epochs", [[0], [1], [5], [EPOCHS], [2, 3, 6]], ids=str)
def test_resumed_is_uninterrupted(
    recipe: Recipe,
    rows: np.ndarray,
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
    epochs: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    out = tmp_path / "run"
    for at, epoch in enumerate(epochs):
        with pytest.raises(Cut):
            train(rows, recipe, out, resume=at > 0, show=cut_at(epoch))
        assert not out.exists()
    shown: list[int] = []
    train(rows, recipe, out, resume=True, show=lambda epoch, _: shown.append(epoch.epoch))
    assert shown == list(range(epochs[-1] + 1, EPOCHS + 1))  # it went on, it did not start anew
    assert contents(out) == uninterrupted  # weights, schema, metrics: every byte of every file
    assert not (tmp_path / "run.part").exists()


def test_the_best_weights_survive_a_resume(
    small: Make, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    x = np.random.default_rng(0).standard_normal((60, 10))  # nothing to learn: the best come early
    recipe = small(fit={"epochs": 30, "patience": 5})
    whole = train(x, recipe, tmp_path / "whole")
    assert whole.schema.epochs == whole.schema.best_epoch + 5 < 30
    with pytest.raises(Cut):
        train(x, recipe, tmp_path / "run", show=cut_at(whole.schema.epochs - 1))
    train(x, recipe, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("last_save", [None, 2])
def test_what_came_after_the_last_state_is_done_again(
    recipe: Recipe,
    rows: np.ndarray,
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
    last_save: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = 1e9
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", never if last_save is None else 0.0)

    def show(done: Epoch, pca_mse: float) -> None:
        if done.epoch == last_save:
            monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", never)
        cut_at(5)(done, pca_mse)

    with pytest.raises(Cut):
        train(rows, recipe, tmp_path / "run", show=show)
    assert len((tmp_path / "run.part" / "metrics.jsonl").read_text().splitlines()) == 6
    shown: list[int] = []
    train(
        rows,
        recipe,
        tmp_path / "run",
        resume=True,
        show=lambda epoch, _: shown.append(epoch.epoch),
    )
    assert shown[0] == (0 if last_save is None else last_save + 1)
    assert contents(tmp_path / "run") == uninterrupted


SLOWLY = """
import time
from ae_train import cli, training
training.SAVE_STATE_EVERY_S = 0.0
log = training.Checkpoint.log
def slow(self, line):
    time.sleep(0.03)  # long enough to be killed between any two files
    log(self, line)
training.Checkpoint.log = slow
cli.main()
"""
SETTINGS = [
    "rows.npy",
    "--out=run",
    "--latent=2",
    "--epochs=40",
    "--batch=64",
    "--set=arch.width=8",
    "--set=arch.depth=1",
    "--set=arch.dropout=0.3",
    "--set=fit.keep=last",
    "--set=fit.patience=40",
]


@pytest.mark.parametrize("after_lines", [1, 12])
def test_killed_and_resumed_is_uninterrupted(
    rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_lines: int
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows)
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *SETTINGS])
    metrics = Path("run.part/metrics.jsonl")
    deadline = time.monotonic() + 60
    try:
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < after_lines:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not Path("run").exists()
    assert after_lines == 1 or Path("run.part/state.safetensors").exists()
    assert console.run(click_command, "ae-train", [*SETTINGS, "--resume"]) == 0
    resumed = contents(Path("run"))
    shutil.rmtree("run")
    assert console.run(click_command, "ae-train", SETTINGS) == 0
    assert contents(Path("run")) == resumed


def worked(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """(moment of the first write, moment of the end) of a training in the working folder."""
    while not Path("run.part").exists():
        assert process.poll() is None
        time.sleep(0.001)
    first = time.monotonic()
    assert process.wait(120) == 0
    return first, time.monotonic()


@pytest.mark.soak
def test_twenty_kills_over_the_working_phase(
    rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SLOWLY, *SETTINGS])

    first, last = worked(start())
    expected = contents(Path("run"))
    random = np.random.default_rng(0)
    between = 0
    for _ in range(20):
        shutil.rmtree("run")
        process = start()
        while not Path("run.part").exists():
            time.sleep(0.001)
        time.sleep(float(random.uniform(0, last - first)))
        process.kill()
        process.wait()
        between += not Path("run").exists() and Path("run.part/recipe.toml").exists()
        if Path("run").exists():  # the kill came after the last write: a whole run
            Run.load("run")
        else:
            begun = Path("run.part/recipe.toml").exists()
            resume = ["--resume"] if begun else []
            assert console.run(click_command, "ae-train", [*SETTINGS, *resume]) == 0
        assert contents(Path("run")) == expected
    print(f"{between} of 20 kills between the first and the last write")
    assert between >= 10


def test_other_settings_and_other_rows_are_refused(
    small: Make, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    part, out = tmp_path / "run.part", tmp_path / "run"
    with pytest.raises(Cut):
        train(rows, small(), out, show=cut_at(1))
    before = contents(part)
    with pytest.raises(RunError) as settings:
        train(rows, small(seed=3, fit={"lr": 0.5}), out, resume=True)
    assert str(settings.value) == (
        f"{part} was started with another fit.lr, seed; resume with the same settings, "
        "or start anew with --overwrite"
    )
    with pytest.raises(RunError) as data:
        train(rows + 1, small(), out, resume=True)
    assert str(data.value) == f"{part} was started on other data; start anew with --overwrite"
    with pytest.raises(OutputExists) as neither:
        train(rows, small(), out)
    assert str(neither.value) == (
        f"{part} holds an unfinished run; --resume goes on with it, --overwrite starts anew"
    )
    assert contents(part) == before
    train(rows, small(), out, resume=True)
    assert not part.exists()


def test_a_damaged_state_is_refused_in_one_line(
    small: Make, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    with pytest.raises(Cut):
        train(rows, small(), tmp_path / "run", show=cut_at(1))
    state = tmp_path / "run.part" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(RunError) as caught:
        train(rows, small(), tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"{state} is damaged (Error while deserializing header: incomplete metadata, file not "
        "fully covered); start anew with --overwrite"
    )


def test_a_disk_that_fills_up_late_costs_nothing_that_was_saved(
    recipe: Recipe,
    rows: np.ndarray,
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    out = tmp_path / "run"

    def full(self: Run, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", full)
        with pytest.raises(OutputFailed) as caught:
            train(rows, recipe, out)
    assert str(caught.value) == (
        f"{out} could not be written: the disk is full; free some space; "
        f"{out}.part is kept for --resume"
    )
    assert not out.exists()
    shown: list[int] = []
    train(rows, recipe, out, resume=True, show=lambda epoch, _: shown.append(epoch.epoch))
    assert shown == []  # only the last step was missing
    assert contents(out) == uninterrupted


def test_a_replacement_can_be_resumed_and_the_old_run_stands_until_then(
    small: Make, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STATE_EVERY_S", 0.0)
    out = tmp_path / "run"
    train(rows, small(seed=1), out)
    old = contents(out)
    with pytest.raises(Cut):
        train(rows, small(seed=2), out, overwrite=True, show=cut_at(1))
    assert contents(out) == old
    shown: list[int] = []
    run = train(
        rows, small(seed=2), out, resume=True, show=lambda epoch, _: shown.append(epoch.epoch)
    )
    assert shown == [2, 3]
    assert run.recipe.seed == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
