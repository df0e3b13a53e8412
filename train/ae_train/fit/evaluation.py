"""Evaluation of a model: errors beside PCA and the training mean, by part and by column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_runtime.bundle.manifest import Column, Gain, Prefix, Quality
from ae_train.fit.fitting import evaluate
from ae_train.fit.rows import HeldRows, Rows
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.model import Model
from ae_train.network.pca import Pca
from ae_train.network.preprocess import Preprocess, Statistics
from ae_train.schema import MixedQuality

Array = NDArray[Any]


def baseline_mse(pca: Pca, rows: Rows, latent_dim: int) -> float:
    """MSE in scaled space of PCA with latent_dim components; of the training mean with 0."""
    squares, count = 0.0, 0
    for errors, there in _pca_errors(pca, rows, latent_dim):
        squares, count = squares + errors[there].sum(), count + int(there.sum())
    return float(squares) / max(count, 1)


def pca_squares(pca: Pca, rows: Rows, latent_dim: int) -> Array:
    """Squared errors of PCA in scaled space, summed over the present numbers of each row, (N,)."""
    squares = [errors.sum(1, where=where) for errors, where in _pca_errors(pca, rows, latent_dim)]
    return np.concatenate(squares)


def _pca_errors(pca: Pca, rows: Rows, latent_dim: int) -> Iterator[tuple[Array, Array]]:
    """(squared errors of PCA, mask of the present numbers), (B, W) each, by blocks."""
    for s, present in rows.blocks():
        flat = s.flatten(1).cpu().numpy()
        there = np.ones(flat.shape, bool) if present is None else present.flatten(1).cpu().numpy()
        yield (pca.reconstruct(flat, latent_dim) - flat) ** 2, there


def curve_of_prefixes(model: Model, pca: Pca, latent_dim: int, rows: Rows) -> list[Prefix]:
    """MSE in scaled space for each number of ordered latents kept, beside PCA's of that size.

    Sizes are all up to 16, then some 16 more.
    """
    more = range(16, latent_dim, max(1, latent_dim // 16))
    sizes = sorted({*range(1, min(latent_dim, 16) + 1), *more, latent_dim})
    squares, count = dict.fromkeys(sizes, 0.0), 0
    for s, present in rows.blocks():
        there = torch.ones_like(s, dtype=torch.bool) if present is None else present
        count += int(there.sum())
        with torch.no_grad():
            z = model.bottleneck.encode(model.code(s))
            for keep in sizes:
                cut = torch.where(torch.arange(latent_dim, device=z.device) < keep, z, 0.0)
                errors = (model.objective.output(model.expand(cut)) - s).square()
                squares[keep] += float(errors[there].sum(dtype=torch.float64))
    return [
        Prefix(keep, squares[keep] / max(count, 1), baseline_mse(pca, rows, keep)) for keep in sizes
    ]


def quality(
    model: Model, pca: Pca, latent_dim: int, validation: Rows, test: Rows, gain: Gain | None
) -> Quality:
    """The errors of the model, of PCA and of the mean; None for a test part without rows."""
    return Quality(
        validation_mse=evaluate(model, validation).mse,
        pca_mse=baseline_mse(pca, validation, latent_dim),
        mean_mse=baseline_mse(pca, validation, 0),
        test_mse=evaluate(model, test).mse if len(test) else None,
        test_pca_mse=baseline_mse(pca, test, latent_dim) if len(test) else None,
        test_mean_mse=baseline_mse(pca, test, 0) if len(test) else None,
        is_pca=model.arch is None,
        gain=gain,
    )


@torch.no_grad()
def codes_of(model: Model, rows: Rows) -> Tensor:
    """Codes that the encoder networks give for rows, (N, code_dim), on the CPU."""
    model.eval()
    return torch.cat([model.code(s).cpu() for s, _ in rows.blocks()])


@torch.no_grad()
def latent_statistics(model: Model, rows: Rows) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent over rows."""
    model.eval()
    z = torch.cat([model.bottleneck.encode(model.code(s)).cpu() for s, _ in rows.blocks()]).double()
    return z.mean(0).tolist(), z.std(0, correction=0).tolist()


