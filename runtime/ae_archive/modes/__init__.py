"""The ways a chunk of rows can be stored, each of which gives back what was promised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.numbers import guess_rows
from ae_archive.coding.stretch import LONG, middle
from ae_archive.modes import coarse, gridded, interpolated, latents, lossless
from ae_archive.modes.coarse import Coarse
from ae_archive.promise import Promise
from ae_runtime.errors import ArchiveCorrupt, ArchiveError

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.decoder import Decoder
    from ae_archive.model.writer import Writer

Array = NDArray[Any]

RAW, LOSSLESS, GRID, COMPONENTS, LATENTS, INTERPOLATED = range(6)  # of the format, as the names
NAMES = {
    RAW: "raw",
    LOSSLESS: "lossless",
    GRID: "grid",
    COMPONENTS: "pca",
    LATENTS: "model",
    INTERPOLATED: "interpolation",
}
_FEW_BYTES = 1 << 14  # which guesses may be far from, and components are the best at
# Of the bytes on the grid, for rows to be interpolated; of the fewer of the two, for components to
# be tried, and for these to be enough.
_WORTH_IT, _TOLD, _ENOUGH = 0.99, 0.95, 0.93
# The last two for smooth rows, interpolated in so much of the grid's bytes and of their own: a part
# tells too many bytes there, the more so the smoother they are.
_SMOOTH, _SMALL, _TOLD_OF_SMOOTH, _ENOUGH_OF_SMOOTH = 0.7, 1 / 32, 1.5, 1 / 3


class Chosen(NamedTuple):
    """A way that a chunk can be stored."""

    mode: int
    payload: bytes


def encode(x: Array, promise: Promise, writer: Writer | None = None) -> Chosen:
    """The smallest way for x (R, D), decoded once, and held against the promise."""
    decoder = None if writer is None else writer.decoder
    for way in sorted(ways(x, promise, writer), key=lambda way: len(way.payload)):
        if len(way.payload) >= x.nbytes:
            break
        if promise.keeps(decode(way.mode, way.payload, x.shape, promise, decoder), x):
            return way
    return Chosen(RAW, x.tobytes())


def ways(x: Array, promise: Promise, writer: Writer | None = None) -> Iterator[Chosen]:
    """All ways for x (R, D) that may be the smallest, but for its bytes as they are."""
    smallest = x.nbytes
    if promise.has_grid:
        for way in classic(x, promise):
            smallest = min(smallest, len(way.payload))
            yield way
        codes = (
            None
            if writer is None
            else latents.encode(
                x,
                writer.encode(x),
                writer.decoder,
                promise,
                writer.moved,
                smallest / x.size,
            )
        )
        if codes is not None:
            yield Chosen(LATENTS, codes)
    if not promise.has_grid or lossless.guess(x) < 1.1 * smallest:
        yield Chosen(LOSSLESS, lossless.pack(x))


def classic(x: Array, promise: Promise, every: bool = False) -> Iterator[Chosen]:
    """The ways for x (R, D) that a promise makes smaller without a model.

    Of long x some rows tell which of them are made, unless every way is wanted.
    """
    part, of_part = (x, promise) if x.size <= LONG else _stretch(x, promise)
    fit = gridded.fit(part, of_part)
    times = x.size / part.size
    on_grid = guess_rows(fit.made.q, times)
    way, size = interpolated.choose(part, of_part, fit.factor, times, on_grid)
    alone = coarse.plans(x, promise) if promise.mean else []
    if part is x or every:
        likely = _Likely(True, True, 0.0, True, True, fit.factor)
    else:
        likely = _likely(x, promise, fit.factor, alone, size / on_grid)
    fitted = cache(lambda: fit if part is x else gridded.fit(x, promise, likely.factor))
    told = [
        gridded.encode_coarse(x, promise, alone) if likely.alone else None,
        gridded.encode_components(x, fitted()) if likely.components else None,
    ]
    made = [Chosen(COMPONENTS, encoded) for encoded in told if encoded is not None]
    least = min((len(one.payload) for one in made), default=np.inf)
    if least < likely.enough:
        yield from made
        return
    most = np.inf if part is x or every else least
    encoded = interpolated.encode(x, promise, way, most) if likely.interpolated else None
    if likely.grid or not (made or encoded):
        yield Chosen(GRID, gridded.encode(x, fitted()))
    yield from made
    if encoded is not None:
        yield Chosen(INTERPOLATED, encoded)


class _Likely(NamedTuple):
    """Which ways are made, and the factor of a grid, about.

    alone, components: components alone, and with what they leave. enough: bytes of these, below
    which the others are not made.
    """

    alone: bool
    components: bool
    enough: float
    interpolated: bool
    grid: bool
    factor: float


def _likely(
    x: Array, promise: Promise, factor: float, alone: list[Coarse], interpolated: float
) -> _Likely:
    """By what ways may take: interpolated, in bytes of rows on a grid of about this factor."""
    best, smooth = min(interpolated, 1), interpolated < _WORTH_IT
    if not (promise.mean or gridded.has_components(*x.shape)):
        return _Likely(False, False, 0.0, smooth, not smooth, factor)
    factor, made = gridded.fit(coarse.some(x, 1), promise, factor)
    on_grid = guess_rows(made.q, len(x) / len(made.q))
    others = max(best * on_grid, 1)
    components = gridded.guess_components(made.q, len(x)) / others
    by_alone = alone[0].bytes / others if alone else np.inf
    few = bool(alone) and alone[0].bytes < _FEW_BYTES
    told, enough = _TOLD, _ENOUGH
    if interpolated < _SMOOTH and interpolated * on_grid < _SMALL * x.nbytes:
        told, enough = _TOLD_OF_SMOOTH, _ENOUGH_OF_SMOOTH
    return _Likely(
        alone=few or by_alone < min(told, components),
        components=components < min(told, by_alone),
        enough=max(_FEW_BYTES, enough * others),
        interpolated=smooth,
        grid=not smooth,
        factor=factor,
    )


def _stretch(x: Array, promise: Promise) -> tuple[Array, Promise]:
    """Some of x (R, D), and what is promised of it."""
    rows, *places = middle((len(x), *promise.row_shape))
    columns = np.arange(x.shape[1]).reshape(promise.row_shape)[tuple(places)]
    bound = promise.bound[columns.reshape(-1)] if len(promise.bound) else promise.bound
    part = x[rows][:, columns.reshape(-1)]
    return part, replace(promise, bound=bound, row_shape=columns.shape)


def decode(
    mode: int,
    payload: bytes,
    shape: tuple[int, int],
    promise: Promise,
    decoder: Decoder | None = None,
) -> Array:
    """The rows (R, D) of a payload.

    Raises ArchiveCorrupt, ArchiveError without the decoder that they need or where it is not to be
    trusted, MissingExtra without pcodec or onnxruntime.
    """
    rows, columns = shape
    if mode == RAW:
        if len(payload) != rows * columns * promise.dtype.itemsize:
            raise ArchiveCorrupt("a raw chunk does not have the bytes of its rows")
        return np.frombuffer(payload, promise.dtype).reshape(shape).copy()
    if mode == LOSSLESS:
        return lossless.unpack(payload, shape, promise.dtype)
    if mode in (GRID, COMPONENTS) and promise.has_grid:
        return gridded.decode(payload, rows, columns, promise, mode == COMPONENTS)
    if mode == INTERPOLATED and promise.has_grid:
        return interpolated.decode(payload, rows, columns, promise)
    if mode == LATENTS and promise.has_grid:
        if decoder is None:
            raise ArchiveError("it needs the model that it was written with; give its bundle")
        return latents.decode(payload, rows, columns, promise, decoder)
    raise ArchiveCorrupt(f"a chunk is stored in the unknown mode {mode}")
