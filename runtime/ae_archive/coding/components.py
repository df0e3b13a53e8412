"""Principal components of whole numbers, in whole numbers: the same predictions on every machine.

Windows of rows are told by a few numbers, their coordinates along the directions in which they vary
most (PCA). Directions are rounded to whole numbers over a power of two, so that a prediction is a
sum of whole numbers below 2^53, which no order of addition changes. What is left can be stored
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import lawfit
from ae_archive.coding.integers import FEW, Integers, pack, repeats, unpack
from ae_archive.coding.numbers import guess_rows, pack_rows, unpack_rows
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.stretch import cached
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
MAX_SIZE = 1024  # values of a window: its directions are found by an effort of the third power
_MAX_SHIFT = 14
# 2^20 * 2^22 * 2^10 components stay below 2^53.
_CODE, _DIRECTION = 1 << 20, 1 << 22
_SAMPLE = 4096  # windows that directions are found from
_WHOLE = 256  # values of a window, of which all directions are found, in any case
_LEADING, _TURNS = 64, 2  # how many of these, and iterations to them
_COST_BITS = 10.0  # of a number in a direction


@dataclass(frozen=True)
class Directions:
    """middle (S,), and the directions (S, k) of the largest variances (k,) of windows of S.

    spread: variances of the S values, of which directions that are not here have their part.
    """

    window: int
    middle: Floats
    vectors: Floats
    variances: Floats
    spread: Floats


@dataclass(frozen=True)
class Coded:
    """q = floor((codes @ directions.T + constant * 2^shift + half) / 2^shift), cut to rows.

    codes: (W, k). directions: (S, k). constant: (S,).
    """

    window: int
    codes: Integers
    directions: Integers
    constant: Integers
    shift: int

    def predicted(self, rows: int, columns: int) -> Integers:
        """(R, D). Raises ArchiveCorrupt where it leads beyond LIMIT."""
        directions = self.directions.T.astype(np.float64)
        constant = self.constant * 2.0**self.shift + (2.0**self.shift / 2)
        q = np.empty((len(self.codes), len(self.constant)), np.int64)
        for part in cached(*q.shape):
            sums = self.codes[part].astype(np.float64) @ directions
            sums += constant
            sums *= 2.0**-self.shift
            np.floor(sums, out=sums)
            told = sums.reshape(-1)[: rows * columns - part.start * q.shape[1]]
            if not -LIMIT < told.min() <= told.max() < LIMIT:
                raise ArchiveCorrupt("components lead to numbers beyond 2^28")
            q[part] = sums
        return q.reshape(-1, columns)[:rows]


def windows_of(q: NDArray[Any], window: int) -> NDArray[Any]:
    """(W, window * D) of q (R, D), the last window filled up with the last row."""
    missing = -len(q) % window
    if missing:
        q = np.concatenate([q, np.repeat(q[-1:], missing, axis=0)])
    return q.reshape(len(q) // window, -1)


def sampled(rows: NDArray[Any], window: int) -> NDArray[Any]:
    """Of many rows (R, D) those windows, one after another, that directions are found from."""
    count = -(-len(rows) // window) // _SAMPLE
    if count <= 1:
        return rows
    return windows_of(rows, window)[::count].reshape(-1, rows.shape[1])


def find(q: Integers, window: int, some: bool = False) -> Directions:
    """The directions of windows of q (R, D); or some, the first of them, where these are large."""
    rows = windows_of(sampled(q, window), window).astype(np.float64)
    middle = np.rint(rows.mean(axis=0))
    off = rows - middle
    if some and off.shape[1] > _WHOLE:
        variances, vectors = _leading(off)
    elif len(off) < off.shape[1]:  # fewer windows than values: the same directions from the others
        variances, left = np.linalg.eigh(off @ off.T / len(off))
        vectors = off.T @ left / np.sqrt(np.maximum(variances * len(off), 1e-12))
    else:
        variances, vectors = np.linalg.eigh(off.T @ off / len(off))
    order = np.argsort(-variances)
    variances = np.maximum(variances[order], 0)
    spread = np.square(off).sum(axis=0) / len(off)
    return Directions(window, middle, vectors[:, order], variances, spread)


def _leading(off: Floats) -> tuple[Floats, Floats]:
    """About the variances and directions that are the largest, by subspace iteration.

    N. Halko et al., "Finding structure with randomness", SIAM Review 53 (2011), algorithm 4.4.
    """
    count = min(_LEADING, *off.shape)
    some = np.random.default_rng(0).standard_normal((len(off), count))
    found = np.linalg.qr(off.T @ some).Q
    for _ in range(_TURNS):
        found = np.linalg.qr(off.T @ (off @ found)).Q
    seen = off @ found
    variances, turned = np.linalg.eigh(seen.T @ seen / len(off))
    return variances, found @ turned


def coordinates(q: Integers, found: Directions, kept: int) -> Floats:
    """Of windows of q (R, D) along the first `kept` directions, (W, kept)."""
    off = windows_of(q, found.window) - found.middle
    return np.asarray(off @ found.vectors[:, :kept])


def code(places: Floats, found: Directions, step: float) -> Coded:
    """Coordinates (W, k) in steps."""
    kept = places.shape[1]
    vectors, deviation = found.vectors[:, :kept], np.sqrt(found.variances[:kept].max(initial=0))
    wanted = np.log2(10 * max(deviation, 1) * np.sqrt(len(vectors))) - 2 * np.log2(step)
    room = np.log2(_DIRECTION / max(np.abs(vectors).max(initial=0) * step, 1)) - 1
    shift = int(np.clip(np.ceil(wanted), 0, max(0, min(_MAX_SHIFT, int(room)))))
    return Coded(
        found.window,
        np.clip(np.rint(places / step), 1 - _CODE, _CODE - 1).astype(np.int64),
        np.rint(vectors * (step * 2.0**shift)).astype(np.int64),
        found.middle.astype(np.int64),
        shift,
    )


def worth(found: Directions, step: float, windows: int) -> int:
    """The number of directions of the fewest bits, where what they leave of windows is stored.

    Codes, in steps, and what is left of each value count as normal, of the variances that follow.
    """
    size, kept = len(found.middle), len(found.variances)
    squares = np.square(found.vectors)
    # Of each value (S,) what a direction takes away, and what rounding its codes brings back.
    taken = np.cumsum(squares * found.variances, axis=1)
    rounding = np.cumsum(squares, axis=1) * (step**2 / 12)
    left = found.spread[:, None] - np.hstack([np.zeros((size, 1)), taken - rounding])
    codes = np.append(0, np.cumsum(_normal_bits(found.variances / step**2)))
    bits = windows * (codes + _normal_bits(left).sum(axis=0))
    return int(np.argmin(bits + _COST_BITS * size * np.arange(kept + 1)))


def _normal_bits(variances: Floats) -> Floats:
    """Of whole numbers of a normal law, about."""
    return np.asarray(0.5 * np.log2(1 + 2 * np.pi * np.e * np.maximum(variances, 0)))


class Likely(NamedTuple):
    """A number of directions, the step of their codes, and the bytes of codes of all windows."""

    kept: int
    step: float
    bytes: float


def likely(found: Directions, error: float, windows: float) -> Likely | None:
    """The fewest bytes for a root mean square error, by variances; None where that is too small.

    What is left out and what rounding to steps adds make the error; each number of directions has
    its step so, and each direction then a rate (Gaussian, at high resolution).
    """
    size, kept = len(found.middle), np.arange(1, len(found.variances) + 1)
    left = size * error**2 - (found.spread.sum() - np.cumsum(found.variances))
    step2 = 12 * left / kept
    usable = step2 > 0
    if not usable.any():
        return None
    step2 = np.where(usable, step2, 1)
    rates = 0.5 * np.log2(1 + 2 * np.pi * np.e * found.variances / step2[:, None])
    codes = np.tril(rates).sum(axis=1) * windows
    best = int(np.argmin(np.where(usable, codes + _COST_BITS * size * kept, np.inf)))
    return Likely(int(kept[best]), float(np.sqrt(step2[best])), float(codes[best]) / 8)


def dump(coded: Coded, left: Integers | None) -> bytes:
    """The bytes of codes and directions, and of what is left of the rows where that is kept."""
    head = [coded.window, coded.codes.shape[1], coded.shift, left is not None]
    return join(
        [
            b"".join(int(number).to_bytes(2, "little") for number in head),
            pack(coded.constant),
            pack(coded.directions.T),
            pack_rows(coded.codes) if coded.codes.size else b"",
            b"" if left is None else pack_rows(left),
        ]
    )


def guess(coded: Coded, left: Integers, times: float) -> float:
    """The bytes of `dump`, about, and sooner, of so many times as many rows."""
    if not coded.codes.size:
        return guess_rows(left, times)
    numbers = guess_rows(coded.codes, times) + guess_rows(left, times)
    return guess_directions(coded) + numbers


def guess_directions(coded: Coded) -> float:
    """Their bytes, about."""
    line = coded.directions.T.reshape(-1, 1)
    size = lawfit.guess(line)
    return min(size, len(repeats(line))) if line.size <= FEW else size


def load(raw: bytes, rows: int, columns: int) -> Integers:
    """The rows q (R, D) of `dump`. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, constant, directions, codes, left = (parts.take() for _ in range(5))
    parts.end()
    if len(head) != 8:
        raise ArchiveCorrupt("components do not say of what")
    window, kept, shift, has_left = np.frombuffer(head, "<u2").tolist()
    size = window * columns
    if not 1 <= size <= MAX_SIZE or kept > size or shift > _MAX_SHIFT or has_left > 1:
        raise ArchiveCorrupt("components do not fit the rows")
    count = -(-rows // window)
    coded = Coded(
        window,
        unpack_rows(codes, count, kept) if count * kept else np.zeros((count, kept), np.int64),
        unpack(directions, kept * size).reshape(kept, size).T,
        unpack(constant, size),
        shift,
    )
    for numbers, limit in ((coded.codes, _CODE), (coded.directions, _DIRECTION)):
        if numbers.size and int(np.abs(numbers).max()) >= limit:
            raise ArchiveCorrupt(f"components hold numbers beyond {limit:,}")
    if int(np.abs(coded.constant).max()) >= 2 * LIMIT:
        raise ArchiveCorrupt("components hold numbers beyond 2^29")
    q = coded.predicted(rows, columns)
    if has_left:
        q = q + unpack_rows(left, rows, columns)
        if q.size and int(np.abs(q).max()) >= LIMIT:
            raise ArchiveCorrupt("components lead to numbers beyond 2^28")
    elif left:
        raise ArchiveCorrupt("components hold more than they say")
    return q
