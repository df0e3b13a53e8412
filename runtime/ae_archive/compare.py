"""What each way of storing rows costs and loses, under one promise, with and without the model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ae_archive import header, modes
from ae_archive.header import Dtype, Header
from ae_archive.model.writer import Writer
from ae_archive.modes import latents, lossless
from ae_archive.peers import Stored, peers
from ae_archive.promise import Promise, promise_of
from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
MODEL = "model"


class Way(NamedTuple):
    """One way. errors: the largest and the root mean square one, as shares of columns' ranges."""

    name: str
    bytes: int
    bits: float
    model_bytes: int
    largest_error: float
    rmse: float


class Comparison(NamedTuple):
    """All ways, those of archives first. missing: why others are not there, a line each.

    pays_from: rows from which on the model inside is smaller than the best of the other modes;
    None where it never is, or there is no model.
    """

    rows: int
    raw_bytes: int
    ways: list[Way]
    missing: list[str]
    pays_from: int | None


class Asked(NamedTuple):
    """What is promised of rows, as compress takes it."""

    bound: NDArray[np.float64]
    mean: bool
    names: list[str] | None = None
    levels: list[list[str] | None] | None = None


def compare(x: Array, asked: Asked, ae: Autoencoder | None) -> Comparison:
    """Every way for rows x (N, ...). ae: None without a model."""
    flat, head = np.ascontiguousarray(x.reshape(len(x), -1)), _header(x, asked)
    promise = promise_of(head)
    stored = _modes(x, flat, head, promise, ae)
    # Lossless is also what all of them can fall back to; a model pays where it beats the rest.
    others = min(one.bytes for one in stored if one.name != MODEL)
    pays = next((_pays_from(one, others, len(x)) for one in stored if one.name == MODEL), None)
    found = peers(flat, promise)
    left_out = [
        f"{name} is left out: it does not pay here, or does not keep the promise"
        for name in ("pca", "interpolation", *([MODEL] if ae is not None else []))
        if name not in [one.name for one in stored]
    ]
    ranges = _ranges(flat, promise)
    ways = [_way(one, flat, ranges) for one in [*stored, *found.stored]]
    return Comparison(len(x), flat.nbytes, ways, left_out + found.missing, pays)


def curves(
    x: Array, asked: Asked, ae: Autoencoder | None, factors: Sequence[float]
) -> dict[str, list[Way]]:
    """What a bound makes smaller, under bounds that are the asked one times each factor."""
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    found: dict[str, list[Way]] = {}
    for factor in factors:
        head = _header(x, asked._replace(bound=asked.bound * factor))
        promise = promise_of(head)
        ranges = _ranges(flat, promise)
        for one in _modes(x, flat, head, promise, ae, bounded=True):
            found.setdefault(one.name, []).append(_way(one, flat, ranges))
    return found


def _header(x: Array, asked: Asked) -> Header:
    bound = np.broadcast_to(asked.bound, x.shape[1:]).reshape(-1).tolist()
    return Header(
        cast(Dtype, x.dtype.name),
        list(x.shape[1:]),
        len(x),
        None if asked.mean else bound,
        bound if asked.mean else None,
        asked.names,
        asked.levels,
    )


def _modes(
    x: Array,
    flat: Array,
    head: Header,
    promise: Promise,
    ae: Autoencoder | None,
    bounded: bool = False,
) -> list[Stored]:
    """The rows in each mode of an archive; bounded: in those alone that a bound makes smaller."""
    payloads: list[tuple[int, bytes]] = []
    if not bounded:
        payloads += [(modes.RAW, flat.tobytes()), (modes.LOSSLESS, lossless.pack(flat))]
    if promise.has_grid:
        payloads += modes.classic(flat, promise, every=True)
    stored = [
        Stored(modes.NAMES[mode], len(raw), found)
        for mode, raw in payloads
        if promise.keeps(found := modes.decode(mode, raw, flat.shape, promise), flat)
    ]
    if ae is None or not promise.has_grid:
        return stored
    writer = Writer(ae, x, promise, True)
    with closing(writer):
        raw = latents.encode(flat, writer.encode(flat), writer.decoder, promise, writer.moved)
        if raw is not None:
            found = modes.decode(modes.LATENTS, raw, flat.shape, promise, writer.decoder)
            if promise.keeps(found, flat):
                stored.append(Stored(MODEL, len(raw), found, _model_bytes(head, writer)))
    return stored


def _model_bytes(head: Header, writer: Writer) -> int:
    """What an archive holds of a model that is inside."""
    import msgspec

    with_model = msgspec.structs.replace(head, model=writer.model)
    more = len(header.dump(with_model)) - len(header.dump(head))
    return more + len(zlib.compress(writer.graph, 9))


def _pays_from(one: Stored, others: int, rows: int) -> int | None:
    saved = (others - one.bytes) / rows
    return int(np.ceil(one.model / saved)) if saved > 0 else None


def _ranges(flat: Array, promise: Promise) -> NDArray[np.float64]:
    """(D,) of the rows themselves; NaN for what does not vary, or holds words."""
    values = np.where(np.isfinite(flat), flat, np.nan).astype(np.float64)
    ranges = np.full(flat.shape[1], np.nan)
    known = ~np.isnan(values).all(axis=0)
    ranges[known] = np.nanmax(values[:, known], axis=0) - np.nanmin(values[:, known], axis=0)
    ranges[ranges == 0] = np.nan
    if len(promise.bound):
        ranges[promise.exact] = np.nan
    return ranges


def _way(one: Stored, flat: Array, ranges: NDArray[np.float64]) -> Way:
    with np.errstate(invalid="ignore"):
        off = np.abs(one.found.astype(np.float64) - flat.astype(np.float64)) / ranges
    known = off[np.isfinite(off)]
    largest, rmse = 0.0, 0.0
    if len(known):
        largest, rmse = float(known.max()), float(np.sqrt(np.mean(np.square(known))))
    return Way(one.name, one.bytes, 8 * one.bytes / flat.size, one.model, largest, rmse)
