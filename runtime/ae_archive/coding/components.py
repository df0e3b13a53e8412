"""Principal components of integers, in integers: the same predictions on every machine.

Windows of rows become a few codes, their coordinates along the directions in which they vary most
(PCA). Directions are rounded to integers over a power of two, so that a prediction is a sum of
integers below 2^53, which no order of addition changes. Residuals can be stored beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import distribution_fit
from ae_archive.coding.blocks import cache_blocks
from ae_archive.coding.integers import FEW, Integers, pack, pack_repeats, unpack
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.row_coder import estimate_rows, pack_rows, unpack_rows
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
MAX_SIZE = 1024  # values of a window, whose third power is the work to find directions
_MAX_SHIFT = 14
# 2^20 * 2^22 * 2^10 components stay below 2^53.
_CODE, _DIRECTION = 1 << 20, 1 << 22
_SAMPLE = 4096  # windows that directions are found from
_WHOLE = 256  # values of a window, up to which all directions are found in any case
_LEADING, _TURNS = 64, 2  # directions of larger windows, and iterations to them
_COST_BITS = 10.0  # bits of a number in a direction


@dataclass(frozen=True)
class Directions:
    """middle (S,) of windows of S values, and the vectors (S, k) of the largest variances (k,).

    spread: variances of the S values, along all directions.
    """

    window: int
    middle: Floats
    vectors: Floats
    variances: Floats
    spread: Floats


@dataclass(frozen=True)
class Coded:
    """Codes (W, k), directions (S, k) and constant (S,), which predict rows.

    q = floor((codes @ directions.T + constant * 2^shift + 2^shift / 2) / 2^shift), cut to rows.
    """

    window: int
    codes: Integers
    directions: Integers
    constant: Integers
    shift: int

    def predicted(self, rows: int, columns: int) -> Integers:
        """Predicted rows (R, D). Raises ArchiveCorrupt where they lie beyond LIMIT."""
        directions = self.directions.T.astype(np.float64)
        constant = self.constant * 2.0**self.shift + (2.0**self.shift / 2)
        q = np.empty((len(self.codes), len(self.constant)), np.int64)
        for part in cache_blocks(*q.shape):
            sums = self.codes[part].astype(np.float64) @ directions
            sums += constant
            sums *= 2.0**-self.shift
            np.floor(sums, out=sums)
            used = sums.reshape(-1)[: rows * columns - part.start * q.shape[1]]
            if not -LIMIT < used.min() <= used.max() < LIMIT:
                raise ArchiveCorrupt("components lead to numbers beyond 2^28")
            q[part] = sums
        return q.reshape(-1, columns)[:rows]


def windows_of(q: NDArray[Any], window: int) -> NDArray[Any]:
    """Windows (W, window * D) of q (R, D), the last one filled up with the last row."""
    missing = -len(q) % window
    if missing:
        q = np.concatenate([q, np.repeat(q[-1:], missing, axis=0)])
    return q.reshape(len(q) // window, -1)


def sampled(rows: NDArray[Any], window: int) -> NDArray[Any]:
    """Rows of the windows, one after another, that directions of many rows are found from."""
    count = -(-len(rows) // window) // _SAMPLE
    if count <= 1:
        return rows
    return windows_of(rows, window)[::count].reshape(-1, rows.shape[1])


def directions_of(q: Integers, window: int, some: bool = False) -> Directions:
    """Directions of windows of q (R, D). some: of large windows, only the first of them."""
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
    """Largest variances, about, and their directions, by subspace iteration.

    N. Halko et al., "Finding structure with randomness", SIAM Review 53 (2011), algorithm 4.4.
    """
    count = min(_LEADING, *off.shape)
    random = np.random.default_rng(0).standard_normal((len(off), count))
    basis = np.linalg.qr(off.T @ random).Q
    for _ in range(_TURNS):
        basis = np.linalg.qr(off.T @ (off @ basis)).Q
    seen = off @ basis
    variances, turned = np.linalg.eigh(seen.T @ seen / len(off))
    return variances, basis @ turned


def coordinates(q: Integers, directions: Directions, count: int) -> Floats:
    """Coordinates (W, count) of windows of q (R, D) along the first directions."""
    off = windows_of(q, directions.window) - directions.middle
    return np.asarray(off @ directions.vectors[:, :count])


def code(places: Floats, directions: Directions, step: float) -> Coded:
    """Coordinates (W, k) rounded to steps, and the directions that they need."""
    count = places.shape[1]
    vectors = directions.vectors[:, :count]
    std = np.sqrt(directions.variances[:count].max(initial=0))
    wanted = np.log2(10 * max(std, 1) * np.sqrt(len(vectors))) - 2 * np.log2(step)
    room = np.log2(_DIRECTION / max(np.abs(vectors).max(initial=0) * step, 1)) - 1
    shift = int(np.clip(np.ceil(wanted), 0, max(0, min(_MAX_SHIFT, int(room)))))
    return Coded(
        directions.window,
        np.clip(np.rint(places / step), 1 - _CODE, _CODE - 1).astype(np.int64),
        np.rint(vectors * (step * 2.0**shift)).astype(np.int64),
        directions.middle.astype(np.int64),
        shift,
    )


def cheapest_count(directions: Directions, step: float, windows: int) -> int:
    """Number of directions of the fewest bits, where residuals of windows are stored, too.

    Codes, in steps, and residuals are taken as normal, with the variances that follow.
    """
    size, count = len(directions.middle), len(directions.variances)
    squares = np.square(directions.vectors)
    # Variance of each value (S,) that a direction explains, and that rounding its codes adds.
    explained = np.cumsum(squares * directions.variances, axis=1)
    rounding = np.cumsum(squares, axis=1) * (step**2 / 12)
    left = directions.spread[:, None] - np.hstack([np.zeros((size, 1)), explained - rounding])
    codes = np.append(0, np.cumsum(_normal_bits(directions.variances / step**2)))
    bits = windows * (codes + _normal_bits(left).sum(axis=0))
    return int(np.argmin(bits + _COST_BITS * size * np.arange(count + 1)))


def _normal_bits(variances: Floats) -> Floats:
    """Bits of integers of normal distributions, about."""
    return np.asarray(0.5 * np.log2(1 + 2 * np.pi * np.e * np.maximum(variances, 0)))


class Cheapest(NamedTuple):
    """Number of directions, the step of their codes, and the bytes of codes of all windows."""

    k: int
    step: float
    bytes: float


def cheapest_alone(directions: Directions, rmse: float, windows: float) -> Cheapest | None:
    """Fewest bytes for a target RMSE without residuals, by variances; None if it is too small.

    The error is what directions leave out and what rounding to steps adds: that gives each number
    of directions its step, and each direction a rate (Gaussian, at high resolution).
    """
    size, counts = len(directions.middle), np.arange(1, len(directions.variances) + 1)
    left = size * rmse**2 - (directions.spread.sum() - np.cumsum(directions.variances))
    step2 = 12 * left / counts
    usable = step2 > 0
    if not usable.any():
        return None
    step2 = np.where(usable, step2, 1)
    rates = 0.5 * np.log2(1 + 2 * np.pi * np.e * directions.variances / step2[:, None])
    codes = np.tril(rates).sum(axis=1) * windows
    best = int(np.argmin(np.where(usable, codes + _COST_BITS * size * counts, np.inf)))
    return Cheapest(int(counts[best]), float(np.sqrt(step2[best])), float(codes[best]) / 8)


def dump(coded: Coded, residuals: Integers | None) -> bytes:
    """Bytes of codes and directions, and of residuals (R, D) where these are stored."""
    head = [coded.window, coded.codes.shape[1], coded.shift, residuals is not None]
    return join(
        [
            b"".join(int(number).to_bytes(2, "little") for number in head),
            pack(coded.constant),
            pack(coded.directions.T),
            pack_rows(coded.codes) if coded.codes.size else b"",
            b"" if residuals is None else pack_rows(residuals),
        ]
    )


def estimate(coded: Coded, residuals: Integers, times: float) -> float:
    """Estimated bytes of `dump` for `times` as many rows."""
    if not coded.codes.size:
        return estimate_rows(residuals, times)
    numbers = estimate_rows(coded.codes, times) + estimate_rows(residuals, times)
    return estimate_directions(coded) + numbers


def estimate_directions(coded: Coded) -> float:
    """Estimated bytes of the directions."""
    line = coded.directions.T.reshape(-1, 1)
    size = distribution_fit.estimate(line)
    return min(size, len(pack_repeats(line))) if line.size <= FEW else size


def load(raw: bytes, rows: int, columns: int) -> Integers:
    """Rows q (R, D) of the bytes of `dump`. Raises ArchiveCorrupt."""
    parts = Parts(raw)
    head, constant, directions, codes, residuals = (parts.take() for _ in range(5))
    parts.end()
    if len(head) != 8:
        raise ArchiveCorrupt("components do not say of what")
    window, k, shift, has_residuals = np.frombuffer(head, "<u2").tolist()
    size = window * columns
    if not 1 <= size <= MAX_SIZE or k > size or shift > _MAX_SHIFT or has_residuals > 1:
        raise ArchiveCorrupt("components do not fit the rows")
    count = -(-rows // window)
    coded = Coded(
        window,
        unpack_rows(codes, count, k) if count * k else np.zeros((count, k), np.int64),
        unpack(directions, k * size).reshape(k, size).T,
        unpack(constant, size),
        shift,
    )
    for numbers, limit in ((coded.codes, _CODE), (coded.directions, _DIRECTION)):
        if numbers.size and int(np.abs(numbers).max()) >= limit:
            raise ArchiveCorrupt(f"components hold numbers beyond {limit:,}")
    if int(np.abs(coded.constant).max()) >= 2 * LIMIT:
        raise ArchiveCorrupt("components hold numbers beyond 2^29")
    q = coded.predicted(rows, columns)
    if has_residuals:
        q = q + unpack_rows(residuals, rows, columns)
        if q.size and int(np.abs(q).max()) >= LIMIT:
            raise ArchiveCorrupt("components lead to numbers beyond 2^28")
    elif residuals:
        raise ArchiveCorrupt("components hold more than they say")
    return q
