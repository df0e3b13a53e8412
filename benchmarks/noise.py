"""How often PCA is kept on pure noise, where no network can be better: 16 shapes, some seeds.

python benchmarks/noise.py [--seeds N] [--lr RATE]...
"""

from __future__ import annotations

import os
import time

import click
import numpy as np
import torch

from ae_train import train
from ae_train.recipe import make_recipe

# Rows, columns, latents.
SHAPES = [
    (30, 3, 1), (30, 20, 2), (30, 200, 2), (60, 10, 2), (60, 10, 6), (60, 100, 8), (100, 5, 2),
    (100, 50, 4), (200, 3, 2), (200, 20, 5), (200, 200, 16), (500, 10, 3), (500, 50, 10),
    (1000, 5, 2), (1000, 30, 8), (2000, 20, 4),
]  # fmt: skip
LEAST = 0.95


@click.command()
@click.option("--seeds", default=40, show_default=True, help="Seeds of each shape.")
@click.option("--lr", "rates", multiple=True, type=float, default=(1e-3, 0.3), show_default=True)
def main(seeds: int, rates: tuple[float, ...]) -> None:
    """Train small networks on noise; exit 1 if PCA is kept in fewer than 95 %."""
    if hasattr(os, "sched_setaffinity"):  # small networks wait for a second thread
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, numpy "
          f"{np.__version__}, NPY_DISABLE_CPU_FEATURES="
          f"{os.environ.get('NPY_DISABLE_CPU_FEATURES', '')!r}")  # fmt: skip
    least = 1.0
    for lr in rates:
        started, kept, better = time.monotonic(), [], []
        for shape in SHAPES:
            found = [keeps_pca(shape, lr, seed) for seed in range(seeds)]
            kept.append(np.mean([is_pca for is_pca, _ in found]))
            better += [luck for _, luck in found]
        at = int(np.argmin(kept))
        print(f"lr {lr:g}: PCA kept in {np.mean(kept):.1%} of {seeds * len(SHAPES)}, least "
              f"{kept[at]:.1%} (rows, columns, latents {SHAPES[at]}); the best epoch was below "
              f"PCA on validation rows in {np.mean(better):.1%}; "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
        least = min(least, float(np.mean(kept)))
    if least < LEAST:
        raise SystemExit(1)


def keeps_pca(shape: tuple[int, int, int], lr: float, seed: int) -> tuple[bool, bool]:
    """Whether PCA was kept, and whether an epoch was better on the validation rows as such."""
    rows, columns, latent_dim = shape
    x = np.random.default_rng(seed).standard_normal((rows, columns))
    fit = {"epochs": 15, "lr": lr, "batch": max(64, rows // 4)}
    recipe = make_recipe(
        {
            "latent_dim": latent_dim,
            "seed": seed,
            "arch": {"width": 8, "depth": 1, "dropout": 0.0},
            "fit": fit,
            "score": {"name": "none"},
        }
    )
    lowest: list[float] = []
    run = train(x, recipe, show=lambda epoch, pca: lowest.append(epoch.validation_mse / pca))
    return run.schema.quality.is_pca, min(lowest) < 1 - 1e-6


if __name__ == "__main__":
    main()
