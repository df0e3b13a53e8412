"""What the tests of training share: rows, a small recipe, and the command in two ways."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import console
from ae_train.cli import ae_train as click_command
from ae_train.recipe import Recipe, make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

CONFIG: dict[str, Any] = {
    "latent_dim": 2,
    "arch": {"name": "dense", "width": 8, "depth": 1, "dropout": 0.0},
    "fit": {"epochs": 3, "lr": 1e-2, "batch": 64},
}
SMALL = [
    "--latent=2",
    "--epochs=3",
    "--batch=64",
    "--set=arch.width=8",
    "--set=arch.depth=1",
    "--set=arch.dropout=0",
    "--set=fit.lr=1e-2",
]


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """(300, 5) float64: three columns are bent by two hidden numbers, so training beats PCA."""
    random = np.random.default_rng(7)
    u, v = random.uniform(-2, 2, (2, 300))
    x = np.stack([u, v, u * v, np.sin(2 * u), v * v], 1)
    return x + 0.05 * random.standard_normal(x.shape)


@pytest.fixture(scope="session")
def small() -> Callable[..., Recipe]:
    """A recipe of 2 latents, one hidden layer of 8 and 3 epochs; sections are merged into it."""

    def make(**sections: Any) -> Recipe:
        fields = dict(CONFIG)
        for name, value in sections.items():
            fields[name] = {**fields.get(name, {}), **value} if isinstance(value, dict) else value
        return make_recipe(fields)

    return make


@pytest.fixture(scope="session")
def finished(
    rows: np.ndarray, small: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run of `rows` and `small`, in a folder; not to be written to."""
    return train(rows, small(), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def ae_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    """ae-train with a small recipe, in this process and in tmp_path: (exit code, lines of stderr).

    rows.npy and other.npy of tmp_path hold rows. However busy the machine: no line of progress.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "LOG_EVERY_S", math.inf)
    x = np.random.default_rng(0).standard_normal((100, 4))
    np.save("rows.npy", x)
    np.save("other.npy", x + 1)

    def run(*arguments: str) -> tuple[int, list[str]]:
        code = console.run(click_command, "ae-train", [*SMALL, *arguments])
        return code, capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def ae_train_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """ae-train with a small recipe as a process of its own in tmp_path."""
    code = "from ae_train.cli import main; main()"

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *SMALL, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )

    return run
