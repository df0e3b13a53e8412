"""Make tests/golden/v1: run once, when format 1 was new. Its files are never made again.

They stand for the bundles that people already have: a change that cannot load them, or that gives
other numbers, breaks those bundles too. A later format gets a folder of its own beside v1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ae_export import export
from ae_runtime.manifest import Column
from ae_train.data import make_dataset
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


def main(out: Path) -> None:
    recipe = make_recipe({"latent_dim": 2, "arch": SMALL})
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    columns = [Column(name, integer=name == "count") for name in names]
    export(train(make_dataset(table(), "table", columns), recipe), out / "table")
    float32 = table()[:, :3].astype(np.float32)
    export(train(float32, recipe), out / "float32")
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (200, 1, 1, 3)) * random.random((200, 4, 5, 1))
    export(train(colours.astype(np.uint8), recipe), out / "image")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
