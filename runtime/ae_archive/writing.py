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
from ae_archive.header import DTYPES, MAX_BOUND, MAX_VALUES, STORED_AS, Header
from ae_archive.promise import promise_of
from ae_runtime import outputs
from ae_runtime.errors import DataError
from ae_runtime.model.arrays import check_mask

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.writer import Writer
    from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
CHUNK_VALUES = 1 << 21  # of a chunk, unless its rows are given


class Written(NamedTuple):
    """What an archive has become.

    modes: the number of chunks in each of them, by its name. model_bytes: of `bytes`, those of the
    model inside.
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
    embed: bool = False,
    names: Sequence[str] | None = None,
    levels: Sequence[Sequence[str] | None] | None = None,
    chunk_rows: int | None = None,
    overwrite: bool = False,
) -> Written:
    """Write x to the archive `out`, which appears when it is whole.

    x: (N, ...) of floats, integers or bool, or an iterable of such blocks, of which one at a time
    is held. NaN and infinite values come back as they were, always. float16 and bool come back as
    such where every bit is kept; with a bound as float32 and uint8, in which it holds.

    max_error: the most that a value may be off, in its own units: a number, or an array that
    broadcasts to a row. rmse, in its place: the root mean square of error / rmse over each chunk is
    at most 1; single values are not bounded. A column with a bound of 0 comes back as it was, as
    all do without a bound.

    model: a bundle's autoencoder. Chunks that it makes smaller than any other way are stored by
    its latents; of a series, rows may be time steps. embed: put its decoder into the archive;
    readers give the bundle otherwise. Its first block decides how finely latents are stepped.

    names: of a table's columns. levels: of each column its words, where x holds their places as
    whole numbers (NaN for none), or None; words are never changed. chunk_rows: rows that are
    decoded together; None for about two million values.

    Raises DataError, OutputExists, OutputFailed, and BundleRefused for a model that onnxruntime
    does not run.
    """
    path = Path(out)
    blocks = iter([x] if isinstance(x, np.ndarray) else x)
    first = _block(next(blocks, None))
    words = None if levels is None else [None if one is None else list(one) for one in levels]
    head = _header(first, max_error, rmse, names, words, chunk_rows)
    writer = None
    if model is not None and max_error is None and rmse is None:
        raise DataError("a model needs a max_error or an rmse; every bit is kept without one")
    if model is not None and len(head.bound):
        head, writer = _with_model(head, model, first.astype(head.numpy), embed, chunk_rows)
    outputs.check_free(path, is_archive(path), overwrite, "an archive")
    try:
        with outputs.said_in_one_line(path), outputs.appearing(path) as file:
            return _write(file, head, _rows(first, blocks), writer)
    finally:
        if writer is not None:
            writer.close()


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    try:
        with path.open("rb") as file:
            return file.read(len(frames.MAGIC)) == frames.MAGIC
    except OSError:
        return False


def _block(x: Any) -> Array:
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


def _header(
    first: Array,
    max_error: ArrayLike | None,
    rmse: ArrayLike | None,
    names: Sequence[str] | None,
    levels: list[list[str] | None] | None,
    chunk_rows: int | None,
) -> Header:
    row_shape = first.shape[1:]
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
        raise DataError("max_error and rmse are two promises; give one of them")
    for what, words in (("names", names), ("lists of levels", levels)):
        if words is not None and len(words) != columns:
            raise DataError(f"there are {len(words)} {what} for {columns} columns")
    bound = None if max_error is None else _bound("max_error", max_error, row_shape, levels)
    mean = None if rmse is None else _bound("rmse", rmse, row_shape, levels)
    if first.dtype.kind == "f":  # of which a bound of 0 keeps every bit
        bound, mean = (each if each and any(each) else None for each in (bound, mean))
    name: Any = first.dtype.name
    return Header(
        STORED_AS.get(name, name),
        list(row_shape),
        rows,
        bound,
        mean,
        None if names is None else list(names),
        levels,
        given=name if name in STORED_AS and bound is None and mean is None else None,
    )


def _with_model(
    head: Header, model: Autoencoder, first: Array, embed: bool, chunk_rows: int | None
) -> tuple[Header, Writer]:
    from ae_archive.model.writer import Writer

    if not len(first):
        raise DataError("the first block has no rows to try the model on")
    writer = Writer(model, first, promise_of(head), embed)
    rows, window = head.chunk_rows, writer.model.window or 1
    if chunk_rows is None and rows > window:
        rows -= rows % window  # no window but the last is filled up
    return msgspec.structs.replace(head, chunk_rows=rows, model=writer.model), writer


def _bound(
    name: str,
    bound: ArrayLike,
    row_shape: tuple[int, ...],
    levels: list[list[str] | None] | None,
) -> list[float]:
    given = np.asarray(bound, np.float64)
    if not np.isfinite(given).all() or (given < 0).any() or (given > MAX_BOUND).any():
        raise DataError(f"{name} must hold numbers from 0 to {MAX_BOUND:g}")
    if given.ndim == 0 and levels is None:
        return [float(given)]
    try:
        each = np.broadcast_to(given, row_shape).reshape(-1).copy()
    except ValueError:
        raise DataError(
            f"{name} of shape {given.shape} does not fit rows of shape {row_shape}"
        ) from None
    if levels is not None:
        each[[words is not None for words in levels]] = 0
    return [float(one) for one in each]


def _rows(first: Array, others: Iterator[Any]) -> Iterator[Array]:
    yield first
    before = len(first)
    for other in others:
        block = _block(other)
        if block.shape[1:] != first.shape[1:] or block.dtype != first.dtype:
            raise DataError(
                f"the block from row {before + 1} on is {block.dtype} of shape {block.shape}, the "
                f"first one {first.dtype} of shape {first.shape}; all rows must be alike"
            )
        yield block
        before += len(block)


def _chunks(blocks: Iterator[Array], head: Header) -> Iterator[Array]:
    """The rows (R, D) of all blocks in chunks."""
    held = np.empty((head.chunk_rows, head.columns), head.numpy)
    count = 0
    for block in blocks:
        rows = block.reshape(len(block), head.columns)
        done = 0
        while done < len(rows):
            taken = min(len(rows) - done, head.chunk_rows - count)
            held[count : count + taken] = rows[done : done + taken]
            count, done = count + taken, done + taken
            if count == head.chunk_rows:
                yield held
                count = 0
    if count:
        yield held[:count]


def _write(file: BinaryIO, head: Header, blocks: Iterator[Array], writer: Writer | None) -> Written:
    file.write(frames.start())
    file.write(frames.framed(frames.HEAD, header.dump(head), number=frames.MINOR))
    before = file.tell()
    if writer is not None and writer.model.inside:
        file.write(frames.framed(frames.MODEL, zlib.compress(writer.graph, 9)))
    model_bytes = file.tell() - before
    promise = promise_of(head)
    places: list[int] = []
    counts: dict[str, int] = {}
    rows = 0
    for chunk in _chunks(blocks, head):
        mode, payload = modes.encode(chunk, promise, writer)
        places.append(file.tell())
        number = len(places) - 1
        file.write(frames.framed(frames.CHUNK, payload, mode, number, len(chunk), rows))
        counts[modes.NAMES[mode]] = counts.get(modes.NAMES[mode], 0) + 1
        rows += len(chunk)
    index = file.tell()
    steps = pack(np.diff(places, prepend=0))
    file.write(frames.framed(frames.INDEX, steps, number=len(places), first=rows))
    file.write(frames.footer(index))
    return Written(
        rows, rows * head.columns * head.rows_dtype.itemsize, file.tell(), counts, model_bytes
    )
