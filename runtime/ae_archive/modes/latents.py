"""Chunks by a decoder: quantised latents, and residuals where each value is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import MANY
from ae_archive.coding.grid import repeated, same_bits, steps_of, within
from ae_archive.coding.integers import Integers
from ae_archive.coding.outliers import pack_outliers, restore_outliers
from ae_archive.coding.parts import Parts, join
from ae_archive.coding.predictor import LIMIT
from ae_archive.coding.row_coder import pack_rows, unpack_rows
from ae_archive.error_bound import ErrorBound, factor_bytes, factor_of
from ae_runtime.errors import ArchiveCorrupt

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.decoder import Decoder
    from ae_archive.model.encoder import Encoder

Array = NDArray[Any]
Floats = NDArray[np.float64]
# Dead zones, shares of a step: latents are rounded up only beyond half a step and this much. What
# is nearer to the middle comes more often, and takes fewer bits. For a target RMSE.
_DEAD_ZONES = (0.0, 0.1, 0.2)
_FINER, _MOST = 4.0, 1024.0  # between the factors of the latents' steps that are tried
_HOPELESS = 2.0  # times the bytes of other modes, before widths of steps are tried
_TRIED = 1 << 15  # values that show, of many, what latents make of them


class Residuals:
    """Integers times steps that are added to a decoder's rows, the same on every machine.

    trusted (D,): columns in which the decoder is used: its error leaves at least half of the bound.
    Others are the integers alone. limits (D,): of this machine, the bound less the decoder error.
    """

    def __init__(self, decoder: Decoder, bound: ErrorBound) -> None:
        limits = bound.limits_at(1.0, len(bound.limits))
        error = np.broadcast_to(np.array(decoder.model.decoder_error, np.float64), limits.shape)
        self.exact, self.dtype = bound.exact, bound.dtype
        self.trusted = (error <= limits / 2) & ~self.exact
        self.limits = limits - np.where(self.trusted, error, 0.0)
        self.step = steps_of(self.limits, self.dtype)

    def of(self, x: Array, x_hat: Array) -> tuple[Integers, Integers]:
        """Residuals r (R, D), and the places of values that these cannot reach."""
        with np.errstate(over="ignore", invalid="ignore"):
            points = np.rint((x.astype(np.float64) - self._start(x_hat)) / self.step)
        usable = np.isfinite(points) & (np.abs(points) < LIMIT)
        r = np.where(usable, points, 0).astype(np.int64)
        decoded = self.values(r, x_hat)
        usable &= within(decoded, x, self.limits)
        usable &= ~self.exact | same_bits(decoded, x)
        if not usable.all():
            r = repeated(r, usable)
        return r, np.flatnonzero(~usable)

    def values(self, r: Integers, x_hat: Array) -> Array:
        """Values (R, D): a product and a sum of float64, rounded to the dtype."""
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


class _Rows(NamedTuple):
    """Rows x (R, D), the latents z (W, K) of their windows, and how they are to be stored.

    rate: bytes of a value in other modes.
    """

    x: Array
    z: NDArray[np.float32]
    decoder: Decoder
    bound: ErrorBound
    rate: float


class _Encoded(NamedTuple):
    """Payload, the factor of its latents' steps, and their dead zone."""

    payload: bytes
    factor: float
    dead_zone: float


