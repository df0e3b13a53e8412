"""Rows to an archive, in one pass: each chunk is decoded and checked before it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime import outputs
from ae_runtime.archive import frames, header, modes
from ae_runtime.archive.header import DTYPES, MAX_VALUES, Dtype, Header
from ae_runtime.archive.integers import pack
from ae_runtime.errors import DataError

Array = NDArray[Any]
CHUNK_VALUES = 1 << 21  # of a chunk, unless its rows are given


class Written(NamedTuple):
    """What an archive has become. modes: the number of chunks in each of them, by its name."""

    rows: int
    raw_bytes: int
    bytes: int
    modes: dict[str, int]


def compress(
    x: Array | Iterable[Array],
    out: str | os.PathLike[str],
    *,
    max_error: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    chunk_rows: int | None = None,
    overwrite: bool = False,
) -> Written:
    """Write x to the archive `out`, which appears when it is whole.

    x: (N, ...) of float32, float64 or integers, or an iterable of such blocks, of which one at a
    time is held. max_error: the most that a value may be off, in its own units: a number, or an
    array that broadcasts to a row; None keeps every bit, 0 every integer. NaN and infinite values
    come back as they were, always. names: of a table's columns. chunk_rows: rows that are decoded
    together; None for about two million values. Raises DataError, OutputExists, OutputFailed.
    """
    path = Path(out)
    blocks = iter([x] if isinstance(x, np.ndarray) else x)
    first = _block(next(blocks, None))
    head = _header(first, max_error, names, chunk_rows)
    outputs.check_free(path, is_archive(path), overwrite, "an archive")
    with outputs.said_in_one_line(path), outputs.appearing(path) as file:
        return _write(file, head, _rows(first, blocks))


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
    if not isinstance(x, np.ndarray):  # the rows of a list would pass for blocks
        raise DataError(
            f"an archive is made of arrays, not of {type(x).__name__}; np.array(x) is one"
        )
    if x.dtype.name not in DTYPES:
        raise DataError(f"an archive holds {', '.join(DTYPES)}, not {x.dtype}")
    if not x.ndim or not prod(x.shape[1:]):
        raise DataError(f"an archive holds rows of values (N, ...), not an array of {x.shape}")
    return x


def _header(
    first: Array, max_error: ArrayLike | None, names: Sequence[str] | None, chunk_rows: int | None
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
    if names is not None and len(names) != columns:
        raise DataError(f"there are {len(names)} names for {columns} columns")
    bound = None if max_error is None else _bound(max_error, row_shape)
    if bound is not None and first.dtype.kind == "f" and not all(bound):
        raise DataError("a max_error of 0 is for integers; leave it away to keep every bit")
    return Header(
        cast(Dtype, first.dtype.name),
        list(row_shape),
        rows,
        bound,
        None if names is None else list(names),
    )


def _bound(max_error: ArrayLike, row_shape: tuple[int, ...]) -> list[float]:
    given = np.asarray(max_error, np.float64)
    if not np.isfinite(given).all() or (given < 0).any():
        raise DataError("max_error must hold finite numbers of at least 0")
    if given.ndim == 0:
        return [float(given)]
    try:
        return [float(bound) for bound in np.broadcast_to(given, row_shape).reshape(-1)]
    except ValueError:
        raise DataError(
            f"max_error of shape {given.shape} does not fit rows of shape {row_shape}"
        ) from None


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


def _write(file: BinaryIO, head: Header, blocks: Iterator[Array]) -> Written:
    file.write(frames.start() + frames.framed(frames.HEAD, header.dump(head)))
    places: list[int] = []
    counts: dict[str, int] = {}
    rows = 0
    for chunk in _chunks(blocks, head):
        mode, payload = modes.encode(chunk, head.bound)
        places.append(file.tell())
        number = len(places) - 1
        file.write(frames.framed(frames.CHUNK, payload, mode, number, len(chunk), rows))
        counts[modes.NAMES[mode]] = counts.get(modes.NAMES[mode], 0) + 1
        rows += len(chunk)
    index = file.tell()
    steps = pack(np.diff(places, prepend=0))
    file.write(frames.framed(frames.INDEX, steps, number=len(places), first=rows))
    file.write(frames.footer(index))
    return Written(rows, rows * head.columns * head.numpy.itemsize, file.tell(), counts)
