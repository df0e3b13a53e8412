"""Stretches of rows: those that tell how to store all of them, and those that a cache holds."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG = 1 << 18  # values: of more, time counts too, and some of them tell what is made of all
VALUES = 1 << 15


def middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """At most VALUES of an array of this shape, as compact as they can be."""
    kept = list(shape)
    while prod(kept) > VALUES:
        longest = kept.index(max(kept))
        kept[longest] = -(-kept[longest] // 2)
    begins = [(size - length) // 2 for size, length in zip(shape, kept, strict=True)]
    return tuple(slice(at, at + length) for at, length in zip(begins, kept, strict=True))


def spread(rows: NDArray[Any], count: int, length: int) -> list[NDArray[Any]]:
    """`count` stretches of so many rows, from the first to the last."""
    begins = np.linspace(0, len(rows) - length, count).astype(int).tolist()
    return [rows[begin : begin + length] for begin in begins]


def cached(rows: int, size: int) -> Iterator[slice]:
    """Stretches of rows of so many values, one after another, that the processor's cache holds."""
    length = max(1, VALUES // max(1, size))
    for begin in range(0, rows, length):
        yield slice(begin, min(begin + length, rows))


def abreast(
    rows: int, *of_columns: NDArray[Any]
) -> Iterator[tuple[slice, tuple[NDArray[Any], ...]]]:
    """Such stretches, and of each column (D,) what belongs to all values of one, row after row.

    numpy looks at one long row in a fraction of the time that many short ones take.
    """
    size = len(of_columns[0])
    length = min(rows, max(1, VALUES // max(1, size)))
    tiled = [np.tile(each, length) for each in of_columns]
    for part in cached(rows, size):
        yield part, tuple(each[: (part.stop - part.start) * size] for each in tiled)
