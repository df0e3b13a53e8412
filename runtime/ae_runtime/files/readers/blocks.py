"""Blocks of rows that an input is read in: cut from pieces of any length, and read ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import TooLittleMemory

Array = NDArray[Any]
Item = TypeVar("Item")
PIECE_BYTES = 1 << 20  # read at once, where it is not a whole block


class Block(NamedTuple):
    """Consecutive rows of an input.

    first: number of its first row, from 0. arrays: (B, ...) each, what the graph takes: x, or x_num
    and x_cat, or z. position: with first + B, what `blocks` takes to go on after this block, a
    number or a list of numbers. ids: (B,) the id of each row, objects that are str, or int64; None
    where the input has none. bad: what is wrong with rows that cannot be used, by their place in
    the block; messages count rows of the input from 1. The arrays hold 0, NaN or -1 there. starts:
    (B,) the first time step of each window that was cut from a series. times: (B,) of time steps,
    NaN where one is missing; None where the input has no times.
    """

    first: int
    arrays: tuple[Array, ...]
    position: Any
    ids: Array | None = None
    bad: dict[int, str] = {}  # noqa: RUF012  # never changed: a block that has some brings its own
    starts: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None


class Unread(NamedTuple):
    """A block that is read by the thread that works on it, so that its rows are in the cache.

    read: gives the block, whose arrays are valid until the same thread reads another one.
    """

    first: int
    read: Callable[[], Block]


@dataclass
class SeriesCut:
    """How a series is cut. steps: number of its time steps, None until the end was read."""

    window: int
    stride: int
    steps: int | None = None


class Stream(Protocol):
    """An opened input.

    path: what errors name, Path("-") for stdin. rows: None where only reading to the end tells.
    notes: lines for the user, complete once the blocks are read. id_name: the column of ids, "file"
    for a folder of images, else None. time_name: the column of times, or None. series: how windows
    are cut, None where rows come as they are. fingerprint: text that changes when the input does,
    "" for an input that cannot be resumed. memory: bytes that it holds at once, beside its blocks.
    """

    path: Path
    rows: int | None
    notes: list[str]
    id_name: str | None
    time_name: str | None = None
    series: SeriesCut | None
    fingerprint: str
    memory: int

    def blocks(self, size: int, first: int = 0, position: Any = 0) -> Iterator[Block]:
        """Blocks of `size` rows, cut at multiples of size, as is `first`.

        position: that of the block before. Raises InputFailed where the input cannot be read to its
        end, DataError for errors that are not those of one row; both name the file.
        """

    def unread(self, size: int, first: int = 0) -> Iterator[Unread] | None:
        """The same blocks, for any thread to read in any order; None where that is impossible."""
        return None

    def closing_notes(self) -> list[str]:
        """Lines for the user that need all rows to be read."""
        return []

    def keep_to(self, most: int) -> None:
        """Hold at most so many bytes from here on, beside blocks. Raises TooLittleMemory."""
        if self.memory > most:
            raise TooLittleMemory(
                f"{self.path} takes {self.memory:,} bytes at once, and max_memory leaves "
                f"{max(0, most):,} beside the model; allow {self.memory - most:,} more"
            )

    def close(self) -> None: ...


class NothingStream(Stream):
    """An input without rows, whose output has none either."""

    def __init__(
        self, path: Path, fingerprint: str, id_name: str | None, series: SeriesCut | None
    ) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.id_name, self.series = id_name, series
        self.rows, self.memory, self.notes = 0, 0, [f"{path} holds no rows"]

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


class Piece(NamedTuple):
    """Some rows as in a Block, and the position after each of them."""

    arrays: tuple[Array, ...]
    ends: NDArray[np.int64]
    ids: Array | None
    bad: dict[int, str]
    times: NDArray[np.float64] | None = None

    def part(self, low: int, high: int) -> Piece:
        return Piece(
            tuple(array[low:high] for array in self.arrays),
            self.ends[low:high],
            None if self.ids is None else self.ids[low:high],
            {at - low: why for at, why in self.bad.items() if low <= at < high},
            None if self.times is None else self.times[low:high],
        )


def cut(pieces: Iterable[Piece], size: int, first: int) -> Iterator[Block]:
    """The rows of all pieces in blocks of `size`."""
    held: list[Piece] = []
    count = 0
    for piece in pieces:
        done, rows = 0, len(piece.ends)
        while count + rows - done >= size:
            held.append(piece.part(done, done + size - count))
            done += size - count
            yield _joined(held, first)
            held, count, first = [], 0, first + size
        if done < rows:
            held.append(piece.part(done, rows) if done else piece)
            count += rows - done
    if held:
        yield _joined(held, first)


def _joined(pieces: list[Piece], first: int) -> Block:
    position = int(pieces[-1].ends[-1])
    if len(pieces) == 1:
        only = pieces[0]
        return Block(first, only.arrays, position, only.ids, only.bad, times=only.times)
    bad: dict[int, str] = {}
    before = 0
    for piece in pieces:
        bad |= {before + at: why for at, why in piece.bad.items()}
        before += len(piece.ends)
    arrays = tuple(np.concatenate(parts) for parts in zip(*(p.arrays for p in pieces), strict=True))
    ids = [piece.ids for piece in pieces if piece.ids is not None]
    times = [piece.times for piece in pieces if piece.times is not None]
    return Block(first, arrays, position, _chained(ids), bad, times=_chained(times))


def _chained(parts: list[Array]) -> Array | None:
    return np.concatenate(parts) if parts else None


def drop_infinite(
    x: Array, first: int, names: Sequence[str] | None, bad: dict[int, str]
) -> dict[int, str]:
    """`bad` with the rows of x that hold an infinite value, which become 0 in place.

    first: number of x's first row in the input. names: those of the columns, None to count them.
    """
    if x.dtype.kind != "f" or not (infinite := np.isinf(x)).any():
        return bad
    infinite = infinite.reshape(len(x), -1)
    bad = dict(bad)
    for row in np.flatnonzero(infinite.any(axis=1)).tolist():
        at = int(infinite[row].argmax())
        column = repr(names[at]) if names else at + 1
        bad.setdefault(
            row,
            f"row {first + row + 1}, column {column} is infinite; "
            "correct it, or write NaN for a missing value",
        )
        x[row] = 0
    return bad


class Ahead(Generic[Item]):
    """Items of an iterable, read in a thread of its own, at most `most` before they are needed."""

    def __init__(self, items: Iterable[Item], most: int) -> None:
        self._items, self._most = items, most
        self._ready: deque[Item] = deque()
        self._error: BaseException | None = None
        self._closed = self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._take, name="ae_runtime_reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread after the item that it is reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _take(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed or len(self._ready) < self._most)
                    if self._closed:
                        return
        except BaseException as error:  # raised again where the items are used
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
