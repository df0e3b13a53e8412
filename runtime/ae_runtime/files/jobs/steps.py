"""The rows of a file, block by block: read ahead, computed on all threads, written in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed
from ae_runtime.files.jobs.task import Task
from ae_runtime.files.readers.blocks import Ahead, Block, SeriesCut, Stream, Unread
from ae_runtime.files.writers.layout import Chunk, Values
from ae_runtime.model.model import Model
from ae_runtime.tables.windows import PAD_ROWS, Overlaps

Item = TypeVar("Item")
Result = TypeVar("Result")
Generated = Generator[Result, None, None]  # an iterator that can be closed
OnError = Literal["stop", "skip"]
Progress = Callable[[int, int | None], None]  # rows of the input done, and all of them if known
READ_AHEAD = 2  # blocks


class Start(NamedTuple):
    """Where to begin: a block's first row, the reader's position there, and rows written before."""

    first: int = 0
    position: Any = 0
    written: int = 0


class Step(NamedTuple):
    """A computed block.

    first: its first row in the input. rows: of the input up to its end. chunk: what to write. bad:
    why rows were left out, by their place in the block. again: (first row, position) of the block
    that a later call would go on with; None where only the end is left.
    """

    first: int
    rows: int
    chunk: Chunk
    bad: dict[int, str]
    again: tuple[int, Any] | None


def steps(
    task: Task,
    reader: Stream,
    size: int,
    on_error: OnError,
    start: Start = Start(),  # noqa: B008  # a constant
) -> Generated[Step]:
    """Yield computed blocks of `size` rows, in order, from `start` on.

    Raises DataError for a row that cannot be used, unless they are skipped.
    """

    def work(block: Block | Unread) -> tuple[Block, Values]:
        if isinstance(block, Unread):
            with _reading(reader):
                block = _usable(reader, block.read(), on_error)
        return block, task.compute(block)

    blocks: Iterator[Block | Unread] | None = reader.unread(size, start.first)
    # A read from a pipe cannot be ended: it must not be in a thread that has to be waited for.
    in_thread = blocks is None and bool(reader.fingerprint)
    if blocks is None:
        blocks = _read(reader, reader.blocks(size, start.first, start.position), on_error)
    with closing(in_order(task.model, work, blocks, in_thread)) as computed:
        if task.joins_windows and reader.series is not None:
            found = _joined(computed, reader.series, start)
        else:
            found = _one_by_one(computed, size)
        written = start.written
        for step in found:
            yield step._replace(chunk=task.finish(step.chunk, written))
            written += step.chunk.rows


def in_order(
    model: Model, work: Callable[[Item], Result], items: Iterable[Item], in_thread: bool
) -> Generated[Result]:
    """Yield work(item) of each item, in order, while more items are read and computed.

    in_thread: whether items are read in a thread of their own; a pipe is not, since a read that
    waits for its writer could not be ended. An error in reading comes after the results of all
    items before it. Closed, or after an error, no thread works on.
    """
    failed: list[BaseException] = []

    def until_it_fails(source: Iterable[Item]) -> Iterator[Item]:
        try:
            yield from source
        except Exception as error:
            failed.append(error)

    ahead = Ahead(items, READ_AHEAD) if in_thread else None
    try:
        source = until_it_fails(ahead or items)
        results = cast("Generated[Result]", model.in_order(work, source, model.plan.threads + 1))
        with closing(results):
            yield from results
    finally:
        if ahead:
            ahead.close()
    if failed:
        raise failed[0]


def block_size(task: Task) -> int:
    """Number of rows in a block."""
    # Where the device is found out with the first session, tile and blocks are known only then.
    task.model.open(task.graph)
    return task.model.block_rows(task.row_bytes)


def _read(reader: Stream, blocks: Iterator[Block], on_error: OnError) -> Iterator[Block]:
    with _reading(reader):
        for block in blocks:
            yield _usable(reader, block, on_error)


def _usable(reader: Stream, block: Block, on_error: OnError) -> Block:
    if block.bad and on_error == "stop":
        raise DataError(f"{reader.path}: {block.bad[min(block.bad)]}")
    return block


@contextmanager
def _reading(reader: Stream) -> Iterator[None]:
    """Turn an operating system's error in reading an input into InputFailed."""
    try:
        yield
    except OSError as error:
        if isinstance(error, InputFailed):
            raise
        reason = error.strerror or str(error)
        raise InputFailed(f"{reader.path} cannot be read to its end: {reason}") from error


def _usable_rows(block: Block, values: Values) -> Chunk:
    """The rows of a block without the bad ones."""
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


def _joined(
    computed: Iterator[tuple[Block, Any]], series: SeriesCut, start: Start
) -> Iterator[Step]:
    """Join computed windows to time steps; steps that no good window covers are missing."""
    overlaps = Overlaps(series.window, series.stride, start.written)
    written, windows, position = start.written, start.first, start.position
    # Blocks (first window, position) to read again on resuming: a step of theirs is not done.
    open_blocks: deque[tuple[int, tuple[int, Any]]] = deque()  # each after its last step
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
