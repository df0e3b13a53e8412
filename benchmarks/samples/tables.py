"""How new rows of tables differ from real ones, beside PCA with a Gaussian mixture.

python benchmarks/samples/tables.py [FOLDER] [--only NAME,NAME]

Models learn with default settings; as many rows as are held out are drawn. PCA sees numbers in
deviations and words as 0 and 1; its rows are rounded, cut to the columns' ranges, and have the most
likely words, as ours do. Printed, with 0 and, for the classifier, 0.5 as the best:
columns: mean over columns of the Kolmogorov-Smirnov distance of numbers, and of the total variation
distance of words. correlations: mean absolute difference of all pairs, words as 0 and 1.
classifier: cross-validated AUROC of boosted trees that tell real rows from samples.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.stats
from baseline import pca_mixture
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

import ae_runtime
from ae_export import export
from ae_runtime.bundle.manifest import Column
from ae_train.recipe import make_recipe
from ae_train.training import train

sys.path.insert(0, str(Path(__file__).parents[1]))
from sets import MIXED, NUMERIC, Set

Array = np.ndarray[Any, Any]
Parts = tuple[Array, Array]  # (N, P) numbers, (N, Q) codes
SETS = [*MIXED, *(each for each in NUMERIC if each.name == "cells")]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Names of tables, separated by commas.")
def main(folder: Path, only: str | None) -> None:
    """Print how far samples of each table are from its held-out rows."""
    print(
        f"{'':<10}{'K':>3}{'rows':>7}{'columns':^20}{'correlations':^20}{'classifier':^20}{'not':>7}"
    )
    print(f"{'table':<20}" + f"{'ours':>10}{'PCA':>10}" * 3 + f"{'valid':>7}")
    missing = []
    for each in SETS:
        if only is not None and each.name not in only.split(","):
            continue
        if not (folder / each.path).exists():
            missing.append(each.name)
            continue
        report(each, folder / each.path)
    if missing:
        print(f"not found in {folder}: {', '.join(missing)}")


def report(each: Set, path: Path) -> None:
    start = time.perf_counter()
    data = each.load(path)
    assert data.split is not None
    fields = {"latent_dim": each.latent_dim, "score": {"name": "none"}}
    with tempfile.TemporaryDirectory() as folder:
        export(train(data, make_recipe(fields)), Path(folder) / "bundle")
        with ae_runtime.load(Path(folder) / "bundle") as ae:
            columns = list(ae.manifest.columns or ())
            drawn = as_parts(ae.sample(len(data.split.test), seed=0), columns)
    real, known, held = (
        both(data.take(rows)) for rows in (data.split.test, data.split.train, data.split.validation)
    )
    base = by_pca(known, held, columns, each.latent_dim, len(real[0]))
    pairs = list(zip(*(figures(part, real, columns) for part in (drawn, base)), strict=True))
    cells = "".join(f"{ours:>10.3f}{theirs:>10.3f}" for ours, theirs in pairs)
    seconds, wrong = time.perf_counter() - start, invalid(drawn, columns)
    print(
        f"{each.name:<10}{each.latent_dim:>3}{len(real[0]):>7}{cells}{wrong:>7}   ({seconds:.0f} s)"
    )


def both(parts: tuple[Array, ...]) -> Parts:
    codes = parts[1] if len(parts) > 1 else np.empty((len(parts[0]), 0), np.int32)
    return parts[0].astype(np.float64), codes


def as_parts(rows: Any, columns: list[Column]) -> Parts:
    """Numbers and codes of what ae.sample gives; -2 for a word that its column does not have."""
    if not isinstance(rows, dict):
        return both((rows,))
    names = [column.name or str(at + 1) for at, column in enumerate(columns)]
    numbers, codes = [], []
    for name, column in zip(names, columns, strict=True):
        if column.levels:
            known = {word: at for at, word in enumerate(column.levels)}
            codes.append([known.get(word, -2) for word in rows[name]])
        else:
            numbers.append(rows[name])
    return np.stack(numbers, 1), np.array(codes, np.int32).T


def invalid(parts: Parts, columns: list[Column]) -> int:
    """Values outside of their column's words, whole numbers or range."""
    wrong = int((parts[1] < 0).sum())
    for x, column in zip(parts[0].T, numbers_of(columns), strict=True):
        wrong += int((column.integer & (x != np.rint(x))).sum())
        assert column.min is not None
        assert column.max is not None
        wrong += int(((x < column.min) | (x > column.max)).sum())
    return wrong


