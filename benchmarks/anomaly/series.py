"""VUS-PR and AUROC of our scores of time steps, beside PCA of sub-sequences, in one run.

python benchmarks/anomaly/series.py [FOLDER] [--only NAME,NAME]

Each series is learned from its first part, with default settings, and its time steps are scored by
the exported bundle. PCA sees the same windows, and scores them in three ways: by what components of
nine tenths of the variance leave; by all components, each over its deviation; and as PyOD and the
published tables of TSB-AD do it. All score a time step by the mean of its windows.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from measures import vus_pr
from sklearn.metrics import roc_auc_score

import ae_runtime
from ae_export import export
from ae_train.data.loading import load
from ae_train.recipe import make_recipe
from ae_train.training import train

NAB_KNOWN = 0.15  # of a stream, that detectors may learn from: NAB's probationary period
SKAB_KNOWN = 400  # rows of a run, as its own table of results has it
SCORES = "nearest", "error", "whitened", "latent", "combined"
PCAS = "PCA residual", "whitened PCA", "PyOD's PCA"
RIDGE = 1e-3  # of the mean variance
SEEN = 4000  # windows that PCA is fitted on at most
Array = np.ndarray[Any, Any]


class Series(NamedTuple):
    """One series: what is learned from (n, C), what is scored (m, C), and the labels (m,)."""

    name: str
    known: Array
    rest: Array
    labels: Array


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Starts of names of series, separated by commas.")
def main(folder: Path, only: str | None) -> None:
    """Print VUS-PR and AUROC of each series and score, in percent."""
    names = (*SCORES, *PCAS)
    print(f"VUS-PR / AUROC in percent\n{'':<24}" + "".join(f"{name:>14}" for name in names))
    found: dict[str, list[Array]] = {}
    for series in every_series(folder / "series"):
        if only is None or series.name.startswith(tuple(only.split(","))):
            figures, default = measured(series)
            found.setdefault(series.name.split()[0], []).append(figures)
            show(series.name, figures)
    if not found:
        raise click.ClickException(f"no series in {folder}; see {folder / 'README.md'}")
    for source, figures in found.items():
        show(f"{source}, mean of {len(figures)}", np.mean(figures, axis=0))
    every = np.concatenate([*found.values()])
    mean = every.mean(0)
    show(f"mean of {len(every)}", mean)
    ours = mean[SCORES.index(default)]
    for name, theirs in zip(PCAS, mean[len(SCORES) :], strict=True):
        word = "met" if (ours >= theirs).all() else "MISSED"
        print(f"  {word:<7} {default}, the default: {ours[0]:.1f} / {ours[1]:.1f} "
              f"(at least {theirs[0]:.1f} / {theirs[1]:.1f}, {name})")  # fmt: skip


def show(name: str, figures: Array) -> None:
    cells = "".join(f"{vus:>7.1f} /{auroc:>5.1f}" for vus, auroc in figures)
    print(f"{name:<24}{cells}", flush=True)


def every_series(folder: Path) -> Iterator[Series]:
    yield from nab(folder / "nab")
    for path in sorted((folder / "skab" / "valve1").glob("*.csv")):
        rows = np.loadtxt(path, delimiter=";", skiprows=1, usecols=range(1, 10))
        known, rest = rows[:SKAB_KNOWN], rows[SKAB_KNOWN:]
        yield Series(f"SKAB {path.stem}", known[:, :8], rest[:, :8], rest[:, 8])
    for name in ("asd", "smd"):
        for path in sorted((folder / name).glob("*.npz")):
            with np.load(path) as file:
                rows = file["train"], file["test"], file["test_label"]
            yield Series(f"{name.upper()} {path.stem}", *rows)


def nab(folder: Path) -> Iterator[Series]:
    marks = folder / "labels" / "combined_windows.json"
    windows = json.loads(marks.read_text()) if marks.exists() else {}
    for path in sorted(folder.glob("data/*/*.csv")):
        with path.open() as file:
            lines = list(csv.reader(file))[1:]
        times = np.array([line[0] for line in lines], "M8[s]")
        labels = np.zeros(len(times))
        for first, last in windows[f"{path.parent.name}/{path.name}"]:
            labels[(times >= np.datetime64(first)) & (times <= np.datetime64(last))] = 1
        values = np.array([[float(line[1])] for line in lines])
        known = int(NAB_KNOWN * len(values))
        yield Series(f"NAB {path.stem[:19]}", values[:known], values[known:], labels[known:])


def measured(series: Series) -> tuple[Array, str]:
    """((scores, 2) of VUS-PR and AUROC in percent, the default score's name)."""
    with tempfile.TemporaryDirectory() as temporary:
        found, default, window = ours(series, Path(temporary))
    found |= pca(series, window)
    labels = series.labels > 0
    figures = [
        (100 * vus_pr(labels, scores), 100 * float(roc_auc_score(labels, scores)))
        for scores in (found[name] for name in (*SCORES, *PCAS))
    ]
    return np.array(figures), default


def ours(series: Series, folder: Path) -> tuple[dict[str, Array], str, int]:
    """(scores of the time steps by name, the default one's name, T) of default settings."""
    np.save(folder / "known.npy", series.known)
    np.save(folder / "rest.npy", series.rest)
    # Nothing is held back to report errors on: series are short beside their windows.
    recipe = make_recipe({"data": {"kind": "series", "test": 0.0}})
    export(train(load([str(folder / "known.npy")], recipe), recipe), folder / "bundle")
    found = {}
    with ae_runtime.load(folder / "bundle") as ae:
        for name in SCORES:
            ae.score_file(folder / "rest.npy", folder / f"{name}.npy", name=name)
            found[name] = np.load(folder / f"{name}.npy")[:, 0]
        assert ae.manifest.threshold is not None
        return found, ae.manifest.threshold.score, ae.input_shape[0]


def pca(series: Series, window: int) -> dict[str, Array]:
    """Scores of the time steps by PCA of all windows, in deviations of the channels."""
    mean, deviation = series.known.mean(0), series.known.std(0)
    scale = np.where(deviation > 0, deviation, np.inf)
    known, rest = (cut((rows - mean) / scale, window) for rows in (series.known, series.rest))
    known = known[:: -(-len(known) // SEEN)]
    centre = known.mean(0)
    _, singular, axes = np.linalg.svd(known - centre, full_matrices=False)
    variance = singular**2 / len(known)
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.9)) + 1
    ridge = RIDGE * variance.mean()
    # As PyOD and TSB-AD: columns of unit variance, distances to the axes, each over its variance.
    unit = np.where(known.std(0) > 0, known.std(0), np.inf)
    _, values, lines = np.linalg.svd((known - centre) / unit, full_matrices=False)
    share = values**2 / (values**2).sum()
    lines, share = lines[share > 1e-9], share[share > 1e-9]
    found: dict[str, list[Array]] = {name: [] for name in PCAS}
    for start in range(0, len(rest), 1024):
        s = rest[start : start + 1024] - centre
        along = s @ axes.T
        left = (s**2).sum(1) - (along[:, :kept] ** 2).sum(1)
        found[PCAS[0]].append(np.sqrt(np.maximum(left, 0)))
        found[PCAS[1]].append(np.sqrt((along**2 / (variance + ridge)).sum(1)))
        far = ((s / unit) ** 2).sum(1)[:, None] + 1 - 2 * (s / unit) @ lines.T
        found[PCAS[2]].append((np.sqrt(np.maximum(far, 0)) / share).sum(1))
    steps = len(series.rest)
    return {name: spread(np.concatenate(parts), window, steps) for name, parts in found.items()}


def cut(steps: Array, window: int) -> Array:
    """All windows of time steps (n, C) as rows, (n - window + 1, window * C)."""
    view = np.lib.stride_tricks.sliding_window_view(steps, window, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1), np.float64).reshape(len(view), -1)


def spread(scores: Array, window: int, steps: int) -> Array:
    """The mean of the windows that cover each time step."""
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    low = np.maximum(np.arange(steps) - window + 1, 0)
    high = np.minimum(np.arange(steps) + 1, len(scores))
    return (sums[high] - sums[low]) / (high - low)


if __name__ == "__main__":
    main()
