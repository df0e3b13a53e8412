"""Held-out rows that a report shows, with their errors and latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MAP_ROWS = 2000  # rows of a latent map; more hide each other
TYPICAL = WORST = 12  # rows of a gallery


@dataclass(frozen=True)
class Shown:
    """Some held-out rows and their reconstructions.

    rows: (n,) which of the data's rows they are, counted from 0. x, x_hat: (n, ...) in data units;
    of a mixed table its numbers, (n, P). errors: (n,) as in Gallery. codes, codes_hat: (n, Q) of a
    mixed table, -1 where missing.
    """

    rows: Array
    x: Array
    x_hat: Array
    errors: Array
    codes: Array | None = None
    codes_hat: Array | None = None


@dataclass(frozen=True)
class Gallery:
    """Held-out rows that a report shows, at most MAP_ROWS of them.

    part: of the split that they come from. errors: (B,) mean squared error of each row in scaled
    space, NaN where all is missing. z: (B, K). typical, worst: as rows_to_show picks them.
    column_error: root mean squared error of each column of a table, (P,), or channel of a series,
    (C,), in its standard deviations over the training rows, NaN for what does not vary; None for
    images. accuracy: (3, Q) of a mixed table, the share of each categorical column's values that
    come back right from the model, from PCA, and from always saying the most frequent one.
    extremes: of images, (2, C), the smallest and the largest value of each channel over the
    training rows.
    """

    part: Literal["test", "validation"]
    errors: Array
    z: Array
    typical: Shown
    worst: Shown
    column_error: Array | None = None
    accuracy: Array | None = None
    extremes: Array | None = None


def rows_to_show(errors: Array) -> tuple[Array, Array]:
    """Positions of rows for a gallery: some drawn evenly, and the worst, the very worst first.

    errors: (B,) of each row, as in Gallery. The same for the same errors.
    """
    drawn = np.random.default_rng(0).permutation(len(errors))[:TYPICAL]
    known = np.where(np.isnan(errors), -np.inf, errors)
    return np.sort(drawn), np.argsort(-known, kind="stable")[:WORST]
