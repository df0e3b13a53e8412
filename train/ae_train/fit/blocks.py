"""Blocks of rows that are independent of each other, so that chance can be told from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset

Labels = NDArray[np.int64]
# Blocks at most. More of them tell hardly more of a mean. Neighbouring rows, which may depend on
# each other, are in one block, and a sum of rows is closer to normal than a row is.
MOST = 32
# The least length of a unit of time, in windows, so that windows that overlap are in one.
_STRETCH = 2


def units_of(data: Dataset, rows: NDArray[np.int64]) -> Labels:
    """Unit numbers of rows, (N,) int64: rows of a unit may be alike, and are held out together.

    A unit is a row, all rows of a group, or the windows of a stretch of time.
    """
    if isinstance(data.parts[0], Windows):
        return _stretches(data.parts[0], rows)
    if data.groups is not None:
        return _numbered(data.groups[rows].astype(str))
    return np.arange(len(rows))


def blocks_of(units: Labels) -> Labels:
    """Block numbers of rows, (N,) int64: their units, or 32 runs of neighbouring ones."""
    count = int(units.max(initial=-1)) + 1
    return units * min(MOST, count) // max(count, 1)


def block_sums(values: NDArray[Any], labels: Labels) -> NDArray[np.float64]:
    """Sum of the values of each block's rows, (blocks,)."""
    return np.bincount(labels, weights=values).astype(np.float64)


def sharing_steps(data: Dataset, rows: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[Any]:
    """Mask (N,) of the rows that are windows which share time steps with a window of `held`."""
    windows = data.parts[0]
    if not isinstance(windows, Windows):
        return np.zeros(len(rows), bool)
    shares = np.zeros(len(rows), bool)
    for at in np.unique(windows.index[held]):
        taken = np.sort(windows.starts[held][windows.index[held] == at])
        here = windows.index[rows] == at
        starts = windows.starts[rows][here]
        # The first held window that does not end before this one starts.
        next_one = np.searchsorted(taken, starts - windows.window, side="right")
        following = np.append(taken, np.iinfo(np.int64).max)[next_one]
        shares[here] = following < starts + windows.window
    return shares


def _stretches(windows: Windows, rows: NDArray[np.int64]) -> Labels:
    index, starts = np.asarray(windows.index)[rows], np.asarray(windows.starts)[rows]
    units, count = np.zeros(len(rows), np.int64), 0
    for at in np.unique(index):
        here = index == at
        first = int(starts[here].min())
        steps = int(starts[here].max()) + windows.window - first
        number = max(1, steps // (_STRETCH * windows.window))
        units[here] = count + (starts[here] - first) * number // steps
        count += number
    return _numbered(units)


def _numbered(names: NDArray[Any]) -> Labels:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