def encode(x: Array, encoder: Encoder, bound: ErrorBound, rate: float = np.inf) -> bytes | None:
    """Payload of x (R, D) by the encoder's latents; None where these cannot store it.

    The smallest over the widths of the latents' steps. None, too, where x_hat is not steady enough
    for the decoder error. For a target RMSE there are no residuals. rate: bytes of a value in other
    modes; of many values, some show whether latents take fewer.
    """
    z, decoder = encoder.latents(x), encoder.decoder
    search = _coarsest if bound.is_rmse else _smallest
    rows, tried = _Rows(x, z, decoder, bound, rate), None
    if x.size > MANY:
        window = decoder.model.window or 1
        count = max(1, _TRIED // (window * x.shape[1]))
        first = (len(z) - count) // 2
        part = x[first * window : (first + count) * window]
        tried = search(rows._replace(x=part, z=z[first : first + count]), None)
        if tried is None or len(tried.payload) >= rate * part.size:
            return None
    best = search(rows, tried)
    if best is None or bound.is_rmse:
        return None if best is None else best.payload
    latents = decoder.latents(_quantised(z, decoder, best.factor), best.factor)
    steady = encoder.perturbed.steady(latents, decoder.decode(latents))
    return best.payload if steady[Residuals(decoder, bound).trusted].all() else None


def _smallest(rows: _Rows, like: _Encoded | None) -> _Encoded | None:
    """Latents and residuals, in the steps that make them smallest, or those of `like`."""
    x, z, decoder, bound, rate = rows
    residuals = Residuals(decoder, bound)
    if not residuals.trusted.any():
        return None

    def encoded_at(factor: float) -> _Encoded:
        q = _quantised(z, decoder, factor)
        x_hat = flat(decoder.rows(q, factor), x.shape)
        return _Encoded(_payload(x, q, factor, *residuals.of(x, x_hat)), factor, 0.0)

    if like is not None:
        return encoded_at(like.factor)
    best = encoded_at(1.0)
    if len(best.payload) > _HOPELESS * rate * x.size:
        return None
    for change in (1 / _FINER, _FINER):  # from there on, as long as it pays
        factor = 1.0
        while 1 / _MOST <= factor <= _MOST:
            factor *= change
            encoded = encoded_at(factor)
            if len(encoded.payload) >= len(best.payload):
                break
            best = encoded
        if best.factor != 1.0:
            break
    return best


def _coarsest(rows: _Rows, like: _Encoded | None) -> _Encoded | None:
    """Latents alone, in the widest steps that stay within the target RMSE."""
    x, z, decoder, bound, _ = rows
    every: list[_Encoded] = []
    near = None if like is None else like.factor
    for dead_zone in _DEAD_ZONES if like is None else (like.dead_zone,):

        def encode_at(factor: float, dead_zone: float = dead_zone) -> tuple[Integers, Array]:
            q = _quantised(z, decoder, factor, dead_zone)
            return q, _decoded_alone(x.shape, x.dtype, q, factor, decoder)

        widest = bound.widest_steps(encode_at, x, near, finest=2.0**-10)
        if widest is not None:
            near = widest.factor
            places = np.flatnonzero(bound.violations(widest.decoded, x))
            payload = _payload(x, widest.encoded, near, None, places)
            every.append(_Encoded(payload, near, dead_zone))
    return min(every, key=lambda encoded: len(encoded.payload), default=None)


def decode(payload: bytes, rows: int, columns: int, bound: ErrorBound, decoder: Decoder) -> Array:
    """Rows (R, D) of a payload. Raises ArchiveCorrupt, ArchiveError, MissingExtra."""
    parts = Parts(payload)
    raw, codes, numbers, outliers = (parts.take() for _ in range(4))
    parts.end()
    factor = factor_of(raw)
    windows = -(-rows // (decoder.model.window or 1))
    q = unpack_rows(codes, windows, len(decoder.model.steps))
    if bool(numbers) == bound.is_rmse:
        raise ArchiveCorrupt("a chunk of latents does not fit the error bound")
    if bound.is_rmse:
        x = _decoded_alone((rows, columns), bound.dtype, q, factor, decoder)
    else:
        r = unpack_rows(numbers, rows, columns)
        x_hat = flat(decoder.rows(q, factor), (rows, columns))
        x = Residuals(decoder, bound).values(r, x_hat)
    restore_outliers(x, outliers)
    return x


def flat(x_hat: Array, shape: tuple[int, ...]) -> Array:
    """First rows of windows, (R, D)."""
    return x_hat.reshape(-1, shape[1])[: shape[0]]


def _decoded_alone(
    shape: tuple[int, ...], dtype: np.dtype[Any], q: Integers, factor: float, decoder: Decoder
) -> Array:
    """x_hat (R, D) in the dtype."""
    return rounded(flat(decoder.rows(q, factor), shape).astype(np.float64), dtype)


def _quantised(
    z: NDArray[np.float32], decoder: Decoder, factor: float, dead_zone: float = 0.0
) -> Integers:
    """Latents in steps from the middle; up only beyond half a step and `dead_zone`."""
    steps = (z.astype(np.float64) - decoder.middle) / (factor * decoder.step)
    q = np.sign(steps) * np.floor(np.abs(steps) + 0.5 - dead_zone)
    return np.asarray(np.clip(q, 1 - LIMIT, LIMIT - 1).astype(np.int64))


def _payload(x: Array, q: Integers, factor: float, r: Integers | None, places: Integers) -> bytes:
    residuals = b"" if r is None else pack_rows(r)
    return join([factor_bytes(factor), pack_rows(q), residuals, pack_outliers(x, places)])
