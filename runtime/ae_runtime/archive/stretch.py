"""A stretch in the middle of rows, by which ways of storing all of them are compared."""

from __future__ import annotations

from math import prod

VALUES = 1 << 15


def middle(shape: tuple[int, ...], values: int = VALUES) -> tuple[slice, ...]:
    """At most so many values of an array of this shape, as compact as they can be."""
    kept = list(shape)
    while prod(kept) > values:
        longest = kept.index(max(kept))
        kept[longest] = -(-kept[longest] // 2)
    begins = [(size - length) // 2 for size, length in zip(shape, kept, strict=True)]
    return tuple(slice(at, at + length) for at, length in zip(begins, kept, strict=True))
