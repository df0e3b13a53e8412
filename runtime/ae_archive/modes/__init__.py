"""Modes: the ways to store a chunk of rows, the smallest of which is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import MANY, middle_block
from ae_archive.coding.row_coder import estimate_rows
from ae_archive.error_bound import ErrorBound
from ae_archive.modes import components_alone, gridded, interpolated, latents, lossless
from ae_archive.modes.components_alone import Plan
from ae_runtime.errors import ArchiveCorrupt, ArchiveError

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.decoder import Decoder
    from ae_archive.model.encoder import Encoder

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
_FEW_BYTES = 1 << 14  # bytes, below which estimates may be far off, and components are the best
# Shares: of the bytes on the grid, for rows to be interpolated; of the fewer of the two, for
# components to be tried, and for these to be enough.
_WORTH_IT, _WORTH_COMPONENTS, _ENOUGH = 0.99, 0.95, 0.93
# The last two for smooth rows, interpolated in so much of the grid's bytes and of their own: a
# sample takes too many bytes there, the more so the smoother they are.
_SMOOTH, _SMALL, _WORTH_OF_SMOOTH, _ENOUGH_OF_SMOOTH = 0.7, 1 / 32, 1.5, 1 / 3


class Way(NamedTuple):
    """Mode of a chunk, and the payload in it."""

    mode: int
    payload: bytes


def encode(x: Array, bound: ErrorBound, encoder: Encoder | None = None) -> Way:
    """Smallest way to store x (R, D), decoded once, and held against the error bound."""
    decoder = None if encoder is None else encoder.decoder
    for way in sorted(ways(x, bound, encoder), key=lambda way: len(way.payload)):
        if len(way.payload) >= x.nbytes:
            break
        if bound.holds(decode(way.mode, way.payload, x.shape, bound, decoder), x):
            return way
    return Way(RAW, x.tobytes())


def ways(x: Array, bound: ErrorBound, encoder: Encoder | None = None) -> Iterator[Way]:
    """Ways to store x (R, D) that may be the smallest, but for its bytes as they are."""
    smallest = x.nbytes
    if bound.has_grid:
        for way in without_model(x, bound):
            smallest = min(smallest, len(way.payload))
            yield way
        if encoder is not None:
            payload = latents.encode(x, encoder, bound, smallest / x.size)
            if payload is not None:
                yield Way(LATENTS, payload)
    if not bound.has_grid or lossless.estimate(x) < 1.1 * smallest:
        yield Way(LOSSLESS, lossless.pack(x))


def without_model(x: Array, bound: ErrorBound, every: bool = False) -> Iterator[Way]:
    """Ways to store x (R, D) that an error bound makes smaller without a model.

    Of many values a sample shows which of them are made, unless every way is wanted.
    """
    sample, of_sample = (x, bound) if x.size <= MANY else _sample(x, bound)
    fit = gridded.fit(sample, of_sample)
    times = x.size / sample.size
    on_grid = estimate_rows(fit.gridded.q, times)
    way, size = interpolated.choose(sample, of_sample, fit.factor, times, on_grid)
    plans = components_alone.plans(x, bound) if bound.is_rmse else []
    if sample is x or every:
        likely = _Likely(True, True, 0.0, True, True, fit.factor)
    else:
        likely = _likely(x, bound, fit.factor, plans, size / on_grid)
    fitted = cache(lambda: fit if sample is x else gridded.fit(x, bound, likely.factor))
    by_components = [
        gridded.encode_components_alone(x, bound, plans) if likely.alone else None,
        gridded.encode_components(x, fitted()) if likely.components else None,
    ]
    made = [Way(COMPONENTS, payload) for payload in by_components if payload is not None]
    least = min((len(one.payload) for one in made), default=np.inf)
    if least < likely.enough:
        yield from made
        return
    most = np.inf if sample is x or every else least
    payload = interpolated.encode(x, bound, way, most) if likely.interpolated else None
    if likely.grid or not (made or payload):
        yield Way(GRID, gridded.encode(x, fitted()))
    yield from made
    if payload is not None:
        yield Way(INTERPOLATED, payload)


class _Likely(NamedTuple):
    """Ways that are made, and the factor of a grid, about.

    alone, components: components alone, and with residuals. enough: bytes of these, below which
    the others are not made.
    """

    alone: bool
    components: bool
    enough: float
    interpolated: bool
    grid: bool
    factor: float


def _likely(
    x: Array, bound: ErrorBound, factor: float, plans: list[Plan], interpolated: float
) -> _Likely:
    """Ways that may be the smallest for x (R, D).

    factor: of a grid, about. interpolated: bytes so, as a share of those on the grid.
    """
    best, smooth = min(interpolated, 1), interpolated < _WORTH_IT
    if not (bound.is_rmse or gridded.has_components(*x.shape)):
        return _Likely(False, False, 0.0, smooth, not smooth, factor)
    factor, sample = gridded.fit(components_alone.sample_of(x, 1), bound, factor)
    on_grid = estimate_rows(sample.q, len(x) / len(sample.q))
    others = max(best * on_grid, 1)
    components = gridded.estimate_components(sample.q, len(x)) / others
    alone = plans[0].bytes / others if plans else np.inf
    few = bool(plans) and plans[0].bytes < _FEW_BYTES
    worth, enough = _WORTH_COMPONENTS, _ENOUGH
    if interpolated < _SMOOTH and interpolated * on_grid < _SMALL * x.nbytes:
        worth, enough = _WORTH_OF_SMOOTH, _ENOUGH_OF_SMOOTH
    return _Likely(
        alone=few or alone < min(worth, components),
        components=components < min(worth, alone),
        enough=max(_FEW_BYTES, enough * others),
        interpolated=smooth,
        grid=not smooth,
        factor=factor,
    )


def _sample(x: Array, bound: ErrorBound) -> tuple[Array, ErrorBound]:
    """Middle of x (R, D), and its error bound."""
    rows, *places = middle_block((len(x), *bound.row_shape))
    columns = np.arange(x.shape[1]).reshape(bound.row_shape)[tuple(places)]
    limits = bound.limits[columns.reshape(-1)] if len(bound.limits) else bound.limits
    sample = x[rows][:, columns.reshape(-1)]
    return sample, replace(bound, limits=limits, row_shape=columns.shape)


def decode(
    mode: int,
    payload: bytes,
    shape: tuple[int, int],
    bound: ErrorBound,
    decoder: Decoder | None = None,
) -> Array:
    """Rows (R, D) of a payload.

    Raises ArchiveCorrupt, ArchiveError without the decoder that they need or where it is not to be
    trusted, MissingExtra without pcodec or onnxruntime.
    """
    rows, columns = shape
    if mode == RAW:
        if len(payload) != rows * columns * bound.dtype.itemsize:
            raise ArchiveCorrupt("a raw chunk does not have the bytes of its rows")
        return np.frombuffer(payload, bound.dtype).reshape(shape).copy()
    if mode == LOSSLESS:
        return lossless.unpack(payload, shape, bound.dtype)
    if mode in (GRID, COMPONENTS) and bound.has_grid:
        return gridded.decode(payload, rows, columns, bound, mode == COMPONENTS)
    if mode == INTERPOLATED and bound.has_grid:
        return interpolated.decode(payload, rows, columns, bound)
    if mode == LATENTS and bound.has_grid:
        if decoder is None:
            raise ArchiveError("it needs the model that it was written with; give its bundle")
        return latents.decode(payload, rows, columns, bound, decoder)
    raise ArchiveCorrupt(f"a chunk is stored in the unknown mode {mode}")
