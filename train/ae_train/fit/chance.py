"""Whether errors are smaller than PCA's by more than chance makes them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Gain

Array = NDArray[Any]
# How often a network that is as good as PCA is taken for a better one, at most.
LEVEL = 0.01
EARLY = 0.001  # the same, before all folds are seen
# Of errors in float32: what is better by less is PCA computed otherwise.
ROUNDING = 1e-6
_ALL_SIGNS = 12  # 4,096 choices


def gains_of_best(errors: Array, pca: Array) -> Array:
    """What is saved in each block at the epoch that is best in all others, (B,).

    errors: (epochs, B) summed squares after each epoch. pca: (B,). The best of many epochs is good
    by luck, too, on the blocks that it was chosen by; a block that had no say in it knows no luck.
    """
    gains = pca - errors
    chosen = np.argmax(gains.sum(1)[:, None] - gains, axis=0)
    return np.take_along_axis(gains, chosen[None], axis=0)[0]


def gain_of(gains: Array, pca: Array, rows: int, folds: int = 0, level: float = LEVEL) -> Gain:
    """The share of PCA's error that is saved, and how much chance alone would, by blocks (B,).

    rows: how many the blocks hold. folds: of how many folds, 0: of validation rows. Where a network
    is as good as PCA, what a block saves might as well be what it costs: chance is what a share
    `level` of all choices of signs reaches. It needs no normal errors: a few rows often have most.
    """
    whole = max(float(pca.sum()), 1e-300)
    sums = (_signs(len(gains)) * gains).sum(1)
    chance = float(np.quantile(sums, 1 - level, method="higher")) / whole
    return Gain(float(sums[0]) / whole, chance if len(gains) > 1 else None, rows, len(gains), folds)


@cache
def _signs(blocks: int) -> Array:
    """Signs of blocks, (N, B), all positive first: every choice if these are few, else some."""
    if blocks <= _ALL_SIGNS:
        bits = np.arange(1 << blocks)[:, None] >> np.arange(blocks)
        return 1.0 - 2.0 * (bits & 1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (1 << _ALL_SIGNS, blocks))
    signs[0] = 1
    return signs


def is_beyond_chance(gain: Gain) -> bool:
    """Whether a network is better than PCA, and not by chance."""
    return gain.chance is not None and gain.share > max(gain.chance, ROUNDING)
