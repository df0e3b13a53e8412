"""Rows as a bundle's host has them: in scaled space, with their latents and reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_train.data.dataset import Dataset
from ae_train.fit.rows import make_rows
from ae_train.network.model import Model
from ae_train.network.scorer import scaled_back

NUMBERS = 1 << 24  # numbers of the rows that are measured at once, at most


@dataclass(frozen=True)
class Measured:
    """s, s_hat: (N, W) rows and reconstructions. z: (N, K). there: (N, W) present; None: all."""

    s: Tensor
    s_hat: Tensor
    z: Tensor
    there: Tensor | None

    def __len__(self) -> int:
        return len(self.s)

    def at(self, places: NDArray[Any]) -> Measured:
        """Some of the rows, by their places or a bool for each."""
        at = torch.from_numpy(places)
        there = None if self.there is None else self.there[at]
        return Measured(self.s[at], self.s_hat[at], self.z[at], there)


def measure(model: Model, data: Dataset, rows: NDArray[np.int64]) -> Measured:
    """Encode and decode these rows of the data by a model on the CPU."""
    parts, any_missing = [], False
    for s, present in make_rows(data, model.preprocess, rows, torch.device("cpu")).blocks():
        with torch.no_grad():
            z = model.bottleneck.encode(model.code(s))
            s_hat = scaled_back(model.preprocess, model.decode_parts(z))
        there = torch.ones_like(s, dtype=torch.bool) if present is None else present
        any_missing = any_missing or not bool(there.all())
        parts.append((s.flatten(1), s_hat.flatten(1), z, there.flatten(1)))
    s, s_hat, z, there = (torch.cat(each) for each in zip(*parts, strict=True))
    return Measured(s, s_hat, z, there if any_missing else None)


def some(rows: NDArray[np.int64], width: int, most: int) -> NDArray[np.int64]:
    """Every n-th of the rows: at most `most`, with at most NUMBERS numbers."""
    return rows[:: max(1, math.ceil(len(rows) / most_rows(width, most)))]


def most_rows(width: int, most: int) -> int:
    """The number of rows `most`, or fewer where these hold more than NUMBERS numbers."""
    return max(1, min(most, NUMBERS // max(width, 1)))
