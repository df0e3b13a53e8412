"""Columns that have few of the numbers between their smallest and largest, as ranks of these."""

from __future__ import annotations

import numpy as np

from ae_archive.coding.integers import Integers, pack, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_runtime.errors import ArchiveCorrupt

_MAX_SPAN = 1 << 22  # looked through for points
_DENSE = 0.6  # of the numbers, from which on ranks save too little
_POINT_BITS = 8.0  # that a point may take, at most about


def ranked(q: Integers) -> tuple[Integers, dict[int, Integers]]:
    """(q (R, D) with ranks where these are smaller, of these columns the numbers in order)."""
    columns = np.ascontiguousarray(q.T)
    found = {column: _points(each) for column, each in enumerate(columns)}
    kept = {column: points for column, points in found.items() if points is not None}
    if not kept:
        return q, kept
    places = q.copy()
    for column, points in kept.items():
        rank = np.zeros(int(points[-1] - points[0]) + 1, np.int64)
        rank[points - points[0]] = np.arange(len(points))
        places[:, column] = rank[columns[column] - points[0]]
    return places, kept


def dump(kept: dict[int, Integers], columns: int) -> bytes:
    """The bytes of what `ranked` found of so many columns."""
    if not kept:
        return b""
    counts = np.zeros(columns, np.int64)
    for column, points in kept.items():
        counts[column] = len(points)
    first = np.array([points[0] for points in kept.values()])
    steps = np.concatenate([np.diff(points) for points in kept.values()])
    return join([pack(counts), pack(first), pack(steps)])


def valued(places: Integers, raw: bytes) -> Integers:
    """What `ranked` was given, of its places and of what `dump` made. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    streams = [parts.take() for _ in range(3)]
    parts.end()
    rows, columns = places.shape
    counts = unpack(streams[0], columns)
    if (counts < 0).any() or (counts > rows).any():
        raise ArchiveCorrupt("a column has more points than rows")
    kept = np.flatnonzero(counts)
    first = unpack(streams[1], len(kept))
    steps = unpack(streams[2], int((counts[kept] - 1).sum()))
    if (np.abs(first) >= LIMIT).any() or (steps <= 0).any() or (steps >= 2 * LIMIT).any():
        raise ArchiveCorrupt("the points of a column lie beyond 2^28")
    q = places.copy()
    at = 0
    for column, start in zip(kept.tolist(), first.tolist(), strict=True):
        count = int(counts[column])
        points = np.cumsum(np.concatenate([[start], steps[at : at + count - 1]]))
        at += count - 1
        rank = np.ascontiguousarray(places[:, column])
        if points[-1] >= LIMIT or (rank < 0).any() or (rank >= count).any():
            raise ArchiveCorrupt("a column has a number beyond its points")
        q[:, column] = points[rank]
    return q


def _points(q: Integers) -> Integers | None:
    """The numbers of a column (R,) in order, or None where they are better left as they are."""
    if not len(q):
        return None
    low = int(q.min())
    span = int(q.max()) - low + 1
    if not 2 < span <= min(_MAX_SPAN, 64 * len(q)):
        return None
    present = np.zeros(span, np.bool_)
    present[q - low] = True
    points = np.flatnonzero(present)
    # Each number has fewer neighbours then; by how many bits that makes it smaller is a guess.
    saved = len(q) * np.log2(span / len(points)) / 2
    if len(points) > _DENSE * span or saved < _POINT_BITS * (len(points) + 8):
        return None
    return points + low
