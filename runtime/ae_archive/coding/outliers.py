"""Outliers: values that a chunk stores bit for bit, and their places."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.integers import Integers, pack, pack_repeats, unpack
from ae_archive.coding.parts import Parts, join
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]


def pack_outliers(x: Array, places: Integers) -> bytes:
    """Bytes of the values of x (R, D) at `places` in C order; none where there are no places.

    They are stored in runs: how many, the values before each, lengths less 1, and the bits of all.
    A missing value in the same place of every row repeats itself.
    """
    if not len(places):
        return b""
    new = np.diff(places, prepend=-2) > 1
    first, last = places[new], places[np.append(new[1:], True)]
    between = first - np.concatenate([[0], last[:-1] + 1])
    bits = x.reshape(-1)[places].view(f"<i{x.itemsize}")
    streams = (min(pack(n), pack_repeats(n), key=len) for n in (between, last - first, bits))
    return join([len(first).to_bytes(4, "little"), *streams])


def restore_outliers(x: Array, raw: bytes) -> None:
    """Write the outliers of `pack_outliers` into x (R, D). Raises ArchiveCorrupt."""
    if not raw:
        return
    parts = Parts(raw)
    count, *streams = (parts.take() for _ in range(4))
    parts.end()
    runs = int.from_bytes(count, "little")
    if len(count) != 4 or not 1 <= runs <= x.size:
        raise ArchiveCorrupt("a chunk has more outliers than values")
    between, more = (unpack(stream, runs) for stream in streams[:2])
    ends = np.stack([between, more + 1], axis=1).reshape(-1)
    # Each is below the size: no sum of so many wraps.
    if (between < 0).any() or (more < 0).any() or (ends > x.size).any() or ends.sum() > x.size:
        raise ArchiveCorrupt("outliers do not lie one after another in their chunk")
    where = np.repeat(np.tile([False, True], runs), ends)
    bits = unpack(streams[2], int(ends[1::2].sum()))
    narrow = bits.astype(f"<i{x.itemsize}")
    if (narrow != bits).any():
        raise ArchiveCorrupt("an outlier has more bits than its dtype")
    x.reshape(-1)[: len(where)][where] = narrow.view(x.dtype)
