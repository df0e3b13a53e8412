"""Series cut into windows: rows of T time steps that share the memory of their series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def window_starts(length: int, window: int, stride: int) -> NDArray[np.int64]:
    """First time steps of the windows of a series of `length` steps, in order.

    One window each `stride` steps; a rest that they leave gets one last window, aligned to the
    end. None for a series shorter than its window.
    """
    if length < window:
        return np.empty(0, np.int64)
    starts = np.arange(0, length - window + 1, stride, dtype=np.int64)
    last = length - window
    return starts if starts[-1] == last else np.append(starts, last)


class Windows:
    """Windows of one or more series as an array (N, T, C) that is not in memory.

    series: arrays (steps, C), in order, all of one dtype. index: (N,) which series each window is
    cut from; starts: (N,) its first time step there.
    """

    def __init__(
        self,
        series: Sequence[Array],
        window: int,
        index: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> None:
        self.series, self.window = list(series), window
        self.index, self.starts = index, starts
        self.dtype = self.series[0].dtype
        self.shape = (len(starts), window, self.series[0].shape[1])

    @classmethod
    def cut(cls, series: Sequence[Array], window: int, stride: int) -> Windows:
        """All windows of these series, series after series."""
        starts = [window_starts(len(one), window, stride) for one in series]
        index = np.repeat(np.arange(len(starts)), [len(part) for part in starts])
        return cls(series, window, index.astype(np.int64), np.concatenate(starts))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Array:
        """These windows, (B, T, C), copied."""
        index, starts = self.index[rows], self.starts[rows]
        out = np.empty((len(starts), *self.shape[1:]), self.dtype)
        steps = np.arange(self.window)
        for at in np.unique(index):
            chosen = np.flatnonzero(index == at)
            out[chosen] = self.series[at][starts[chosen, None] + steps]
        return out
