"""What the four choices do on MNIST: codes of several sizes, one ordered code, and codes in bits.

python benchmarks/mnist.py [FOLDER] [--only NAME,NAME] [--set KEY=VALUE]...
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from sets import mnist

from ae_train import Run, train
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.recipe import make_recipe, set_value

Array = np.ndarray[Any, Any]
FILE = "images/mnist/mnist_train_60000.npz"
PLAIN = (4, 8, 16, 32)
LATENT = 32  # of the ordered code and of cross-entropy
SHORT = 16  # of the codes in nats and in bits
DRAWS = 10  # of the latents of a row, for the evidence lower bound
# Of Rezende and Mohamed 2015, as reproduced with a convolutional network by Chadebec et al. 2022,
# pythae: by 200 importance samples, which gives less than the bound itself.
PUBLISHED_NATS = 89.8


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Names of parts, separated by commas.")
@click.option("--set", "settings", multiple=True, help="Settings other than the defaults.")
def main(folder: Path, only: str | None, settings: tuple[str, ...]) -> None:
    """Train at the default settings but for what is measured, and print what came of it."""
    if not (folder / FILE).exists():
        raise click.ClickException(f"not found: {folder / FILE}")
    work = Work(folder / FILE, settings)
    parts: dict[str, Callable[[], None]] = {
        "plain": work.plain,
        "ordered": work.ordered,
        "bce": work.bce,
        "variational": work.variational,
        "quantized": work.quantized,
    }
    for name in only.split(",") if only else parts:
        parts[name]()


class Work:
    """The rows, the plain models that an ordered one is compared with, and each part."""

    def __init__(self, path: Path, settings: Sequence[str]) -> None:
        self.data = mnist(path)
        self.settings = settings
        self.pixels = self.data.raw[0]  # (60000, 28, 28) uint8
        with np.load(path) as file:
            self.labels = file["y"]
        self.plain_mse: dict[int, float] = {}

    def plain(self) -> None:
        """Squared error of pixels in [0, 1] beside PCA's, and what the code knows of classes."""
        for latent_dim in PLAIN:
            run, seconds = self._train(self.data, {"latent_dim": latent_dim})
            quality = run.schema.quality
            self.plain_mse[latent_dim] = quality.test_mse * self._variance(run)
            print(f"plain {latent_dim}: test MSE {self.plain_mse[latent_dim]:.5f}, "
                  f"PCA {quality.test_pca_mse * self._variance(run):.5f}; {seconds:.0f} s",
                  flush=True)  # fmt: skip
            if latent_dim == SHORT:
                print(f"plain {latent_dim}: 5-nearest-neighbour accuracy of the latents "
                      f"{self._knn(self._latents(run)):.4f}, "
                      f"of PCA's {self._knn(self._pca(latent_dim)):.4f}", flush=True)  # fmt: skip

    def ordered(self) -> None:
        """One code of 32 cut to shorter ones, beside plain codes of those sizes and PCA."""
        fields = {"latent_dim": LATENT, "bottleneck": {"name": "ordered"}}
        run, seconds = self._train(self.data, fields)
        print(f"ordered {LATENT}: {seconds:.0f} s")
        z = self._latents(run)[self.data.split.test]
        x = self._scaled(self.data.split.test)
        for keep in PLAIN:
            cut = z.copy()
            cut[:, keep:] = 0
            error = mse(x, self._decode(run, cut))
            beside = self.plain_mse.get(keep)
            ratio = f", plain {beside:.5f}, ratio {error / beside:.3f}" if beside else ""
            pca = mse(x, self._pca_back(keep, self.data.split.test))
            print(f"ordered {LATENT} cut to {keep}: test MSE {error:.5f}{ratio}, PCA {pca:.5f}",
                  flush=True)  # fmt: skip

    def bce(self) -> None:
        """Binary cross-entropy of grey pixels, whose least is their entropy, not 0."""
        fields = {
            "latent_dim": LATENT,
            "data": {"scaling": "range"},
            "fit": {"objective": "bce"},
        }
        run, seconds = self._train(self.data, fields)
        x = self._scaled(self.data.split.test)
        z = self._latents(run)[self.data.split.test]
        found = cross_entropy(x, self._logits(run, z))
        entropy = cross_entropy(x, np.log(np.clip(x, 1e-12, 1) / np.clip(1 - x, 1e-12, 1)))
        print(f"bce {LATENT}: test cross-entropy {found:.4f} (least possible {entropy:.4f}), "
              f"MSE {run.schema.quality.test_mse * self._variance(run):.5f}; {seconds:.0f} s",
              flush=True)  # fmt: skip

    def variational(self) -> None:
        """Nats of binarised digits: each pixel 1 with the probability of its grey value."""
        draws = np.random.default_rng(0).random(self.pixels.shape, dtype=np.float32)
        binary = (draws < self.pixels / np.float32(255)).astype(np.uint8)
        data = make_dataset(binary, "image", split=self.data.split)
        fields = {
            "latent_dim": SHORT,
            "data": {"scaling": "range"},
            "bottleneck": {"name": "variational"},
            "fit": {"objective": "bce"},
        }
        run, seconds = self._train(data, fields)
        nats, kl = evidence(run, binary[data.split.test])
        unused = run.schema.usage["unused"]
        print(f"variational {SHORT}, binarised: test -ELBO {nats:.2f} nats "
              f"(published for a convolutional VAE, importance sampled: {PUBLISHED_NATS}), "
              f"of them KL {kl:.2f}; "
              f"{len(unused)} of {SHORT} units unused; {seconds:.0f} s")  # fmt: skip
        print("  KL of each unit: " + " ".join(f"{unit:.2f}" for unit in run.schema.usage["kl"]),
              flush=True)  # fmt: skip

    def quantized(self) -> None:
        """How much of its grid a code of whole numbers uses."""
        fields = {"latent_dim": SHORT, "bottleneck": {"name": "quantized"}}
        run, seconds = self._train(self.data, fields)
        usage, quality = run.schema.usage, run.schema.quality
        limit = math.log2(usage["levels"])
        shares = [entropy / limit for entropy in usage["entropy"]]
        print(f"quantized {SHORT} x {usage['levels']} levels: {usage['bits']:.0f} bits a row; "
              f"entropy of a latent {min(shares):.3f} to {max(shares):.3f} of log2(levels); "
              f"perplexity of whole codes {usage['perplexity']:.0f} of "
              f"{len(self.data.split.train)} rows; test MSE "
              f"{quality.test_mse * self._variance(run):.5f}, PCA of {SHORT} float numbers "
              f"{quality.test_pca_mse * self._variance(run):.5f}; {seconds:.0f} s",
              flush=True)  # fmt: skip

    def _train(self, data: Dataset, fields: dict[str, Any]) -> tuple[Run, float]:
        for assignment in self.settings:
            set_value(fields, assignment)
        started = time.monotonic()
        run = train(data, make_recipe(fields))
        return run, time.monotonic() - started

    def _variance(self, run: Run) -> float:
        """What an error in scaled space is multiplied with to be one of pixels in [0, 1]."""
        return float(run.model.preprocess.scale[0] / 255) ** 2

    def _scaled(self, rows: Array) -> Array:
        return self.pixels[rows].reshape(len(rows), -1) / 255

    @torch.no_grad()
    def _latents(self, run: Run) -> Array:
        blocks = torch.from_numpy(self.pixels).split(2000)
        return torch.cat([run.model.encode(block) for block in blocks]).numpy()

    @torch.no_grad()
    def _decode(self, run: Run, z: Array) -> Array:
        blocks = torch.from_numpy(z).split(2000)
        x_hat = torch.cat([run.model.decode_unrounded(block) for block in blocks])
        return x_hat.flatten(1).numpy() / 255

    @torch.no_grad()
    def _logits(self, run: Run, z: Array) -> Array:
        blocks = torch.from_numpy(z).split(2000)
        return torch.cat([run.model.expand(block) for block in blocks]).flatten(1).double().numpy()

    def _axes(self) -> tuple[Array, Array]:
        if not hasattr(self, "_found"):
            x = self._scaled(self.data.split.train)
            mean = x.mean(0)
            _, axes = np.linalg.eigh(np.cov(x.T))
            self._found = mean, axes.T[::-1]
        return self._found

    def _pca(self, latent_dim: int) -> Array:
        mean, axes = self._axes()
        return (self.pixels.reshape(len(self.pixels), -1) / 255 - mean) @ axes[:latent_dim].T

    def _pca_back(self, latent_dim: int, rows: Array) -> Array:
        mean, axes = self._axes()
        return self._pca(latent_dim)[rows] @ axes[:latent_dim] + mean

    def _knn(self, z: Array) -> float:
        """Accuracy on test rows of the vote of the 5 nearest of the first 50,000."""
        from sklearn.neighbors import KNeighborsClassifier

        test = self.data.split.test
        known = np.setdiff1d(np.arange(len(z)), test)
        model = KNeighborsClassifier(5).fit(z[known], self.labels[known])
        return float(model.score(z[test], self.labels[test]))


def mse(x: Array, x_hat: Array) -> float:
    return float(((x_hat - x) ** 2).mean())


def cross_entropy(x: Array, logits: Array) -> float:
    """Mean over pixels of -x log p - (1 - x) log(1 - p), p the sigmoid of the logits."""
    return float((np.logaddexp(0, logits) - x * logits).mean())


@torch.no_grad()
def evidence(run: Run, x: Array) -> tuple[float, float]:
    """(-ELBO, its KL part) in nats a row: the decoder's error on drawn latents, and divergence."""
    torch.manual_seed(0)
    model = run.model
    nats = kl = 0.0
    for block in torch.from_numpy(x).split(2000):
        s = model.preprocess.scale_rows(block)
        h = model.code(s)
        divergence = model.bottleneck.penalty(h)
        kl += float(divergence.double().sum())
        for _ in range(DRAWS):
            y = model.expand(model.bottleneck(h))
            nats += float(model.objective.loss(y, s).double().sum()) / DRAWS
    return (nats + kl) / len(x), kl / len(x)


if __name__ == "__main__":
    main()
