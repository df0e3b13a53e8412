"""How far new digits are from real ones, each bottleneck beside PCA with a Gaussian mixture.

python benchmarks/samples/images.py [FOLDER] [--epochs N] [--only NAME,NAME]

The Frechet distance of Heusel et al. 2017 (GANs Trained by a Two Time-Scale Update Rule), in the
feature space of a small classifier of digits that is trained here: 10,000 samples against the
10,000 test digits. Models learn the first 50,000 digits with default settings and 16 latents.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from baseline import pca_mixture
from torch import Tensor, nn

import ae_runtime
from ae_export import export
from ae_train.data.dataset import Split, make_dataset
from ae_train.recipe import make_recipe
from ae_train.training import train

FILE = "images/mnist/mnist_train_60000.npz"
BOTTLENECKS = ("plain", "ordered", "sparse", "variational", "quantized")
LATENT_DIM, SAMPLES, FEATURES = 16, 10_000, 64
Array = np.ndarray[Any, Any]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--epochs", type=int, help="Of each model.  [default: as many as training chooses]")
@click.option("--only", help="Names of bottlenecks, separated by commas.")
def main(folder: Path, epochs: int | None, only: str | None) -> None:
    """Print the Frechet distance of samples to the test digits."""
    if not (folder / FILE).exists():
        raise click.ClickException(f"no {FILE} in {folder}; see {folder / 'README.md'}")
    with np.load(folder / FILE) as file:
        x, y = file["x"], file["y"].astype(np.int64)
    features, accuracy = classifier(x[:50_000], y[:50_000], x[50_000:], y[50_000:])
    real = features(x[50_000:])
    print(f"a classifier with {100 * accuracy:.1f} % of the test digits right, {FEATURES} features")
    print("Frechet distance to the test digits, 10,000 samples each")
    print(f"  training digits        {distance(features(x[:SAMPLES]), real):8.2f}")
    order = np.random.default_rng(0).permutation(50_000)
    split = Split(order[5000:], order[:5000], np.empty(0, np.int64))
    flat = x.reshape(len(x), -1) / 255
    pca = pca_mixture(flat[split.train], flat[split.validation], LATENT_DIM, SAMPLES)
    drawn = np.clip(np.rint(255 * pca), 0, 255).astype(np.uint8).reshape(-1, 28, 28)
    base = distance(features(drawn), real)
    print(f"  PCA, Gaussian mixture  {base:8.2f}")
    for name in BOTTLENECKS if only is None else only.split(","):
        start = time.perf_counter()
        found = distance(features(samples(x, split, name, epochs)), real)
        print(f"  {name:<22} {found:8.2f}   {'met' if found < base else 'MISSED'}, less than PCA's"
              f" ({time.perf_counter() - start:.0f} s)", flush=True)  # fmt: skip


def samples(x: Array, split: Split, bottleneck: str, epochs: int | None) -> Array:
    """New digits of a bundle."""
    fields: dict[str, Any] = {
        "latent_dim": LATENT_DIM,
        "bottleneck": {"name": bottleneck},
        "score": {"name": "none"},
    }
    if epochs is not None:
        fields["fit"] = {"epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        run = train(make_dataset(x, "image", split=split), make_recipe(fields))
        export(run, Path(folder) / "bundle")
        with ae_runtime.load(Path(folder) / "bundle") as ae:
            return np.asarray(ae.sample(SAMPLES, seed=0))


def classifier(x: Array, y: Array, test_x: Array, test_y: Array) -> tuple[Any, float]:
    """(features of digits (N, 28, 28) -> (N, 64) float64, accuracy on the test digits)."""
    torch.manual_seed(0)
    body = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 49, FEATURES), nn.ReLU()),
    )
    net = nn.Sequential(body, nn.Linear(FEATURES, 10))
    steps = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(net(_pixels(x[rows])), torch.from_numpy(y[rows]))
            steps.zero_grad()
            loss.backward()
            steps.step()

    @torch.no_grad()
    def run(module: nn.Module, images: Array) -> Array:
        parts = np.array_split(images, max(1, len(images) // 1000))
        return torch.cat([module(_pixels(part)) for part in parts]).double().numpy()

    right = run(net, test_x).argmax(1) == test_y
    return lambda images: run(body, images), float(right.mean())


def _pixels(images: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images))[:, None].float() / 255


def distance(a: Array, b: Array) -> float:
    """Squared Frechet distance of the normal distributions with the moments of two sets of rows."""
    own, other = np.cov(a.T), np.cov(b.T)
    variance, axes = np.linalg.eigh(own)
    root = axes * np.sqrt(np.maximum(variance, 0)) @ axes.T
    # The trace of the root of own @ other, by a matrix that is symmetric: units may be dead.
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(apart + np.trace(own) + np.trace(other) - 2 * shared)


if __name__ == "__main__":
    main()
