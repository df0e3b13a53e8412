"""The sets that are archived: rows, what is asked of them, and how a model of them is trained."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Words = tuple[str, ...] | None


class Set(NamedTuple):
    """load: rows (N, ...), None where DATA has none. height: lines of an image, which a row is.

    train: arguments of ae-train for a kind of bound and a share; None for no model. window: whether
    rows are time steps. one_range: a range for all columns alike. max_error, rmse: kinds of bound.
    """

    text: str
    load: Callable[[Path], Array | None]
    train: Callable[[str, float], Words] = lambda kind, share: None
    height: int | None = None
    window: bool = False
    one_range: bool | None = None
    max_error: bool = True
    rmse: bool = False


def _csv(path: Path, delimiter: str, columns: slice) -> Array:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = list(csv.reader(file, delimiter=delimiter))[1:]
    return np.array([row[columns] for row in rows], np.float32)


def ett(data: Path) -> Array | None:
    files = sorted((data / "series" / "ett").glob("ETTh1.csv*"))
    return _csv(files[0], ",", slice(1, None)) if files else None


def skab(data: Path) -> Array | None:
    folder = data / "series" / "skab"
    normal = sorted(folder.rglob("*anomaly-free*.csv*"))
    valve = sorted(p for p in folder.rglob("*.csv*") if "valve1" in str(p.relative_to(folder)))
    parts = [_csv(path, ";", slice(1, 9)) for path in [*normal, *valve]]
    return np.concatenate(parts) if parts else None


def _ecg(data: Path, name: str) -> Array | None:
    files = sorted((data / "series" / "ecg_mitbih_100").glob("*.npz"))
    if not files:
        return None
    with np.load(files[0]) as file:
        return file[name].astype(np.float32)


def ecg(data: Path) -> Array | None:
    return _ecg(data, "signal_mv")


def beats(data: Path) -> Array | None:
    found = _ecg(data, "beats")
    return None if found is None else found[:, :, None]


def digits(data: Path) -> Array | None:
    from sklearn.datasets import load_digits

    return load_digits().images.astype(np.uint8)


def field(name: str) -> Callable[[Path], Array | None]:
    def load(data: Path) -> Array | None:
        path = data / "fields" / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as file:
            x = file["x"]
        return x.reshape(-1, x.shape[-1]).astype(np.float32)

    return load


SERIES = ("--kind", "series")
# Noise in the latents, as rounding them makes.
NOISY = ("--bottleneck", "variational", "--set", "bottleneck.beta=4")
SETS = {
    "ETTh1": Set(
        "7 sensors of a transformer, hourly",
        ett,
        # The finer the quality, the more latents it takes: PCA's, where training finds no better.
        lambda kind, share: (
            (*SERIES, "--window", "96", "--stride", "2", "--latent", "48", *NOISY)
            if kind == "rmse" and share > 0.02
            else (*SERIES, "--window", "24", "--latent", "96", "--epochs", "0")
        ),
        window=True,
        rmse=True,
    ),
    "SKAB": Set(
        "8 sensors of a water circuit, each second",
        skab,
        lambda kind, share: (*SERIES, "--window", "32", "--stride", "2", "--latent", "32"),
        window=True,
    ),
    "ECG": Set(
        "2 leads, 360 Hz",
        ecg,
        lambda kind, share: (
            (*SERIES, "--window", "192", "--latent", "6", "--epochs", "30", *NOISY)
        ),
        window=True,
        rmse=True,
    ),
    "beats": Set(
        "the beats of that ECG, 256 steps of one lead each",
        beats,
        lambda kind, share: (*SERIES, "--latent", "8"),
        one_range=True,
        rmse=True,
    ),
    "digits": Set(
        "8x8 images of whole numbers to 16",
        digits,
        lambda kind, share: ("--latent", "16"),
        height=8,
        one_range=True,
    ),
} | {
    f"field {name.partition('_')[0]}": Set(name, field(name), one_range=True)
    for name in (
        "a1b_north_america_t",
        "colpex_theta",
        "hybrid_height_theta",
        "jacksboro_dem",
        "ostia_monthly_sst",
    )
}
