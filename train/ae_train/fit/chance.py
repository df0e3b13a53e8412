"""Gains over PCA, and whether chance reaches them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Gain

Array = NDArray[Any]
# At most this share of networks that are only as good as PCA is taken for better.
LEVEL = 0.01
EARLY = 0.001  # the same, before all folds are seen
# Share of PCA's error: a smaller gain is PCA computed in another order, in float32.
ROUNDING = 1e-6
_ALL_SIGNS = 12  # blocks up to which all choices of signs are taken; beyond, 4,096 of them


def gains_of_best(errors: Array, pca: Array) -> Array:
    """Gains of each block at the epoch that is best for all other blocks, (B,).

    errors: (epochs, B) summed squares after each epoch. pca: (B,). The best of many epochs is good
    by luck, too, on the blocks that it was chosen by; a block that had no say in it knows no luck.
    """
    gains = pca - errors
    chosen = np.argmax(gains.sum(1)[:, None] - gains, axis=0)
    return np.take_along_axis(gains, chosen[None], axis=0)[0]


def gain_of(gains: Array, pca: Array, rows: int, folds: int = 0, level: float = LEVEL) -> Gain:
    """The gain over PCA: the share of its error that is saved, and the share that chance reaches.

    gains, pca: (B,) of each block. rows: how many the blocks hold. folds: how many of the folds are
    among them. Where a network is as good as PCA, what a block saves might as well be what it
    costs: chance is what a share `level` of all choices of signs reaches. Errors need not be
    normal: a few rows often have most of them.
    """
    total = max(float(pca.sum()), 1e-300)
    sums = (_signs(len(gains)) * gains).sum(1)
    chance = float(np.quantile(sums, 1 - level, method="higher")) / total
    return Gain(float(sums[0]) / total, chance if len(gains) > 1 else None, rows, len(gains), folds)


@cache
def _signs(blocks: int) -> Array:
    """Choices of a sign for each block, (N, B), all positive first: all if few, else some."""
    if blocks <= _ALL_SIGNS:
        bits = np.arange(1 << blocks)[:, None] >> np.arange(blocks)
        return 1.0 - 2.0 * (bits & 1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (1 << _ALL_SIGNS, blocks))
    signs[0] = 1
    return signs


def is_beyond_chance(gain: Gain) -> bool:
    """Whether a network is better than PCA, and not by chance."""
    return gain.chance is not None and gain.share > max(gain.chance, ROUNDING)
