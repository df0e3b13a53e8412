"""Order in which numbers are coded: blocks of rows side by side, by interleaved rANS states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIP = 32  # rows that are transposed at once


class Interleaving:
    """Place of each number (R, D): in steps, each of which codes one number by every state.

    states: how many there are wanted. Where these are at least D, a step codes whole rows, one of
    each block; else a group of one column at a time. width: states that are used.
    """

    def __init__(self, rows: int, columns: int, states: int) -> None:
        self.rows, self.columns = rows, columns
        self.together = columns if states >= columns else 1
        self.blocks = min(max(states // self.together, 1), rows)
        self.short, self.longer = divmod(rows, self.blocks)  # rows of a block; one more in some
        self.groups = columns // self.together
        self.width = self.blocks * self.together
        self.steps = self.short + (self.longer > 0)

    def active(self) -> Iterator[tuple[int, int, int]]:
        """(step, group of columns, states in use) of each step."""
        for step in range(self.steps):
            blocks = self.blocks if step < self.short else self.longer
            for group in range(self.groups):
                yield step, group, blocks * self.together

    def spread(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Numbers (R, D) in coding order, (steps, groups, width)."""
        steps = np.zeros((self.steps, self.blocks, self.columns), rows.dtype)
        for by_block, by_step in self._halves(rows, steps):
            transpose(by_block, by_step)
        if self.groups > 1:
            steps = steps.swapaxes(1, 2)
        return np.ascontiguousarray(steps).reshape(self.steps, self.groups, self.width)

    def gathered(self, steps: NDArray[Any]) -> NDArray[Any]:
        """Numbers (R, D), the inverse of `spread`."""
        if self.groups > 1:
            steps = steps.swapaxes(1, 2)
        steps = steps.reshape(self.steps, self.blocks, self.columns)
        rows = np.empty((self.rows, self.columns), steps.dtype)
        for by_block, by_step in self._halves(rows, steps):
            transpose(by_step, by_block)
        return rows

    def _halves(
        self, rows: NDArray[Any], steps: NDArray[Any]
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Views of the longer blocks, then of the others: (blocks, rows, D), (rows, blocks, D)."""
        cut = self.longer * (self.short + 1)
        if self.longer:
            yield rows[:cut].reshape(self.longer, self.steps, -1), steps[:, : self.longer]
        shorter = rows[cut:].reshape(-1, self.short, self.columns)
        yield shorter, steps[: self.short, self.longer :]

    def per_state(self, per_column: NDArray[np.int64]) -> NDArray[np.int64]:
        """Values of columns (D,) for each state, (groups, width)."""
        return np.tile(per_column.reshape(self.groups, self.together), (1, self.blocks))


def transpose(x: NDArray[Any], out: NDArray[Any]) -> None:
    """Write x (A, B, ...), which need not be contiguous, into `out` (B, A, ...).

    A strip at a time: the cache holds few of many places that lie a power of two apart.
    """
    for at in range(0, len(x), _STRIP):
        out[:, at : at + _STRIP] = x[at : at + _STRIP].swapaxes(0, 1)
