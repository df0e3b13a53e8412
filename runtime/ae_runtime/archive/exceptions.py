"""Values that a chunk keeps as they were: where they are, and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import integers
from ae_runtime.archive.integers import Integers, pack, unpack
from ae_runtime.archive.parts import Parts
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]


def parts_of(x: Array, places: Integers) -> list[bytes]:
    """Three parts: how many, where, and what. places: in C order of x (R, D)."""
    kept = x.reshape(-1)[places]
    return [
        len(kept).to_bytes(4, "little"),
        pack(np.diff(places, prepend=0)),
        integers.deflate(kept) if len(kept) else b"",
    ]


def put_back(x: Array, parts: Parts) -> None:
    """Take the three parts, and write what they keep into x (R, D). Raises ArchiveCorrupt."""
    count, places, kept = parts.take(), parts.take(), parts.take()
    exceptions = int.from_bytes(count, "little")
    if len(count) != 4 or exceptions > x.size:
        raise ArchiveCorrupt("a chunk has more exceptions than values")
    at = _places(unpack(places, exceptions), x.size)
    if exceptions:
        x.reshape(-1)[at] = integers.inflated(kept, exceptions, x.dtype)
    elif kept:
        raise ArchiveCorrupt("a chunk without exceptions holds some")


def _places(steps: Integers, count: int) -> Integers:
    at = np.cumsum(steps)
    if len(at) and not ((steps[1:] > 0).all() and steps[0] >= 0 and (steps < count).all()):
        raise ArchiveCorrupt("exceptions do not lie one after another")
    if len(at) and int(at[-1]) >= count:
        raise ArchiveCorrupt("an exception lies outside of its chunk")
    return at
