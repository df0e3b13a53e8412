"""Blocks of rows: samples that show how to store all rows, and parts that fit a processor cache."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 1 << 18  # values: beyond it samples decide, since trying every way takes too long
CACHED = 1 << 15  # values of a block


def middle_block(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices of the middle of an array: at most CACHED values, the longest axes cut first."""
    sizes = list(shape)
    while prod(sizes) > CACHED:
        longest = sizes.index(max(sizes))
        sizes[longest] = -(-sizes[longest] // 2)
    begins = [(size - length) // 2 for size, length in zip(shape, sizes, strict=True)]
    return tuple(slice(at, at + length) for at, length in zip(begins, sizes, strict=True))


def spread_blocks(rows: NDArray[Any], count: int, length: int) -> list[NDArray[Any]]:
    """`count` blocks of `length` rows each, evenly spread from the first row to the last."""
    begins = np.linspace(0, len(rows) - length, count).astype(int).tolist()
    return [rows[begin : begin + length] for begin in begins]


def cache_blocks(rows: int, row_size: int) -> Iterator[slice]:
    """Slices of consecutive rows, each of about CACHED values. row_size: values of a row."""
    length = max(1, CACHED // max(1, row_size))
    for begin in range(0, rows, length):
        yield slice(begin, min(begin + length, rows))


def tiled_blocks(
    rows: int, *per_column: NDArray[Any]
) -> Iterator[tuple[slice, tuple[NDArray[Any], ...]]]:
    """Slices of consecutive rows, and per-column arrays (D,) repeated for each value of a block.

    numpy handles one long row in a fraction of the time that many short ones take.
    """
    row_size = len(per_column[0])
    length = min(rows, max(1, CACHED // max(1, row_size)))
    tiled = [np.tile(each, length) for each in per_column]
    for part in cache_blocks(rows, row_size):
        yield part, tuple(each[: (part.stop - part.start) * row_size] for each in tiled)
