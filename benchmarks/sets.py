"""The data sets of the quality benchmark, with their splits; none of them is part of the project.

FOLDER/README.md says where each file comes from. Tables and images are split 80/10/10 at random
(numpy.random.default_rng(0)), series 70/10/20 in time, MNIST by its official order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset, Split, make_dataset
from ae_train.data.loading import load
from ae_train.recipe import make_recipe

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Set:
    """One data set: how it is loaded from the folder, and the latent size to use."""

    name: str
    latent_dim: int
    path: str
    load: Callable[[Path], Dataset]
    settings: tuple[str, ...] = ()


def random_split(rows: int) -> Split:
    """80/10/10 at random."""
    order = np.random.default_rng(0).permutation(rows)
    train, validation = round(0.8 * rows), round(0.9 * rows)
    return Split(order[:train], order[train:validation], order[validation:])


def time_split(windows: Windows, series: Array, window: int) -> Split:
    """70/10/20 of the time steps, each window inside one part."""
    ends = [0, round(0.7 * len(series)), round(0.8 * len(series)), len(series)]
    starts = windows.starts
    parts = [
        np.flatnonzero((starts >= low) & (starts + window <= high))
        for low, high in itertools.pairwise(ends)
    ]
    return Split(*parts)


def npz_table(key: str = "x") -> Callable[[Path], Dataset]:
    return lambda path: _split(make_dataset(np.load(path)[key], "table"))


def csv_table(*drop: str) -> Callable[[Path], Dataset]:
    fields = {"data": {"drop": list(drop)}} if drop else {}
    return lambda path: _split(load([str(path)], make_recipe(fields)))


def npz_series(window: int, key: str) -> Callable[[Path], Dataset]:
    return lambda path: _windows(np.load(path)[key], window)


def csv_series(window: int, separator: str) -> Callable[[Path], Dataset]:
    def read(path: Path) -> Dataset:
        columns = path.read_text().partition("\n")[0].count(separator) + 1
        used = range(1, columns)  # the first is the time
        return _windows(np.loadtxt(path, delimiter=separator, skiprows=1, usecols=used), window)

    return read


def beats(path: Path) -> Dataset:
    """Heart beats in the order of time, (N, 256, 1)."""
    x = np.load(path)["beats"][:, :, None]
    ends = round(0.7 * len(x)), round(0.8 * len(x))
    return make_dataset(x, "series", split=Split(*np.split(np.arange(len(x)), ends)))


def mnist(path: Path) -> Dataset:
    """The last 10,000 training digits for test, 5,000 at random for validation."""
    x = np.load(path)["x"]
    order = np.random.default_rng(0).permutation(50_000)
    return make_dataset(
        x, "image", split=Split(order[5000:], order[:5000], np.arange(50_000, 60_000))
    )


def images(*names: str) -> Callable[[Path], Dataset]:
    def read(path: Path) -> Dataset:
        files = [path.parent / name for name in names] or [path]
        return _split(make_dataset(np.concatenate([np.load(file)["x"] for file in files])))

    return read


def _windows(series: Array, window: int) -> Dataset:
    windows = Windows.cut([series], window, 1)
    data = make_dataset(windows, "series", split=time_split(windows, series, window))
    return replace(data, stride=1)


def _split(data: Dataset) -> Dataset:
    return replace(data, split=random_split(len(data)))


_FASHION = ("fashion_sprite900.npz", "fashion_train_preview100.npz")
# Numbers, images and series: their test ratios make the geometric mean.
NUMERIC = [
    Set("mnist_k16", 16, "images/mnist/mnist_train_60000.npz", mnist),
    Set("mnist_k32", 32, "images/mnist/mnist_train_60000.npz", mnist),
    Set("fashion", 16, f"images/fashion_mnist/{_FASHION[0]}", images(*_FASHION)),
    Set("digits", 8, "images/sklearn_digits/digits8x8.npz", images()),
    Set("ett", 16, "series/ett/ETTh1.csv", csv_series(96, ",")),
    Set("skab", 16, "series/skab/anomaly-free/anomaly-free.csv", csv_series(64, ";")),
    # Scaled by its source, to units that are kept: some channels hardly vary.
    Set("smd", 16, "series/smd/machine-1-6.npz", npz_series(32, "train"), ("data.scaling=none",)),
    Set("ecg", 8, "series/ecg_mitbih_100/ecg100_first_15min.npz", beats),
    Set("cells", 8, "tables/cells/cells_dev.csv.gz", csv_table("case", "class")),
    Set("isolet", 32, "tables/isolet/isolet_dev.npz", npz_table()),
    Set("tissue_gene", 8, "tables/tissue_gene/tissue_gene.npz", npz_table()),
    Set("pd_speech", 8, "tables/pd_speech/pd_speech.npz", npz_table()),
    Set("permeability", 8, "tables/permeability/permeability.npz", npz_table()),
    Set("coffee", 4, "spectra/coffee/coffee.npz", npz_table()),
    Set("fermentation", 4, "spectra/fermentation/fermentation_first70_every2.npz", npz_table()),
]
MIXED = [
    Set("adult", 8, "tables/adult/adult_dev.csv.gz", csv_table()),
    Set("diamonds", 4, "tables/diamonds/diamonds_dev.csv.gz", csv_table()),
    Set("flights", 8, "tables/nycflights13/flights_jan_jun_30k.csv.gz", csv_table()),
    Set("credit", 6, "tables/credit_data/credit_data_dev.csv.gz", csv_table()),
]