@torch.no_grad()
def squared_errors(model: Model, rows: Rows) -> Array:
    """Squared error of every number of rows in scaled space, (N, W) float64, NaN where missing."""
    parts = []
    for s, present in rows.blocks():
        errors = (model.reconstruct_scaled(s) - s).double().square()
        if present is not None:
            errors[~present] = torch.nan
        parts.append(errors.flatten(1).cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def range_errors(
    model: Model, pca: Pca, latent_dim: int, rows: HeldRows, scale: Array, statistics: Statistics
) -> tuple[float | None, float | None]:
    """Mean absolute errors of numbers, of the model and of PCA, as shares of their range.

    scale: (C,) data units in a unit of scaled space, one for each column or channel. None where
    no column of numbers varies.
    """
    spread = statistics.max - statistics.min
    share = np.divide(scale, spread, out=np.zeros(len(scale)), where=(scale > 0) & (spread > 0))
    sums, count = np.zeros(2), 0
    for s, present in rows.blocks():
        flat = s.flatten(1).cpu().numpy()
        both = [model.reconstruct_scaled(s).flatten(1).cpu().numpy()]
        both.append(pca.reconstruct(flat, latent_dim))
        there = np.ones(flat.shape, bool) if present is None else present.flatten(1).cpu().numpy()
        numbers = flat.shape[1] if model.preprocess.levels == () else len(scale)
        weight = np.tile(share, numbers // max(len(share), 1))
        counted = there[:, :numbers] & (weight > 0)
        count += int(counted.sum())
        for at, y in enumerate(both):
            errors = np.abs(y[:, :numbers] - flat[:, :numbers]) * weight
            sums[at] += errors[counted].sum(dtype=np.float64)
    return (float(sums[0] / count), float(sums[1] / count)) if count else (None, None)


def mean_of_present(errors: Array, axis: int) -> Array:
    """Mean over an axis of the values that are not NaN; NaN without any."""
    count = (~np.isnan(errors)).sum(axis=axis)
    return np.where(count > 0, np.nansum(errors, axis=axis) / np.maximum(count, 1), np.nan)


def describe_columns(
    columns: list[Column], preprocess: Preprocess, statistics: Statistics, errors: Array, x: Array
) -> list[Column]:
    """A table's columns, each numeric one with its root mean squared error in its own units.

    errors: (N, >= P) of held-out rows in scaled space. x: (N, P), the same rows in data units.
    """
    mse = mean_of_present(errors[:, : x.shape[1]], 0)
    # A column that did not vary is scaled to 0 whatever these rows hold: its error is in x.
    offset, scale = preprocess.offset.cpu().numpy(), preprocess.scale.cpu().numpy()
    rmse = np.sqrt(mse) * scale
    for at in np.flatnonzero(scale <= 0):
        rmse[at] = _root_mean_square(x[:, at].astype(np.float64) - offset[at])
    described = [
        msgspec.structs.replace(
            column,
            min=_number(statistics.min[at]),
            max=_number(statistics.max[at]),
            rmse=_number(rmse[at]),
        )
        for at, column in enumerate(columns[: x.shape[1]])
    ]
    return described + columns[x.shape[1] :]


def _root_mean_square(off: Array) -> float:
    """Root mean square of the values that are not NaN, also where float64 cannot hold squares."""
    largest = float(np.nanmax(np.abs(off), initial=0)) or 1.0
    return largest * float(np.sqrt(mean_of_present((off / largest) ** 2, 0)))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Accuracy:
    """Share of the present categories of each column that come back right, (Q,) each."""

    model: Array
    pca: Array
    frequent: Array  # where the answer is always the column's most frequent one


@torch.no_grad()
def mixed_quality(
    model: Model, pca: Pca, latent_dim: int, sample: HeldRows, rows: Rows
) -> tuple[MixedQuality, Accuracy]:
    """(figures of a mixed table, accuracy by column) on rows: for the model, PCA, and frequencies.

    PCA is that of one-hot rows. sample: training rows, for each column's most frequent category.
    """
    model.eval()
    assert isinstance(model.preprocess, MixedPreprocess)
    levels = model.preprocess.levels
    width = sample.s.shape[1] - sum(levels)
    frequent = sample.s[:, width:].mean(0, keepdim=True)
    squares, numbers = torch.zeros(2, dtype=torch.float64), 0.0
    right, known = torch.zeros(3, len(levels)), torch.zeros(len(levels))
    for s, present in rows.blocks():
        there = torch.ones_like(s, dtype=torch.bool) if present is None else present
        linear = pca.reconstruct(s.cpu().numpy(), latent_dim)
        both = [model.reconstruct_scaled(s), torch.from_numpy(linear).to(s)]
        errors = [((y - s).square() * there)[:, :width].double().sum() for y in both]
        squares += torch.stack(errors).cpu()
        numbers += float(there[:, :width].sum())
        predicted = [y[:, width:] for y in both] + [frequent.expand(len(s), -1)]
        known_categories = there[:, width:]
        right += torch.stack(
            [_right(y, s[:, width:], known_categories, levels) for y in predicted]
        ).cpu()
        known += torch.stack([part[:, 0].sum() for part in known_categories.split(levels, 1)]).cpu()
    mse = (squares / max(numbers, 1)).tolist()
    accuracy = (right.sum(1) / known.sum().clamp(min=1)).tolist()
    each = Accuracy(*(right / known.clamp(min=1)).double().numpy())
    return MixedQuality(mse[0], mse[1], *accuracy), each


def _right(y: Tensor, s: Tensor, there: Tensor, levels: tuple[int, ...]) -> Tensor:
    """For each column, (Q,), how many rows have the category that y finds the most likely."""
    parts = zip(*(t.split(levels, 1) for t in (y, s, there)), strict=True)
    return torch.stack(
        [
            ((predicted.argmax(1) == true.argmax(1)) & present[:, 0]).sum().float()
            for predicted, true, present in parts
        ]
    )
