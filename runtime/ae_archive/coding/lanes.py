"""Rows cut into blocks, of which numbers are coded side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIP = 32


class Lanes:
    """Where each number of (R, D) is coded: steps, in each of them some lanes side by side."""

    def __init__(self, rows: int, columns: int, lanes: int) -> None:
        self.rows, self.columns = rows, columns
        self.together = columns if lanes >= columns else 1
        self.blocks = min(max(lanes // self.together, 1), rows)
        self.short, self.longer = divmod(rows, self.blocks)  # rows of a block; one more in some
        self.groups = columns // self.together
        self.width = self.blocks * self.together
        self.steps = self.short + (self.longer > 0)

    def active(self) -> Iterator[tuple[int, int, int]]:
        """(step, group of columns, lanes) of each step."""
        for step in range(self.steps):
            blocks = self.blocks if step < self.short else self.longer
            for group in range(self.groups):
                yield step, group, blocks * self.together

    def spread(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(steps, groups, width) of numbers (R, D)."""
        found = np.zeros((self.steps, self.blocks, self.columns), rows.dtype)
        cut = self.longer * (self.short + 1)
        if self.longer:
            long = rows[:cut].reshape(self.longer, self.steps, self.columns)
            swap(long, found[:, : self.longer])
        swap(rows[cut:].reshape(-1, self.short, self.columns), found[: self.short, self.longer :])
        if self.groups > 1:
            found = found.swapaxes(1, 2)
        return np.ascontiguousarray(found).reshape(self.steps, self.groups, self.width)

    def gathered(self, found: NDArray[Any]) -> NDArray[Any]:
        """Numbers (R, D) of what `spread` gave."""
        if self.groups > 1:
            found = found.swapaxes(1, 2)
        found = found.reshape(self.steps, self.blocks, self.columns)
        rows = np.empty((self.rows, self.columns), found.dtype)
        cut = self.longer * (self.short + 1)
        if self.longer:
            long = rows[:cut].reshape(self.longer, self.steps, self.columns)
            swap(found[:, : self.longer], long)
        swap(found[: self.short, self.longer :], rows[cut:].reshape(-1, self.short, self.columns))
        return rows

    def columns_of(self, each: NDArray[np.int64]) -> NDArray[np.int64]:
        """(groups, width) of what each column has (D,)."""
        return np.tile(each.reshape(self.groups, self.together), (1, self.blocks))


def swap(found: NDArray[Any], out: NDArray[Any]) -> None:
    """`out` (B, A, ...) becomes found (A, B, ...), which need not be contiguous.

    A strip at a time: of many places a power of two apart the processor's cache holds few.
    """
    for at in range(0, len(found), _STRIP):
        out[:, at : at + _STRIP] = found[at : at + _STRIP].swapaxes(0, 1)
