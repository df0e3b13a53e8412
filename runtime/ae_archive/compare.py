"""Bytes and errors of rows in each mode of archives, under one error bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_archive import header, modes
from ae_archive.error_bound import ErrorBound, error_bound_of
from ae_archive.header import Header
from ae_archive.model.encoder import Encoder
from ae_archive.modes import latents, lossless
from ae_archive.writing import header_of
from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
MODEL = modes.NAMES[modes.LATENTS]


class Way(NamedTuple):
    """Size and errors of rows in one mode.

    bits: of a value. model_bytes: of a model beside the rows. largest_error, rmse: as shares of
    columns' ranges.
    """

    name: str
    bytes: int
    bits: float
    model_bytes: int
    largest_error: float
    rmse: float


class Comparison(NamedTuple):
    """Sizes of rows in all modes. missing: why a mode is left out, a line each.

    pays_from: rows from which on the model inside is smaller than the best of the other modes;
    None where it never is, or there is no model.
    """

    rows: int
    raw_bytes: int
    ways: list[Way]
    missing: list[str]
    pays_from: int | None


def compare(
    x: Array,
    ae: Autoencoder | None,
    *,
    max_error: ArrayLike | None = None,
    rmse: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    levels: Sequence[Sequence[str] | None] | None = None,
) -> Comparison:
    """Comparison of all modes for rows x (N, ...). ae: None without a model; others as compress."""
    flat, head = (
        np.ascontiguousarray(x.reshape(len(x), -1)),
        header_of(x, max_error, rmse, names, levels),
    )
    bound = error_bound_of(head)
    ranges = _ranges(flat, bound)
    ways = [_way(*stored, flat, ranges) for stored in _stored(x, flat, head, bound, ae)]
    # Lossless is also what all others can fall back to; a model pays where it beats the rest.
    others = min(way.bytes for way in ways if way.name != MODEL)
    pays = next((_pays_from(way, others, len(x)) for way in ways if way.name == MODEL), None)
    missing = [
        f"{name} is left out: it does not pay here, or does not stay within the error bound"
        for name in ("pca", "interpolation", *([MODEL] if ae is not None else []))
        if name not in [way.name for way in ways]
    ]
    return Comparison(len(x), flat.nbytes, ways, missing, pays)


def _stored(
    x: Array, flat: Array, head: Header, bound: ErrorBound, ae: Autoencoder | None
) -> Iterator[tuple[str, int, int, Array]]:
    """Name, bytes, bytes of a model, and rows as decoded, of each mode that holds the bound."""
    payloads = [(modes.RAW, flat.tobytes()), (modes.LOSSLESS, lossless.pack(flat))]
    if bound.has_grid:
        payloads += modes.without_model(flat, bound, every=True)
    for mode, raw in payloads:
        decoded = modes.decode(mode, raw, flat.shape, bound)
        if bound.holds(decoded, flat):
            yield modes.NAMES[mode], len(raw), 0, decoded
    if ae is None or not bound.has_grid:
        return
    with closing(Encoder(ae, x, bound, True)) as encoder:
        by_model = latents.encode(flat, encoder, bound)
        if by_model is not None:
            decoded = modes.decode(modes.LATENTS, by_model, flat.shape, bound, encoder.decoder)
            if bound.holds(decoded, flat):
                yield MODEL, len(by_model), _model_bytes(head, encoder), decoded


def _model_bytes(head: Header, encoder: Encoder) -> int:
    """Bytes that an archive holds of a model that is inside."""
    with_model = msgspec.structs.replace(head, model=encoder.model)
    more = len(header.dump(with_model)) - len(header.dump(head))
    return more + len(zlib.compress(encoder.graph, 9))


def _pays_from(way: Way, others: int, rows: int) -> int | None:
    saved = (others - way.bytes) / rows
    return int(np.ceil(way.model_bytes / saved)) if saved > 0 else None


def _ranges(flat: Array, bound: ErrorBound) -> NDArray[np.float64]:
    """Ranges of the rows' columns, (D,); NaN where nothing varies, or a column is exact."""
    values = np.where(np.isfinite(flat), flat, np.nan).astype(np.float64)
    ranges = np.full(flat.shape[1], np.nan)
    known = ~np.isnan(values).all(axis=0)
    ranges[known] = np.nanmax(values[:, known], axis=0) - np.nanmin(values[:, known], axis=0)
    ranges[ranges == 0] = np.nan
    if len(bound.limits):
        ranges[bound.exact] = np.nan
    return ranges


def _way(
    name: str, size: int, model_bytes: int, decoded: Array, flat: Array, ranges: NDArray[np.float64]
) -> Way:
    with np.errstate(invalid="ignore"):
        off = np.abs(decoded.astype(np.float64) - flat.astype(np.float64)) / ranges
    known = off[np.isfinite(off)]
    largest, rmse = 0.0, 0.0
    if len(known):
        largest, rmse = float(known.max()), float(np.sqrt(np.mean(np.square(known))))
    return Way(name, size, 8 * size / flat.size, model_bytes, largest, rmse)
