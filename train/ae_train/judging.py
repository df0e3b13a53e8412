"""How good a model is: errors beside PCA and the training mean, by part and by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_runtime.manifest import Column, Quality
from ae_train.data import Dataset
from ae_train.fitting import Rows, evaluate
from ae_train.model import Model
from ae_train.pca import Pca
from ae_train.preprocess import Statistics

_BLOCK_ROWS = 8192


def baseline_mse(pca: Pca, rows: Rows, latent_dim: int) -> float:
    """MSE in scaled space of PCA with latent_dim components; of the training mean with 0."""
    squares, count = 0.0, 0
    for start in range(0, len(rows), _BLOCK_ROWS):
        s = rows.s[start : start + _BLOCK_ROWS].flatten(1).numpy()
        errors = (pca.reconstruct(s, latent_dim) - s) ** 2
        if rows.present is not None:
            present = rows.present[start : start + _BLOCK_ROWS].flatten(1).numpy()
            squares, count = squares + errors[present].sum(), count + int(present.sum())
        else:
            squares, count = squares + errors.sum(), count + errors.size
    return float(squares) / max(count, 1)


def quality(
    model: Model, pca: Pca, latent_dim: int, validation: Rows, test: Rows, is_pca: bool
) -> Quality:
    """The errors of the model, of PCA and of the mean; None for a test part without rows."""
    return Quality(
        validation_mse=evaluate(model, validation)[1],
        pca_mse=baseline_mse(pca, validation, latent_dim),
        mean_mse=baseline_mse(pca, validation, 0),
        test_mse=evaluate(model, test)[1] if len(test) else None,
        test_pca_mse=baseline_mse(pca, test, latent_dim) if len(test) else None,
        test_mean_mse=baseline_mse(pca, test, 0) if len(test) else None,
        is_pca=is_pca,
    )


@torch.no_grad()
def latent_statistics(model: Model, rows: Rows) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent over rows."""
    model.eval()
    blocks = rows.s.split(_BLOCK_ROWS)
    z = torch.cat([model.bottleneck.encode(model.arch.encode(s)) for s in blocks]).double()
    return z.mean(0).tolist(), z.std(0, correction=0).tolist()


@torch.no_grad()
def describe_columns(
    model: Model, data: Dataset, statistics: Statistics, rows: Rows, x: NDArray[Any]
) -> list[Column]:
    """The columns of a table, each with its root mean squared error on rows, in its own units.

    x: the same rows in data units.
    """
    x_hat = torch.cat([model.reconstruct_scaled(s) for s in rows.s.split(_BLOCK_ROWS)])
    errors = (x_hat - rows.s).double().square()
    present = torch.ones_like(errors) if rows.present is None else rows.present.double()
    mse = (errors * present).sum(0) / present.sum(0)
    # A column that did not vary is scaled to 0 whatever these rows hold: its error is in x.
    offset, scale = model.preprocess.offset, model.preprocess.scale
    still = (torch.from_numpy(x).double() - offset).square().nanmean(0)
    rmse = torch.where(scale > 0, mse.sqrt() * scale, still.sqrt()).tolist()
    names: Sequence[str | None] = data.columns or [None] * data.numbers
    return [
        Column(
            name=name,
            integer=bool(data.integer is not None and data.integer[at]),
            min=_number(statistics.min[at]),
            max=_number(statistics.max[at]),
            rmse=_number(rmse[at]),
        )
        for at, name in enumerate(names)
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
