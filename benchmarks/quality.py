"""Test error of our models at their default settings, beside PCA of the same size and the mean.

python benchmarks/quality.py [FOLDER] [--only NAME,NAME] [--set KEY=VALUE]...
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
from sets import MIXED, NUMERIC, Set

from ae_train import Run, train
from ae_train.recipe import make_recipe, set_value


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Names of sets, separated by commas.")
@click.option("--set", "settings", multiple=True, help="Settings other than the defaults.")
def main(folder: Path, only: str | None, settings: tuple[str, ...]) -> None:
    """Train on every set that FOLDER holds, and print validation and test MSE."""
    chosen = only.split(",") if only else None
    print(f"{'set':<13}{'K':>3}  {'validation':>10}{'PCA':>10}{'mean':>10}  {'test':>9}{'PCA':>10}"
          f"{'mean':>10}{'ratio':>7}{'epochs':>8}{'s':>6}")  # fmt: skip
    ratios: dict[str, float] = {}
    for each in [s for s in NUMERIC if chosen is None or s.name in chosen]:
        run, seconds = trained(each, folder, settings)
        if run is not None:
            ratios[each.name] = show(each, run, seconds)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        worst = max(ratios, key=lambda name: ratios[name])
        print(f"geometric mean of {len(ratios)} test ratios {mean:.3f}, "
              f"worst {ratios[worst]:.3f} ({worst})")  # fmt: skip
    for each in [s for s in MIXED if chosen is None or s.name in chosen]:
        run, seconds = trained(each, folder, settings)
        if run is not None:
            show_mixed(each, run, seconds)


def trained(each: Set, folder: Path, settings: tuple[str, ...]) -> tuple[Run | None, float]:
    if not (folder / each.path).exists():
        print(f"{each.name:<13} not found: {folder / each.path}")
        return None, 0.0
    started = time.monotonic()
    fields = {"latent_dim": each.latent_dim}
    for assignment in (*each.settings, *settings):
        set_value(fields, assignment)
    run = train(each.load(folder / each.path), make_recipe(fields))
    return run, time.monotonic() - started


def show(each: Set, run: Run, seconds: float) -> float:
    """Print a line; returns the ratio of the test error to PCA's."""
    q = run.schema.quality
    assert q.test_mse is not None
    assert q.test_pca_mse
    ratio = q.test_mse / q.test_pca_mse
    flag = " PCA" if q.is_pca else ""
    epochs = f"{run.schema.best_epoch}/{run.schema.epochs}"
    print(
        f"{each.name:<13}{each.latent_dim:>3}  {q.validation_mse:>10.5f}{q.pca_mse:>10.5f}"
        f"{q.mean_mse:>10.5f}  {q.test_mse:>9.5f}{q.test_pca_mse:>10.5f}{q.test_mean_mse:>10.5f}"
        f"{ratio:>7.3f}{epochs:>8}{seconds:>6.0f}{flag}",
        flush=True,
    )
    if each.path.startswith("images/mnist"):
        variance = (run.schema.x_std[0] / 255) ** 2  # one channel
        print(f"{'':<13}test MSE of pixels in [0, 1]: {q.test_mse * variance:.5f}, "
              f"PCA {q.test_pca_mse * variance:.5f}", flush=True)  # fmt: skip
    return ratio


def show_mixed(each: Set, run: Run, seconds: float) -> None:
    assert run.schema.mixed is not None
    for part, m in run.schema.mixed.items():
        print(
            f"{each.name:<13}{each.latent_dim:>3}  {part:<10} numbers MSE {m.numeric_mse:.5f}, "
            f"PCA {m.pca_numeric_mse:.5f}; words right {m.accuracy:.4f}, PCA {m.pca_accuracy:.4f}, "
            f"most frequent {m.frequent_accuracy:.4f}; {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
