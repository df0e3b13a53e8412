"""Make tests/golden/v1: run once for each bundle, when it was new. Its files are never made again.

They stand for the bundles that people already have: a change that cannot load them, or that gives
other numbers, breaks those bundles too. A later format gets a folder of its own beside v1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ae_export import export
from ae_export.precision import Precision
from ae_runtime.bundle.manifest import Column
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.recipe import make_recipe
from ae_train.training import train

SMALL = {"width": 16, "depth": 1}


def table() -> np.ndarray:
    """500 rows of 6 columns: far from zero, tiny, with gaps, constant, empty, and whole numbers."""
    random = np.random.default_rng(0)
    u, v = random.standard_normal((2, 500))
    x = np.stack([1e6 + u, (u * u + 0.1 * v) * 1e-6, u + v, u * 0 + 5.5, u * np.nan, v * 10], 1)
    x[:, 5] = np.rint(x[:, 5])
    x[::7, 2] = np.nan
    return x


def table_data() -> Dataset:
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    columns = [Column(name, integer=name == "count") for name in names]
    return make_dataset(table(), "table", columns)


def image_data() -> Dataset:
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (200, 1, 1, 3)) * random.random((200, 4, 5, 1))
    return make_dataset(colours.astype(np.uint8))


def mixed_data() -> Dataset:
    """400 rows of a number far from zero with gaps, a whole number, three words and two."""
    random = np.random.default_rng(2)
    u, v = random.standard_normal((2, 400))
    x = np.stack([1e6 + u, np.rint(20 * u * v)], 1)
    x[::9, 0] = np.nan
    codes = np.stack([(u > 0).astype(int) + (v > 0), u * v > 0], 1).astype(np.int32)
    codes[::11, 0] = -1
    columns = [
        Column("far"),
        Column("count", integer=True),
        Column("job", type="category", levels=["admin", "tech", "other"]),
        Column("open", type="boolean", levels=["no", "yes"]),
    ]
    return make_dataset(x, "table", columns, codes=codes)


def series_data() -> Dataset:
    """(400, 12, 2) float32: windows of two waves."""
    random = np.random.default_rng(3)
    angle = random.uniform(0, 6, (400, 1)) + random.uniform(0.3, 1, (400, 1)) * np.arange(12)
    waves = np.stack([np.sin(angle), 5 * np.cos(angle)], 2)
    return make_dataset(waves.astype(np.float32), "series")


WIDE = {"name": "dense", "width": 64, "depth": 1}  # wide enough for int8
GRU = {"name": "gru", "width": 8, "depth": 1}
# Name -> rows, network, latents, precision.
BUNDLES: dict[str, tuple[Callable[[], Dataset], dict[str, object], int, Precision]] = {
    "table": (table_data, SMALL, 2, "fp32"),
    "float32": (lambda: make_dataset(table()[:, :3].astype(np.float32)), SMALL, 2, "fp32"),
    "image": (image_data, SMALL, 2, "fp32"),
    "mixed": (mixed_data, SMALL, 3, "fp32"),
    "gru": (series_data, GRU, 3, "fp32"),
    "int8": (series_data, WIDE, 3, "int8"),
    "scored": (table_data, SMALL, 2, "fp32"),
    "scored_mixed": (mixed_data, SMALL, 3, "fp32"),
    "scored_series": (series_data, SMALL, 3, "fp32"),
    "scored_image": (image_data, SMALL, 2, "fp32"),
}
SCORES = {"scored_series": "whitened"}


def main(out: Path) -> None:
    """Make the bundles that are not there yet."""
    for name, (rows, arch, latent_dim, precision) in BUNDLES.items():
        if not (out / name).exists():
            score = {"name": SCORES.get(name, "nearest"), "centres": 16}
            recipe = make_recipe({"latent_dim": latent_dim, "arch": arch, "score": score})
            run = train(rows(), recipe)
            export(run, out / name, precision=precision)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
