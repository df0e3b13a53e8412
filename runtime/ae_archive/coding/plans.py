"""How a stream of numbers is coded, as it says at its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import ArchiveCorrupt

Integers = NDArray[np.int64]
MAX_MODELS = 16


class Model(NamedTuple):
    """How the numbers of a column are distributed, given those before."""

    rate: int  # of laws.RATES
    law: int
    offset: int  # of laws.OFFSETS, from 0


@dataclass(frozen=True)
class Plan:
    """What a stream begins with. models: at most MAX_MODELS. which: model of each column.

    starts: (D,) quarter of an octave that a column begins with. lanes: their binary logarithm.
    """

    models: list[Model]
    which: Integers
    starts: Integers
    lanes: int


def dump(plan: Plan) -> bytes:
    """2 bytes for each model; of each column its model, unless each has its own, or all one."""
    columns, count = len(plan.starts), len(plan.models)
    one_start = columns > 1 and bool((plan.starts == plan.starts[0]).all())
    head = np.array([m.rate | m.law << 3 | m.offset << 6 for m in plan.models])
    head[0] |= (count - 1) << 10 | one_start << 14
    which = plan.which if 1 < count < columns else plan.which[:0]
    starts = plan.starts[:1] if one_start else plan.starts
    return head.astype("<u2").tobytes() + bytes(which.tolist()) + bytes(starts.tolist())


def parse(stream: bytes, columns: int, lanes: int) -> tuple[Plan, int]:
    """What a stream begins with, and where it ends. Raises ArchiveCorrupt."""
    wrong = ArchiveCorrupt("a stream begins with no models that can be")
    first = int.from_bytes(stream[:2], "little")
    count, one_start = (first >> 10 & 15) + 1, first >> 14 & 1
    listed = columns if 1 < count < columns else 0
    at = 2 * count
    end = at + listed + (1 if one_start else columns)
    if len(stream) < end or count > columns or first >> 15:
        raise wrong
    head = np.frombuffer(stream, "<u2", count).astype(np.int64)
    if (head[1:] >> 10).any():
        raise wrong
    models = [Model(m & 7, m >> 3 & 7, m >> 6 & 15) for m in head.tolist()]
    which = np.frombuffer(stream, np.uint8, listed, at).astype(np.int64)
    if listed == 0:
        which = np.arange(columns) if count > 1 else np.zeros(columns, np.int64)
    if (which >= count).any():
        raise wrong
    starts = np.frombuffer(stream[at + listed : end], np.uint8).astype(np.int64)
    return Plan(models, which, np.broadcast_to(starts, columns).copy(), lanes), end
