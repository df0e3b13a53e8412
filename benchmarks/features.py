"""What latents are worth to a classifier: accuracy beside the rows themselves and PCA's latents.

python benchmarks/features.py [FOLDER] [--only NAME,NAME]

A model learns the training rows without their classes, with default settings, and its bundle
encodes all rows. PCA has as many components, of the training rows in deviations of their columns
(of images, in units of a pixel). Two classifiers see each: logistic regression on standardised
numbers, and the vote of the five nearest training rows.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ae_runtime
from ae_export import export
from ae_train.recipe import make_recipe
from ae_train.training import train

UCR = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "Trace")
Array = np.ndarray[Any, Any]


class Rows(NamedTuple):
    """One set: rows to learn from and to test on, and their classes."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


def mnist(path: Path) -> Rows:
    with np.load(path) as file:
        x, y = file["x"], file["y"]
    return Rows(x[:50_000], y[:50_000], x[50_000:], y[50_000:])


def isolet(path: Path) -> Rows:
    with np.load(path) as file:
        x, y = file["x"], file["y"]
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    return Rows(x, y, test_x, test_y)


def ucr(path: Path) -> Rows:
    """Series (n, T, C), split as their source has it."""
    with np.load(path) as file:
        return Rows(
            file["x_train"].swapaxes(1, 2),
            file["y_train"],
            file["x_test"].swapaxes(1, 2),
            file["y_test"],
        )


SETS: dict[str, tuple[str, Callable[[Path], Rows], dict[str, Any]]] = {
    "MNIST": ("images/mnist/mnist_train_60000.npz", mnist, {"latent_dim": 16}),
    "isolet": ("tables/isolet/isolet_dev.npz", isolet, {"latent_dim": 32}),
    **{name: (f"series/ucr_uea/{name}.npz", ucr, {"data": {"kind": "series"}}) for name in UCR},
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Names of sets, separated by commas.")
def main(folder: Path, only: str | None) -> None:
    """Print the accuracy of both classifiers on rows, PCA and latents, in percent."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # of thousands of columns of few rows
    print(f"{'':<30}{'logistic regression':^24}{'5 nearest neighbours':^24}")
    print(f"{'set':<17}{'rows':>6}{'K':>6}" + f"{'rows':>9}{'PCA':>8}{'latents':>8}" * 2)
    missing = []
    for name, (file, read, fields) in SETS.items():
        if only is not None and name not in only.split(","):
            continue
        if not (folder / file).exists():
            missing.append(name)
            continue
        start = time.perf_counter()
        rows = read(folder / file)
        spaces = list(encoded(rows, fields))
        figures = [
            100 * accuracy(classifier, *pair, rows)
            for classifier in (
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
                KNeighborsClassifier(5),
            )
            for pair in spaces
        ]
        cells = "".join(
            f"{value:>{9 if at % 3 == 0 else 8}.1f}" for at, value in enumerate(figures)
        )
        latent_dim = spaces[-1][0].shape[1]
        print(f"{name:<17}{len(rows.x):>6}{latent_dim:>6}{cells}"
              f"   ({time.perf_counter() - start:.0f} s)", flush=True)  # fmt: skip
    if missing:
        print(f"not found in {folder}: {', '.join(missing)}")


def encoded(rows: Rows, fields: dict[str, Any]) -> Iterator[tuple[Array, Array]]:
    """(training rows, test rows) as they are, as PCA has them, and as latents."""
    flat = [part.reshape(len(part), -1).astype(np.float64) for part in (rows.x, rows.test_x)]
    yield flat[0], flat[1]
    fields = {**fields, "data": {**fields.get("data", {}), "test": 0.0}}
    with tempfile.TemporaryDirectory() as folder:
        export(train(rows.x, make_recipe(fields)), Path(folder) / "bundle")
        with ae_runtime.load(Path(folder) / "bundle") as ae:
            z, test_z = ae.encode(rows.x), ae.encode(rows.test_x)
    pca = PCA(z.shape[1], svd_solver="full")
    model = pca if rows.x.dtype == np.uint8 else make_pipeline(StandardScaler(), pca)
    yield model.fit_transform(flat[0]), model.transform(flat[1])
    yield z, test_z


def accuracy(classifier: Any, known: Array, tested: Array, rows: Rows) -> float:
    return float(classifier.fit(known, rows.y).score(tested, rows.test_y))


if __name__ == "__main__":
    main()
