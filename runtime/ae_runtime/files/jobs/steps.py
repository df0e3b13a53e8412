"""The rows of a stream computed block by block: what is to be written, and where to go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.jobs.pipeline import Generated, in_order
from ae_runtime.files.jobs.score_summary import Judge
from ae_runtime.files.readers.blocks import Block, SeriesCut, Stream, Unread
from ae_runtime.files.readers.columns import Verb
from ae_runtime.files.writers.layout import Chunk, Values
from ae_runtime.model.model import Model, row_bytes
from ae_runtime.model.prefix import prefix
from ae_runtime.model.sampling import within_range
from ae_runtime.tables.table import from_blocks
from ae_runtime.tables.windows import PAD_ROWS, Overlaps

OnError = Literal["stop", "skip"]


class Start(NamedTuple):
    """A block to begin with: its first row and the stream's position; and rows written before."""

    first: int = 0
    position: Any = 0
    written: int = 0


class Step(NamedTuple):
    """A block that was computed.

    first: its first row in the input. rows: of the input up to its end. chunk: what to write. bad:
    rows left out, by their place in the block. again: (first row, position) of the block to go on
    with later; None where only the end is left.
    """

    first: int
    rows: int
    chunk: Chunk
    bad: dict[int, str]
    again: tuple[int, Any] | None


def steps(
    model: Model,
    verb: Verb,
    stream: Stream,
    size: int,
    on_error: OnError,
    start: Start = Start(),  # noqa: B008  # a constant
    judge: Judge | None = None,
    keep: int | None = None,
) -> Generated[Step]:
    """Each block of `size` rows from a start on, in order, computed ahead.

    judge: of the verb "score". keep: of ordered latents, how many are used. Raises DataError for a
    row that cannot be used, unless they are skipped.
    """

    def work(block: Block | Unread) -> tuple[Block, Values]:
        if isinstance(block, Unread):
            with _reading(stream):
                block = _usable(stream, block.read(), on_error)
        return block, _compute(model, verb, block, judge, keep)

    blocks: Iterator[Block | Unread] | None = stream.unread(size, start.first)
    # A read from a pipe cannot be ended: it must not be in a thread that has to be waited for.
    in_thread = blocks is None and bool(stream.fingerprint)
    if blocks is None:
        blocks = _read(stream, stream.blocks(size, start.first, start.position), on_error)
    with closing(in_order(model, work, blocks, in_thread)) as computed:
        if verb in ("reconstruct", "score") and stream.series is not None:
            found = _joined(computed, stream.series, start)
        else:
            found = _one_by_one(computed, size)
        yield from found if judge is None else _judged(found, judge, start.written)


def block_size(model: Model, verb: Verb) -> int:
    """Rows of a block."""
    # Where the device is found out with the first session, tile and blocks are known only then.
    model.open("decoder" if verb in ("decode", "sample") else "encoder")
    return model.block_rows(row_bytes_of(model, verb))


def row_bytes_of(model: Model, verb: Verb) -> int:
    """Bytes of what is read, computed and written of one row."""
    x, z, x_hat = row_bytes(model.inputs), row_bytes([model.z]), row_bytes(model.outputs)
    parts = 4 * prod(model.manifest.part_shape)
    ends = {"encode": x + z, "reconstruct": x + z + x_hat, "score": x + z + x_hat + parts}
    return ends.get(verb, z + x_hat)


def _compute(
    model: Model, verb: Verb, block: Block, judge: Judge | None, keep: int | None
) -> Values:
    """What the verb gives for the rows of a block, in the calling thread."""
    if judge is not None:
        return judge.compute(model, block.arrays, steps=block.starts is not None)
    is_latent = verb in ("decode", "sample")
    z = block.arrays[0] if is_latent else model.encode(*block.arrays, alone=True)
    z = prefix(model.manifest.latent, z, keep)
    if verb == "encode":
        return z
    arrays = model.decode(z, alone=True)
    if verb == "sample":
        arrays = within_range(model.manifest, arrays)
    if model.manifest.is_mixed:
        return from_blocks(arrays[0], arrays[1], model.manifest.columns or ())
    return arrays[0]


