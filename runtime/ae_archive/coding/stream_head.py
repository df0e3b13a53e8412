"""First bytes of an entropy-coded stream: which distribution each column has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import ArchiveCorrupt

Integers = NDArray[np.int64]
MAX_MODELS = 16


class Model(NamedTuple):
    """Distribution of a column's numbers, given the mean magnitude of those before.

    rate: index in distributions.RATES, of how fast that mean follows. family: 0 for Laplace's
    distribution, others for Student's. offset: index in distributions.OFFSETS.
    """

    rate: int
    family: int
    offset: int


@dataclass(frozen=True)
class StreamHead:
    """models: at most MAX_MODELS. which (D,): model of each column.

    starts (D,): first mean magnitude of each column, in quarters of an octave. states_log2: binary
    logarithm of the number of interleaved states.
    """

    models: list[Model]
    which: Integers
    starts: Integers
    states_log2: int


def dump(head: StreamHead) -> bytes:
    """Bytes of a head: models, the model of each column unless that is clear, and starts."""
    columns, count = len(head.starts), len(head.models)
    one_start = columns > 1 and bool((head.starts == head.starts[0]).all())
    models = np.array([m.rate | m.family << 3 | m.offset << 6 for m in head.models])
    models[0] |= (count - 1) << 10 | one_start << 14
    which = head.which if 1 < count < columns else head.which[:0]
    starts = head.starts[:1] if one_start else head.starts
    return models.astype("<u2").tobytes() + bytes(which.tolist()) + bytes(starts.tolist())


def parse(stream: bytes, columns: int, states_log2: int) -> tuple[StreamHead, int]:
    """Head of a stream, and the place where it ends. Raises ArchiveCorrupt."""
    invalid = ArchiveCorrupt("a stream begins with no models that can be")
    first = int.from_bytes(stream[:2], "little")
    count, one_start = (first >> 10 & 15) + 1, first >> 14 & 1
    listed = columns if 1 < count < columns else 0
    at = 2 * count
    end = at + listed + (1 if one_start else columns)
    if len(stream) < end or count > columns or first >> 15:
        raise invalid
    raw = np.frombuffer(stream, "<u2", count).astype(np.int64)
    if (raw[1:] >> 10).any():
        raise invalid
    models = [Model(m & 7, m >> 3 & 7, m >> 6 & 15) for m in raw.tolist()]
    which = np.frombuffer(stream, np.uint8, listed, at).astype(np.int64)
    if listed == 0:
        which = np.arange(columns) if count > 1 else np.zeros(columns, np.int64)
    if (which >= count).any():
        raise invalid
    starts = np.frombuffer(stream[at + listed : end], np.uint8).astype(np.int64)
    return StreamHead(models, which, np.broadcast_to(starts, columns).copy(), states_log2), end
