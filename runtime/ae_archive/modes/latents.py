"""Rows by a decoder: latents in whole steps, and what is left of the rows where that is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.exceptions import pack_exceptions, put_back
from ae_archive.coding.grid import repeated, steps_of, within
from ae_archive.coding.integers import Integers
from ae_archive.coding.numbers import pack_rows, unpack_rows
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.stretch import LONG
from ae_archive.model.decoder import Decoder
from ae_archive.model.margin import Moved
from ae_archive.promise import Promise, factor_bytes, factor_of
from ae_runtime.errors import ArchiveCorrupt

Array = NDArray[Any]
Floats = NDArray[np.float64]
# By how much of a step latents must be past the half to be rounded up, of a mean error: what is
# nearer to the middle comes more often, and takes fewer bits (a quantizer with a dead zone).
_ZONES = (0.0, 0.1, 0.2)
_FINER, _MOST = 4.0, 1024.0  # between the factors of the latents' steps that are tried
_HOPELESS = 2.0  # times the bytes of other ways, before widths of steps are tried
_TRIED = 1 << 15  # of many values, which show what latents make of them


class Leftover:
    """What is added to a decoder's rows: whole numbers times steps that other machines bear.

    trusted (D,): columns in which the decoder is used at all: its margin there leaves at least half
    of the bound. Others are told by the whole numbers alone. bound (D,): of this machine, the
    promised one less the margin.
    """

    def __init__(self, decoder: Decoder, promise: Promise) -> None:
        bound = promise.bound_at(1.0, len(promise.bound))
        margin = np.broadcast_to(np.array(decoder.model.margin, np.float64), bound.shape)
        self.exact, self.dtype = promise.exact, promise.dtype
        self.trusted = (margin <= bound / 2) & ~self.exact
        self.bound = bound - np.where(self.trusted, margin, 0.0)
        self.step = steps_of(self.bound, self.dtype)

    def of(self, x: Array, x_hat: Array) -> tuple[Integers, Integers]:
        """(r (R, D), places of values that r cannot tell)."""
        with np.errstate(over="ignore", invalid="ignore"):
            points = np.rint((x.astype(np.float64) - self._start(x_hat)) / self.step)
        usable = np.isfinite(points) & (np.abs(points) < LIMIT)
        r = np.where(usable, points, 0).astype(np.int64)
        found = self.values(r, x_hat)
        usable &= within(found, x, self.bound)
        usable &= ~self.exact | (found.view(f"u{x.itemsize}") == x.view(f"u{x.itemsize}"))
        if not usable.all():
            r = repeated(r, usable)
        return r, np.flatnonzero(~usable)

    def values(self, r: Integers, x_hat: Array) -> Array:
        """(R, D): a product and a sum of float64, rounded to the dtype."""
        return rounded(self._start(x_hat) + r * self.step, self.dtype)

    def _start(self, x_hat: Array) -> Floats:
        return np.where(self.trusted, x_hat, 0.0).astype(np.float64)


def rounded(exact: Floats, dtype: np.dtype[Any]) -> Array:
    """Values of the dtype; of integers the nearest, within their range."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind != "f":
            limits = np.iinfo(dtype)
            exact = np.clip(np.rint(np.nan_to_num(exact)), limits.min, limits.max)
        return exact.astype(dtype)


class _Task(NamedTuple):
    """Rows x (R, D), the latents z (W, K) of their windows, and what is asked of them.

    rate: bytes of a value in other ways.
    """

    x: Array
    z: NDArray[np.float32]
    decoder: Decoder
    promise: Promise
    rate: float


class _Found(NamedTuple):
    """A payload, and what it was made with: the factor of the latents' steps, and their zone."""

    payload: bytes
    factor: float
    zone: float