def _read(stream: Stream, blocks: Iterator[Block], on_error: OnError) -> Iterator[Block]:
    with _reading(stream):
        for block in blocks:
            yield _usable(stream, block, on_error)


def _usable(stream: Stream, block: Block, on_error: OnError) -> Block:
    if block.bad and on_error == "stop":
        raise DataError(f"{stream.path}: {block.bad[min(block.bad)]}")
    return block


@contextmanager
def _reading(stream: Stream) -> Iterator[None]:
    """Say in one line what the system says of an input."""
    try:
        yield
    except OSError as error:
        if isinstance(error, InputFailed):
            raise
        reason = error.strerror or str(error)
        raise InputFailed(f"{stream.path} cannot be read to its end: {reason}") from error


def _usable_rows(block: Block, values: Values) -> Chunk:
    """The rows of a block but for its bad ones."""
    if not block.bad:
        return Chunk(values, block.ids, block.starts)
    kept = np.ones(len(block.arrays[0]), bool)
    kept[list(block.bad)] = False
    some: Values
    if isinstance(values, Mapping):
        some = {name: column[kept] for name, column in values.items()}
    else:
        some = values[kept]
    ids, starts = block.ids, block.starts
    return Chunk(some, None if ids is None else ids[kept], None if starts is None else starts[kept])


def _one_by_one(computed: Iterator[tuple[Block, Any]], size: int) -> Iterator[Step]:
    for block, values in computed:
        rows = block.first + len(block.arrays[0])
        again = None if rows % size else (rows, block.position)
        yield Step(block.first, rows, _usable_rows(block, values), block.bad, again)


def _judged(found: Iterator[Step], judge: Judge, written: int) -> Iterator[Step]:
    for step in found:
        yield step._replace(chunk=judge.judged(step.chunk, written))
        written += step.chunk.rows


def _joined(
    computed: Iterator[tuple[Block, Any]], series: SeriesCut, start: Start
) -> Iterator[Step]:
    """Windows put together as time steps; those that no good window covers are missing."""
    overlaps = Overlaps(series.window, series.stride, start.written)
    written, windows, position = start.written, start.first, start.position
    # Blocks, by their first windows, that have to come again for a step which is not complete.
    open_blocks: deque[tuple[int, tuple[int, Any]]] = deque()  # with the steps that end them
    values: NDArray[Any] | None = None
    for block, values in computed:
        chunk = _usable_rows(block, values)
        assert isinstance(chunk.values, np.ndarray)
        assert chunk.starts is not None
        assert block.starts is not None
        *before, found = overlaps.add_in_pieces(chunk.values, chunk.starts)
        for piece in before:
            yield Step(windows, windows, Chunk(piece), {}, None)
        written += sum(map(len, before)) + len(found)
        open_blocks.append((int(block.starts[-1]) + series.window, (block.first, position)))
        windows, position = block.first + len(values), block.position
        while open_blocks and open_blocks[0][0] <= written:
            open_blocks.popleft()
        again = open_blocks[0][1] if open_blocks else (windows, position)
        yield Step(block.first, windows, Chunk(found), block.bad, again)
    if values is None:
        return
    found = overlaps.finish()
    written += len(found)
    yield Step(windows, windows, Chunk(found), {}, None)
    for row in range(written, series.steps or 0, PAD_ROWS):
        missing = _missing(min(PAD_ROWS, (series.steps or 0) - row), found)
        yield Step(windows, windows, Chunk(missing), {}, None)


def _missing(rows: int, like: NDArray[Any]) -> NDArray[Any]:
    return np.full((rows, *like.shape[1:]), np.nan if like.dtype.kind == "f" else 0, like.dtype)
