"""Values that a chunk keeps as they were: where they are, and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.integers import Integers, pack, repeats, unpack
from ae_archive.coding.parts import Parts, join
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]


def pack_exceptions(x: Array, places: Integers) -> bytes:
    """Of x (R, D) those at `places` in C order, as one part; no bytes for none.

    They are told in runs: how many, what lies before each, how long they are less 1, and the bits
    of all, as integers. A gap in the same place of every row repeats itself.
    """
    if not len(places):
        return b""
    new = np.diff(places, prepend=-2) > 1
    first, last = places[new], places[np.append(new[1:], True)]
    gaps = first - np.concatenate([[0], last[:-1] + 1])
    bits = x.reshape(-1)[places].view(_bits(x))
    return join([len(first).to_bytes(4, "little"), *map(_smallest, (gaps, last - first, bits))])


def put_back(x: Array, raw: bytes) -> None:
    """Write what is kept into x (R, D). Raises ArchiveCorrupt."""
    if not raw:
        return
    parts = Parts(raw)
    count, *streams = (parts.take() for _ in range(4))
    parts.end()
    runs = int.from_bytes(count, "little")
    if len(count) != 4 or not 1 <= runs <= x.size:
        raise ArchiveCorrupt("a chunk has more exceptions than values")
    gaps, more = (unpack(stream, runs) for stream in streams[:2])
    ends = np.stack([gaps, more + 1], axis=1).reshape(-1)
    # Below the size each: no sum of so many wraps.
    if (gaps < 0).any() or (more < 0).any() or (ends > x.size).any() or ends.sum() > x.size:
        raise ArchiveCorrupt("exceptions do not lie one after another in their chunk")
    where = np.repeat(np.tile([False, True], runs), ends)
    bits = unpack(streams[2], int(ends[1::2].sum()))
    narrow = bits.astype(_bits(x))
    if (narrow != bits).any():
        raise ArchiveCorrupt("an exception has more bits than its dtype")
    x.reshape(-1)[: len(where)][where] = narrow.view(x.dtype)


def _bits(x: Array) -> str:
    return f"<i{x.itemsize}"


def _smallest(numbers: NDArray[Any]) -> bytes:
    return min(pack(numbers), repeats(numbers), key=len)
