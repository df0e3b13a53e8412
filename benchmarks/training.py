"""Seconds of training beside PyOD, pythae, scikit-learn and a plain DataLoader loop, in one run.

python benchmarks/training.py [FOLDER] [--rounds N] [--only same|defaults]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "build" / "peers" / "bin" / "python"
FILE = "images/mnist/mnist_train_60000.npz"
TOOLS = ("ae-toolkit", "pyod", "pythae", "sklearn", "loader")
WIDTHS, EPOCHS = (64, 256), 4
LATENT_DIMS = {"pyod": 32, "pythae": 10}  # those that the tools choose by default
# Some machines name the kernels of numpy's BLAS; scikit-learn is timed with those it would choose.
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--rounds", default=3, show_default=True, help="Runs of each tool, in turn.")
@click.option("--only", type=click.Choice(["same", "defaults"]))
def main(folder: Path, rounds: int, only: str | None) -> None:
    """Train on 45,000 digits of MNIST, and validate on 5,000."""
    if not (folder / FILE).exists():
        raise click.ClickException(f"not found: {folder / FILE}")
    with np.load(folder / FILE) as file:
        x = file["x"][:50_000]
    order = np.random.default_rng(0).permutation(len(x))
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        rows = Path(temporary) / "rows.npz"
        np.savez(rows, train=x[order[5000:]], validation=x[order[:5000]])
        if only != "defaults":
            for width in WIDTHS:
                for used in (cpus[:1], cpus[:2]):
                    same_network(rows, width, used, rounds)
        if only != "same":
            for tool, latent_dim in LATENT_DIMS.items():
                same_error(rows, tool, latent_dim, cpus[:2])


def same_network(rows: Path, width: int, cpus: list[int], rounds: int) -> None:
    """Seconds an epoch of the same network, batch and epochs; medians of runs in turn."""
    found: dict[str, list[dict[str, float]]] = {tool: [] for tool in TOOLS}
    for _ in range(rounds):
        for tool in TOOLS:
            found[tool].append(timed(tool, rows, cpus, "same", width, EPOCHS))
    print(f"784-{width}-32-{width}-784, batch 256, {EPOCHS} epochs, {len(cpus)} threads")
    ours = statistics.median(run["seconds"] for run in found["ae-toolkit"])
    for tool, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        ratio = statistics.median(
            run["seconds"] / own["seconds"]
            for run, own in zip(runs, found["ae-toolkit"], strict=True)
        )
        print(f"  {tool:<11}{seconds / EPOCHS:>7.3f} s an epoch{seconds / ours:>7.2f} times ours "
              f"(median of pairs {ratio:.2f})  validation MSE {runs[0]['mse']:.4f}",
              flush=True)  # fmt: skip


def same_error(rows: Path, tool: str, latent_dim: int, cpus: list[int]) -> None:
    """Seconds of a tool at its defaults, and ours at our defaults until as small an error."""
    theirs = timed(tool, rows, cpus, "defaults", latent_dim)
    ours = timed("ae-toolkit", rows, cpus, "defaults", latent_dim, theirs["mse"])
    assert ours["mse"] <= theirs["mse"]
    print(f"{tool} at its defaults, {latent_dim} latents: {theirs['epochs']:.0f} epochs in "
          f"{theirs['seconds']:.1f} s to a validation MSE of {theirs['mse']:.5f}; "
          f"ae-toolkit at its defaults: {ours['epochs']:.0f} epochs in {ours['seconds']:.1f} s to "
          f"{ours['mse']:.5f}, {theirs['seconds'] / ours['seconds']:.1f} times as fast",
          flush=True)  # fmt: skip


def timed(tool: str, rows: Path, cpus: list[int], *words: object) -> dict[str, float]:
    """What one training by a tool in a fresh process found; its threads are as many as cpus."""
    python = sys.executable if tool == "ae-toolkit" else PEERS
    script = ROOT / "benchmarks" / "contenders.py"
    done = subprocess.run(
        [str(word) for word in (python, script, tool, rows, *words)],
        env={name: value for name, value in os.environ.items() if name not in PINS},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode:
        raise click.ClickException(f"{tool}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
