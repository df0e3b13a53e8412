"""Rows to an archive, in one pass: each chunk is decoded and checked before it is written."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_archive import frames, header, modes
from ae_archive.coding.integers import pack
from ae_archive.error_bound import error_bound_of
from ae_archive.header import DTYPES, MAX_BOUND, MAX_VALUES, STORED_AS, Header
from ae_runtime import outputs
from ae_runtime.errors import DataError
from ae_runtime.model.arrays import check_mask

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.encoder import Encoder
    from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
CHUNK_VALUES = 1 << 21  # values of a chunk, unless its rows are set


class Written(NamedTuple):
    """Size of an archive that was written.

    modes: number of chunks in each mode, by its name. model_bytes: those of `bytes` that the
    decoder inside takes.
    """

    rows: int
    raw_bytes: int
    bytes: int
    modes: dict[str, int]
    model_bytes: int = 0


def compress(
    x: Array | Iterable[Array],
    out: str | os.PathLike[str],
    *,
    max_error: ArrayLike | None = None,
    rmse: ArrayLike | None = None,
    model: Autoencoder | None = None,
    include_model: bool = False,
    names: Sequence[str] | None = None,
    levels: Sequence[Sequence[str] | None] | None = None,
    chunk_rows: int | None = None,
    overwrite: bool = False,
    embed: None = None,
) -> Written:
    """Size of the archive `out`, to which x was written; it appears when it is complete.

    x: (N, ...) of floats, integers or bool, or an iterable of such blocks, of which one at a time
    is held. NaN and infinite values come back as they were, always. float16 and bool come back as
    such where every bit is kept; with a bound as float32 and uint8, in which it holds.

    max_error: the most that a value may be off, in its own units: a number, or an array that
    broadcasts to a row. rmse, in its place: the root mean square of error / rmse over each chunk is
    at most 1; single values are not bounded. A column with a bound of 0 comes back as it was, as
    all do without a bound.

    model: a bundle's autoencoder. Chunks that it makes smaller than any other way are stored by
    its latents; of a series, rows may be time steps. include_model: put its decoder into the
    archive; readers give the bundle otherwise. The first block decides the steps of latents.

    names: of a table's columns. levels: the categories of each column, where x holds their places
    as integers (NaN for none), or None; categories never change. chunk_rows: rows that are decoded
    together; None for about two million values. embed: the former name of include_model, refused.

    Raises DataError, OutputExists, OutputFailed, and BundleRefused for a model that onnxruntime
    does not run.
    """
    if embed is not None:
        raise TypeError("embed is called include_model now; write include_model=True")
    path = Path(out)
    blocks = iter([x] if isinstance(x, np.ndarray) else x)
    first = _checked(next(blocks, None))
    head = header_of(first, max_error, rmse, names, levels, chunk_rows)
    encoder = None
    if model is not None and max_error is None and rmse is None:
        raise DataError("a model needs a max_error or an rmse; every bit is kept without one")
    if model is not None and len(head.limits):
        head, encoder = _with_model(head, model, first, include_model, chunk_rows)
    outputs.check_free(path, is_archive(path), overwrite, "an archive")
    try:
        with outputs.said_in_one_line(path), outputs.appearing(path) as file:
            return _write(file, head, _alike(first, blocks), encoder)
    finally:
        if encoder is not None:
            encoder.close()


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    try:
        with path.open("rb") as file:
            return file.read(len(frames.MAGIC)) == frames.MAGIC
    except OSError:
        return False


def header_of(
    x: Array,
    max_error: ArrayLike | None,
    rmse: ArrayLike | None,
    names: Sequence[str] | None,
    levels: Sequence[Sequence[str] | None] | None,
    chunk_rows: int | None = None,
) -> Header:
    """Header of an archive of rows like x; the other arguments as of `compress`.

    Raises DataError.
    """
    row_shape = x.shape[1:]
    columns = prod(row_shape)
    if columns > MAX_VALUES:
        raise DataError(f"a row of {columns:,} values is too long; {MAX_VALUES:,} are the most")
    rows = CHUNK_VALUES // columns or 1 if chunk_rows is None else chunk_rows
    if not 1 <= rows <= MAX_VALUES // columns:
        raise DataError(
            f"chunks of {rows:,} rows of {columns:,} values cannot be; "
            f"choose 1 to {MAX_VALUES // columns:,} rows"
        )
    if max_error is not None and rmse is not None:
        raise DataError("max_error and rmse are two error bounds; give one of them")
    categories = None if levels is None else [None if one is None else list(one) for one in levels]
    for what, per_column in (("names", names), ("lists of levels", categories)):
        if per_column is not None and len(per_column) != columns:
            raise DataError(f"there are {len(per_column)} {what} for {columns} columns")
    bounds = {"max_error": max_error, "rmse": rmse}
    limits = {name: _limits(name, bound, row_shape, categories) for name, bound in bounds.items()}
    if x.dtype.kind == "f":  # a bound of 0 keeps every bit of these
        limits = {name: each if each and any(each) else None for name, each in limits.items()}
    name: Any = x.dtype.name
    return Header(
        STORED_AS.get(name, name),
        list(row_shape),
        rows,
        limits["max_error"],
        limits["rmse"],
        None if names is None else list(names),
        categories,
        row_dtype=name if name in STORED_AS and not any(limits.values()) else None,
    )


def _checked(x: Any) -> Array:
    """The block x itself. Raises DataError for one that no archive holds."""
    if x is None:
        raise DataError("there are no rows to compress")
    check_mask(x, "x")
    if not isinstance(x, np.ndarray):  # the rows of a list would pass for blocks
        raise DataError(
            f"an archive is made of arrays, not of {type(x).__name__}; np.array(x) is one"
        )
    if x.dtype.name not in DTYPES and x.dtype.name not in STORED_AS:
        raise DataError(f"an archive holds {', '.join([*DTYPES, *STORED_AS])}, not {x.dtype}")
    if not x.ndim or not prod(x.shape[1:]):
        raise DataError(f"an archive holds rows of values (N, ...), not an array of {x.shape}")
    return x


def _with_model(
    head: Header, model: Autoencoder, first: Array, inside: bool, chunk_rows: int | None
) -> tuple[Header, Encoder]:
    from ae_archive.model.encoder import Encoder

    if not len(first):
        raise DataError("the first block has no rows to try the model on")
    encoder = Encoder(model, first.astype(head.numpy), error_bound_of(head), inside)
    rows, window = head.chunk_rows, encoder.model.window or 1
    if chunk_rows is None and rows > window:
        rows -= rows % window  # no window but the last is filled up
    return msgspec.structs.replace(head, chunk_rows=rows, model=encoder.model), encoder


def _limits(
    name: str,
    bound: ArrayLike | None,
    row_shape: tuple[int, ...],
    categories: list[list[str] | None] | None,
) -> list[float] | None:
    if bound is None:
        return None
    limits = np.asarray(bound, np.float64)
    if not np.isfinite(limits).all() or (limits < 0).any() or (limits > MAX_BOUND).any():
        raise DataError(f"{name} must hold numbers from 0 to {MAX_BOUND:g}")
    if limits.ndim == 0 and categories is None:
        return [float(limits)]
    try:
        each = np.broadcast_to(limits, row_shape).reshape(-1).copy()
    except ValueError:
        raise DataError(
            f"{name} of shape {limits.shape} does not fit rows of shape {row_shape}"
        ) from None
    if categories is not None:
        each[[levels is not None for levels in categories]] = 0
    return [float(one) for one in each]


def _alike(first: Array, others: Iterator[Any]) -> Iterator[Array]:
    """All blocks. Raises DataError for one that is not like the first."""
    yield first
    before = len(first)
    for other in others:
        block = _checked(other)
        if block.shape[1:] != first.shape[1:] or block.dtype != first.dtype:
            raise DataError(
                f"the block from row {before + 1} on is {block.dtype} of shape {block.shape}, the "
                f"first one {first.dtype} of shape {first.shape}; all rows must be alike"
            )
        yield block
        before += len(block)


def _chunks(blocks: Iterator[Array], head: Header) -> Iterator[Array]:
    """Rows (R, D) of all blocks, `chunk_rows` at a time; each is overwritten by the next."""
    chunk = np.empty((head.chunk_rows, head.columns), head.numpy)
    count = 0
    for block in blocks:
        rows = block.reshape(len(block), head.columns)
        done = 0
        while done < len(rows):
            more = min(len(rows) - done, head.chunk_rows - count)
            chunk[count : count + more] = rows[done : done + more]
            count, done = count + more, done + more
            if count == head.chunk_rows:
                yield chunk
                count = 0
    if count:
        yield chunk[:count]


def _write(
    file: BinaryIO, head: Header, blocks: Iterator[Array], encoder: Encoder | None
) -> Written:
    file.write(frames.start())
    file.write(frames.framed(frames.HEAD, header.dump(head), number=frames.MINOR))
    before = file.tell()
    if encoder is not None and encoder.model.inside:
        file.write(frames.framed(frames.MODEL, zlib.compress(encoder.graph, 9)))
    model_bytes = file.tell() - before
    bound = error_bound_of(head)
    places: list[int] = []
    counts: dict[str, int] = {}
    rows = 0
    for chunk in _chunks(blocks, head):
        mode, payload = modes.encode(chunk, bound, encoder)
        number = len(places)
        places.append(file.tell())
        file.write(frames.framed(frames.CHUNK, payload, mode, number, len(chunk), rows))
        counts[modes.NAMES[mode]] = counts.get(modes.NAMES[mode], 0) + 1
        rows += len(chunk)
    index = file.tell()
    steps = pack(np.diff(places, prepend=0))
    file.write(frames.framed(frames.INDEX, steps, number=len(places), first=rows))
    file.write(frames.footer(index))
    raw_bytes = rows * head.columns * head.rows_dtype.itemsize
    return Written(rows, raw_bytes, file.tell(), counts, model_bytes)
