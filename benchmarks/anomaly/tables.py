"""AUROC of our scores on labelled tables, beside PCA's and PyOD's, in one run.

python benchmarks/anomaly/tables.py [FOLDER] [--seeds N] [--only NAME,NAME]

A model is trained with default settings on a random half of the normal rows and scores all others,
through its exported bundle. Nothing is chosen by set.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peers.py"
FOLDERS = "anomaly/adbench_classical", "anomaly/odds_pyod"
SCORES = "nearest", "error", "whitened", "latent", "combined"
BASES = "mean distance", "PCA residual", "whitened PCA"
PYOD = "PyOD AutoEncoder", "PyOD KNN", "PyOD IForest"
RIDGE = 1e-3  # of the mean variance, for the whitened PCA of columns that are nearly dependent
Array = np.ndarray[Any, Any]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--seeds", default=5, show_default=True, help="Random halves of each table.")
@click.option("--only", help="Names of tables, separated by commas.")
def main(folder: Path, seeds: int, only: str | None) -> None:
    """Print the mean AUROC of each table and detector, in percent."""
    found = sorted(path for name in FOLDERS for path in (folder / name).glob("*.npz"))
    found = [path for path in found if only is None or path.stem in only.split(",")]
    if not found:
        raise click.ClickException(f"no tables in {folder}; see {folder / 'README.md'}")
    # One thread each: small tables do not gain from more.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    jobs = [(path, seed) for path in sorted(found, key=size) for seed in range(seeds)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(aurocs, *zip(*reversed(jobs), strict=True)))[::-1]
    default = results[0].pop("default")
    for result in results[1:]:
        assert result.pop("default") == default
    names = (*SCORES, *BASES, *PYOD)
    print(f"AUROC in percent, mean of {seeds} random halves; the default score is {default}")
    print(f"{'':<18}" + "".join(f"{name.removeprefix('PyOD '):>14}" for name in names))
    table = np.array([[100 * result[name] for name in names] for result in results])
    by_set = table.reshape(len(jobs) // seeds, seeds, len(names)).mean(1)
    for (path, _), line in zip(jobs[::seeds], by_set, strict=True):
        print(f"{path.stem:<18}" + "".join(f"{value:>14.1f}" for value in line))
    means = dict(zip(names, by_set.mean(0), strict=True))
    print(f"{'mean':<18}" + "".join(f"{value:>14.2f}" for value in means.values()))
    spread = table.reshape(-1, seeds, len(names)).mean(0).std(0)
    print(f"{'deviation by seed':<18}" + "".join(f"{value:>14.2f}" for value in spread))
    judge("above whitened PCA", means[default] - means["whitened PCA"], 3.0)
    judge("above PyOD KNN", means[default] - means["PyOD KNN"], 0.0)


def judge(what: str, points: float, least: float) -> None:
    """Say whether a difference is as large as it should be."""
    print(f"  {'met' if points >= least else 'MISSED':<7} {what}: {points:+.2f} points "
          f"(at least {least:g})")  # fmt: skip


def size(path: Path) -> int:
    return path.stat().st_size


def aurocs(path: Path, seed: int) -> dict[str, Any]:
    """AUROC by detector for one random half of the normal rows of a table."""
    import torch
    from sklearn.metrics import roc_auc_score

    torch.set_num_threads(1)
    with np.load(path) as file:
        x, strange = file["X"].astype(np.float64), file["y"].ravel() == 1
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~strange))
    train = normal[: len(normal) // 2]
    test = np.setdiff1d(np.arange(len(x)), train)
    with tempfile.TemporaryDirectory() as temporary:
        found, default, latent_dim = ours(x[train], x[test], seed, Path(temporary))
        scaled = [(x[rows] - x[train].mean(0)) / deviation(x[train]) for rows in (train, test)]
        found |= bases(*scaled, latent_dim) | peers(*scaled, seed, Path(temporary))
    result: dict[str, Any] = {
        name: float(roc_auc_score(strange[test], scores)) for name, scores in found.items()
    }
    return result | {"default": default}


def deviation(x: Array) -> Array:
    found = np.where(
        np.ptp(x, axis=0) > 0, x.std(0), 0.0
    )  # equal numbers have a spread of rounding
    return np.where(found > 0, found, 1.0)


def ours(
    train_x: Array, test_x: Array, seed: int, folder: Path
) -> tuple[dict[str, Array], str, int]:
    """(scores by name, the default one's name, latents) of a bundle of default settings."""
    import ae_runtime
    from ae_export import export
    from ae_train import Recipe, train

    export(train(train_x, Recipe(seed=seed)), folder / "bundle")
    with ae_runtime.load(folder / "bundle", threads=1) as ae:
        found = {name: ae.score(test_x, name) for name in SCORES}
        assert ae.manifest.threshold is not None
        return found, ae.manifest.threshold.score, ae.latent_dim


def bases(train_s: Array, test_s: Array, latent_dim: int) -> dict[str, Array]:
    """Scores that need no network, of scaled rows."""
    variance, axes = np.linalg.eigh(np.cov(train_s.T, bias=True))
    along = test_s @ axes
    rest = along[:, : max(len(axes) - latent_dim, 1)]  # of the least variance
    whitened = along / np.sqrt(np.maximum(variance, 0) + RIDGE * variance.mean())
    parts = test_s, rest, whitened
    return {name: (part**2).sum(1) for name, part in zip(BASES, parts, strict=True)}


def peers(train_s: Array, test_s: Array, seed: int, folder: Path) -> dict[str, Array]:
    """Scores of PyOD's detectors, which take scaled rows."""
    rows, out = folder / "rows.npz", folder / "out.npz"
    np.savez(rows, train=train_s, test=test_s)
    subprocess.run([PEERS, SCRIPT, rows, str(seed), out], check=True, stdout=subprocess.DEVNULL)
    with np.load(out) as file:
        return dict(file)


if __name__ == "__main__":
    main()
