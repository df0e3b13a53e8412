"""Palettes: columns that hold few of the numbers in their range, as ranks among these."""

from __future__ import annotations

import numpy as np

from ae_archive.coding.integers import Integers, pack, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_runtime.errors import ArchiveCorrupt

_MAX_SPAN = 1 << 22  # numbers from a column's smallest to its largest, for a palette to be tried
_DENSE = 0.6  # share of these that occurs, from which on ranks save too little
_POINT_BITS = 8.0  # bits that a number of a palette takes, at most about


def ranked(q: Integers) -> tuple[Integers, dict[int, Integers]]:
    """Rows q (R, D) with ranks where these are smaller; palettes of these columns, in order."""
    columns = np.ascontiguousarray(q.T)
    every = {column: _palette(each) for column, each in enumerate(columns)}
    palettes = {column: palette for column, palette in every.items() if palette is not None}
    if not palettes:
        return q, palettes
    ranks = q.copy()
    for column, palette in palettes.items():
        rank = np.zeros(int(palette[-1] - palette[0]) + 1, np.int64)
        rank[palette - palette[0]] = np.arange(len(palette))
        ranks[:, column] = rank[columns[column] - palette[0]]
    return ranks, palettes


def dump(palettes: dict[int, Integers], columns: int) -> bytes:
    """Bytes of the palettes that `ranked` gave for so many columns; none without palettes."""
    if not palettes:
        return b""
    counts = np.zeros(columns, np.int64)
    for column, palette in palettes.items():
        counts[column] = len(palette)
    first = np.array([palette[0] for palette in palettes.values()])
    steps = np.concatenate([np.diff(palette) for palette in palettes.values()])
    return join([pack(counts), pack(first), pack(steps)])


def unranked(ranks: Integers, raw: bytes) -> Integers:
    """Rows q (R, D) of ranks and the bytes of palettes. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    streams = [parts.take() for _ in range(3)]
    parts.end()
    rows, columns = ranks.shape
    counts = unpack(streams[0], columns)
    if (counts < 0).any() or (counts > rows).any():
        raise ArchiveCorrupt("the palette of a column has more numbers than rows")
    with_palette = np.flatnonzero(counts)
    first = unpack(streams[1], len(with_palette))
    steps = unpack(streams[2], int((counts[with_palette] - 1).sum()))
    if (np.abs(first) >= LIMIT).any() or (steps <= 0).any() or (steps >= 2 * LIMIT).any():
        raise ArchiveCorrupt("the palette of a column goes beyond 2^28")
    q = ranks.copy()
    at = 0
    for column, start in zip(with_palette.tolist(), first.tolist(), strict=True):
        count = int(counts[column])
        palette = np.cumsum(np.concatenate([[start], steps[at : at + count - 1]]))
        at += count - 1
        rank = np.ascontiguousarray(ranks[:, column])
        if palette[-1] >= LIMIT or (rank < 0).any() or (rank >= count).any():
            raise ArchiveCorrupt("a column has a rank beyond its palette")
        q[:, column] = palette[rank]
    return q


def _palette(q: Integers) -> Integers | None:
    """Numbers that occur in a column (R,), in order; None where ranks would not be smaller."""
    if not len(q):
        return None
    low = int(q.min())
    span = int(q.max()) - low + 1
    if not 2 < span <= min(_MAX_SPAN, 64 * len(q)):
        return None
    present = np.zeros(span, np.bool_)
    present[q - low] = True
    palette = np.flatnonzero(present)
    # A guess: half of what the narrower range would save of independent numbers.
    saved = len(q) * np.log2(span / len(palette)) / 2
    if len(palette) > _DENSE * span or saved < _POINT_BITS * (len(palette) + 8):
        return None
    return palette + low