def encode(
    x: Array,
    z: NDArray[np.float32],
    decoder: Decoder,
    promise: Promise,
    moved: Moved,
    rate: float = np.inf,
) -> bytes | None:
    """Of x (R, D), whose windows have the latents z (W, K); None where these cannot tell it.

    The smallest over the widths of the latents' steps, unless its rows are too steep for the
    decoder's margin, as `moved` tells. Of a mean error, latents alone. rate: bytes of a value in
    other ways; of many values, some show whether latents take fewer.
    """
    search = _coarsest if promise.mean else _smallest
    task, tried = _Task(x, z, decoder, promise, rate), None
    if x.size > LONG:
        window = decoder.model.window or 1
        count = max(1, _TRIED // (window * x.shape[1]))
        first = (len(z) - count) // 2
        part = x[first * window : (first + count) * window]
        tried = search(task._replace(x=part, z=z[first : first + count]), None)
        if tried is None or len(tried.payload) >= rate * part.size:
            return None
    found = search(task, tried)
    if found is None or promise.mean:
        return None if found is None else found.payload
    latents = decoder.latents(_steps(z, decoder, found.factor), found.factor)
    steady = moved.bear(latents, decoder.decode(latents))
    return found.payload if steady[Leftover(decoder, promise).trusted].all() else None


def _smallest(task: _Task, as_in: _Found | None) -> _Found | None:
    """Latents and what they leave, by the width of steps that makes them smallest, or as in."""
    x, z, decoder, promise, rate = task
    left = Leftover(decoder, promise)
    if not left.trusted.any():
        return None

    def found_at(factor: float) -> _Found:
        q = _steps(z, decoder, factor)
        x_hat = flat(decoder.rows(q, factor), x.shape)
        return _Found(_payload(x, q, factor, *left.of(x, x_hat)), factor, 0.0)

    if as_in is not None:
        return found_at(as_in.factor)
    best = found_at(1.0)
    if len(best.payload) > _HOPELESS * rate * x.size:
        return None
    for way in (1 / _FINER, _FINER):  # from there on, as long as it pays
        factor = 1.0
        while 1 / _MOST <= factor <= _MOST:
            factor *= way
            found = found_at(factor)
            if len(found.payload) >= len(best.payload):
                break
            best = found
        if best.factor != 1.0:
            break
    return best


def _coarsest(task: _Task, as_in: _Found | None) -> _Found | None:
    """Latents alone, in the widest steps that keep the root mean square error."""
    x, z, decoder, promise, _ = task
    every: list[_Found] = []
    near = None if as_in is None else as_in.factor
    for zone in _ZONES if as_in is None else (as_in.zone,):

        def tell(factor: float, zone: float = zone) -> tuple[Integers, Array]:
            q = _steps(z, decoder, factor, zone)
            return q, _alone(x.shape, x.dtype, q, factor, decoder)

        kept = promise.widest(tell, x, near, finest=2.0**-10)
        if kept is not None:
            near = kept.factor
            places = np.flatnonzero(promise.broken(kept.values, x))
            payload = _payload(x, kept.told, near, None, places)
            every.append(_Found(payload, near, zone))
    return min(every, key=lambda found: len(found.payload), default=None)


def decode(payload: bytes, rows: int, columns: int, promise: Promise, decoder: Decoder) -> Array:
    """The rows (R, D). Raises ArchiveCorrupt, ArchiveError, MissingExtra."""
    parts = Parts(payload)
    raw, codes, numbers, kept = (parts.take() for _ in range(4))
    parts.end()
    factor = factor_of(raw)
    windows = -(-rows // (decoder.model.window or 1))
    q = unpack_rows(codes, windows, len(decoder.model.steps))
    if bool(numbers) == promise.mean:
        raise ArchiveCorrupt("a chunk of latents holds what was not promised")
    if promise.mean:
        x = _alone((rows, columns), promise.dtype, q, factor, decoder)
    else:
        left = Leftover(decoder, promise)
        r = unpack_rows(numbers, rows, columns)
        x = left.values(r, flat(decoder.rows(q, factor), (rows, columns)))
    put_back(x, kept)
    return x


def flat(x_hat: Array, shape: tuple[int, ...]) -> Array:
    """The first rows of windows, (R, D)."""
    return x_hat.reshape(-1, shape[1])[: shape[0]]


def _alone(
    shape: tuple[int, ...], dtype: np.dtype[Any], q: Integers, factor: float, decoder: Decoder
) -> Array:
    """x_hat (R, D) in the dtype."""
    return rounded(flat(decoder.rows(q, factor), shape).astype(np.float64), dtype)


def _steps(z: NDArray[np.float32], decoder: Decoder, factor: float, zone: float = 0.0) -> Integers:
    """Latents in steps from the middle; up only beyond half a step and `zone`."""
    steps = (z.astype(np.float64) - decoder.middle) / (factor * decoder.step)
    q = np.sign(steps) * np.floor(np.abs(steps) + 0.5 - zone)
    whole: Integers = np.clip(q, 1 - LIMIT, LIMIT - 1).astype(np.int64)
    return whole


def _payload(x: Array, q: Integers, factor: float, r: Integers | None, places: Integers) -> bytes:
    return join(
        [
            factor_bytes(factor),
            pack_rows(q),
            b"" if r is None else pack_rows(r),
            pack_exceptions(x, places),
        ]
    )
