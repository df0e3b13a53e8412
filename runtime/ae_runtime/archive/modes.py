"""The ways a chunk of rows can be stored, each of which gives back what was promised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import gridded, interpolated, latents, lossless
from ae_runtime.archive.numbers import guess_rows
from ae_runtime.archive.promise import Promise
from ae_runtime.archive.stretch import LONG, middle
from ae_runtime.errors import ArchiveCorrupt, ArchiveError

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_runtime.archive.decoder import Decoder
    from ae_runtime.archive.model import Writer

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
# Of the bytes of some rows on the grid: for all rows to be interpolated; told by components, too;
# and by these alone.
_WORTH_IT, _TOLD_BY_COMPONENTS, _SURELY = 0.99, 0.95, 0.8


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
    fitted = cache(lambda: gridded.fit(x, promise))
    by_components = cache(lambda: gridded.encode_components(x, promise, fitted))
    on_grid = smooth = told = True
    if x.size <= LONG:
        way, _ = interpolated.choose(x, promise, fitted().factor)
    else:
        part, of_part = _stretch(x, promise)
        fit = gridded.fit(part, of_part)
        way, size = interpolated.choose(part, of_part, fit.factor)
        rest = guess_rows(fit.made.q)
        smooth = every or size < _WORTH_IT * rest
        on_grid = every or not smooth
        if promise.mean:  # of which components may always be the smallest
            found = by_components()
            share = np.inf if found is None else len(found) / x.size * part.size / rest
        else:
            share = gridded.components_share(x, promise)
        share *= max(rest / size, 1)
        told = every or promise.mean or share < _TOLD_BY_COMPONENTS
        if not every and share < _SURELY:
            on_grid = smooth = False
    if on_grid:
        yield Chosen(GRID, gridded.encode(x, fitted()))
    for mode, encoded in (
        (COMPONENTS, by_components() if told else None),
        (INTERPOLATED, interpolated.encode(x, promise, way) if smooth else None),
    ):
        if encoded is not None:
            yield Chosen(mode, encoded)


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
