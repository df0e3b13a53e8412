"""Values that a chunk keeps as they were: where they are, and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import integers
from ae_runtime.archive.integers import Integers, pack, unpack
from ae_runtime.archive.parts import Parts, join
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]


def pack_exceptions(x: Array, places: Integers) -> bytes:
    """How many, where, and what, as one part; no bytes for none. places: in C order of x (R, D)."""
    if not len(places):
        return b""
    kept = x.reshape(-1)[places]
    count = len(kept).to_bytes(4, "little")
    return join([count, pack(np.diff(places, prepend=0)), integers.deflate(kept)])


def put_back(x: Array, raw: bytes) -> None:
    """Write what is kept into x (R, D). Raises ArchiveCorrupt."""
    if not raw:
        return
    parts = Parts(raw)
    count, places, kept = parts.take(), parts.take(), parts.take()
    parts.end()
    exceptions = int.from_bytes(count, "little")
    if len(count) != 4 or not 1 <= exceptions <= x.size:
        raise ArchiveCorrupt("a chunk has more exceptions than values")
    at = _places(unpack(places, exceptions), x.size)
    x.reshape(-1)[at] = integers.inflated(kept, exceptions, x.dtype)


def _places(steps: Integers, count: int) -> Integers:
    at = np.cumsum(steps)
    if len(at) and not ((steps[1:] > 0).all() and steps[0] >= 0 and (steps < count).all()):
        raise ArchiveCorrupt("exceptions do not lie one after another")
    if len(at) and int(at[-1]) >= count:
        raise ArchiveCorrupt("an exception lies outside of its chunk")
    return at