def numbers_of(columns: list[Column]) -> list[Column]:
    return [column for column in columns if not column.levels]


def by_pca(known: Parts, held: Parts, columns: list[Column], latent_dim: int, count: int) -> Parts:
    """The same number of rows by PCA with a mixture, made valid as ours are."""
    mean, deviation = np.nanmean(known[0], 0), np.nanstd(known[0], 0)
    scale = np.where(deviation > 0, deviation, 1.0)
    levels = [len(column.levels) for column in columns if column.levels]

    def scaled(parts: Parts) -> Array:
        return np.concatenate([np.nan_to_num((parts[0] - mean) / scale), one_hot(parts, levels)], 1)

    drawn = pca_mixture(scaled(known), scaled(held), latent_dim, count)
    x = drawn[:, : len(mean)] * scale + mean
    for at, column in enumerate(numbers_of(columns)):
        x[:, at] = np.clip(
            np.rint(x[:, at]) if column.integer else x[:, at], column.min, column.max
        )
    words = np.split(drawn[:, len(mean) :], np.cumsum(levels)[:-1], axis=1) if levels else []
    codes = [word.argmax(1) for word in words]
    return x, np.array(codes, np.int32).reshape(len(levels), len(x)).T


def one_hot(parts: Parts, levels: list[int]) -> Array:
    words = [codes[:, None] == np.arange(n) for codes, n in zip(parts[1].T, levels, strict=True)]
    return np.concatenate([np.empty((len(parts[0]), 0)), *words], axis=1, dtype=np.float64)


def figures(parts: Parts, real: Parts, columns: list[Column]) -> tuple[float, float, float]:
    """(distance of columns, error of correlations, AUROC of a classifier)."""
    levels = [len(column.levels) for column in columns if column.levels]
    apart = [
        float(scipy.stats.ks_2samp(a, b[~np.isnan(b)]).statistic)
        for a, b in zip(parts[0].T, real[0].T, strict=True)
    ]
    for a, b, n in zip(parts[1].T, real[1].T, levels, strict=True):
        shares = [np.bincount(codes[codes >= 0], minlength=n) for codes in (a, b)]
        apart.append(
            float(np.abs(shares[0] / shares[0].sum() - shares[1] / shares[1].sum()).sum() / 2)
        )
    correlations = [correlation(each, levels) for each in (parts, real)]
    off = float(np.nanmean(np.abs(correlations[0] - correlations[1])))
    # Gaps are in real rows only: a classifier would see nothing else.
    full = ~np.isnan(real[0]).any(1) & (real[1] >= 0).all(1)
    x = np.concatenate([np.hstack(parts), np.hstack(real)[full]])
    y = np.repeat([0, 1], [len(parts[0]), int(full.sum())])
    trees = HistGradientBoostingClassifier(random_state=0)
    return (
        float(np.mean(apart)),
        off,
        float(cross_val_score(trees, x, y, cv=3, scoring="roc_auc").mean()),
    )


def correlation(parts: Parts, levels: list[int]) -> Array:
    """Of all pairs of numbers and words, 0 where one of them does not vary."""
    x = np.concatenate([parts[0], one_hot(parts, levels)], 1)
    x = x[~np.isnan(x).any(1)]
    centred = x - x.mean(0)
    norm = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(norm > 0, norm, 1.0)
    found: Array = unit.T @ unit
    return found[np.triu_indices(len(found), 1)]


if __name__ == "__main__":
    main()
