"""A stream of time steps as a stream of the windows cut from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.stream_blocks import PIECE_BYTES, Block, SeriesCut, Stream

Array = NDArray[Any]
_BYTES = 2 * PIECE_BYTES  # of windows on their way, beside what the steps take
_END = -1  # the position after the last window of all


class WindowStream(Stream):
    """Windows of a series, one each `stride` steps and a last one aligned to the end.

    A position is that of the block of steps which holds the start of the window before.
    """

    def __init__(self, steps: Stream, window: int, stride: int, channels: int) -> None:
        self.path, self.notes, self.id_name = steps.path, steps.notes, steps.id_name
        self.fingerprint, self._steps = steps.fingerprint, steps
        self.memory = steps.memory + _BYTES
        self._cut = SeriesCut(window, stride, steps.rows)
        self.series: SeriesCut | None = self._cut
        self._together = max(window, PIECE_BYTES // (8 * channels), 1)  # steps read at once
        self.rows: int | None = None
        if steps.rows is not None:
            self._check_length(steps.rows)
            self.rows = -(-(steps.rows - window) // stride) + 1

    def keep_to(self, most: int) -> None:
        """Of which the steps take the larger part."""
        self._steps.keep_to(most - _BYTES)
        self.memory = self._steps.memory + _BYTES

    def _check_length(self, steps: int) -> None:
        if steps < self._cut.window:
            raise DataError(
                f"{self.path} has {steps} time steps, fewer than the bundle's window of "
                f"{self._cut.window}; bring a longer series"
            )

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks of `size` windows; ids are those of their first steps."""
        if position == _END:
            return
        window, stride = self._cut.window, self._cut.stride
        begin = max(first - 1, 0) * stride // self._together * self._together
        held = _Held(begin, position)
        block = _Filling(size, first)
        for steps in self._steps.blocks(self._together, begin, position):
            held.add(steps, min(block.next * stride, held.end - window))
            complete = (held.end - window) // stride + 1
            while block.next < complete:
                block.add(held, np.arange(block.next, complete) * stride, window)
                if block.is_full:
                    yield block.take(held.position_of((block.next - 1) * stride))
        self._check_length(held.end)
        self._cut.steps = held.end
        last = held.end - window
        if last % stride and last // stride + 1 >= block.next:
            block.add(held, np.array([last]), window)
            yield block.take(_END)
        elif block.count:
            yield block.take(_END)

    def close(self) -> None:
        self._steps.close()


class _Held:
    """Steps that windows may still need. begin, end: the first of them, and the one after all."""

    def __init__(self, begin: int, position: int) -> None:
        self.begin = self.end = begin
        self.steps: Array | None = None
        self.ids: Array | None = None
        self.bad: dict[int, str] = {}
        self._positions = [(begin, position)]  # of blocks of steps, by their first

    def add(self, block: Block, keep: int) -> None:
        """Take more steps in, and let go of those before `keep`."""
        drop = max(min(keep, self.end) - self.begin, 0)
        more = block.arrays[0]
        self.steps = more if self.steps is None else np.concatenate([self.steps[drop:], more])
        if block.ids is not None:
            self.ids = (
                block.ids if self.ids is None else np.concatenate([self.ids[drop:], block.ids])
            )
        self.begin += drop
        self.bad = {at: why for at, why in self.bad.items() if at >= self.begin}
        self.bad |= {block.first + at: why for at, why in block.bad.items()}
        self.end = block.first + len(more)
        self._positions.append((self.end, block.position))

    def position_of(self, step: int) -> int:
        """The position of the block of steps that holds this one."""
        while len(self._positions) > 1 and self._positions[1][0] <= step:
            del self._positions[0]
        return self._positions[0][1]


class _Filling:
    """A block of windows that is being filled. next: the index of the window that comes next."""

    def __init__(self, size: int, first: int) -> None:
        self._size, self.next, self.count = size, first, 0
        self._x: Array | None = None
        self._starts = np.empty(size, np.int64)
        self._ids: list[Array] = []
        self._bad: dict[int, str] = {}

    @property
    def is_full(self) -> bool:
        return self.count == self._size

    def add(self, held: _Held, starts: NDArray[np.int64], window: int) -> None:
        """Copy the windows that start there, as many as still fit in."""
        assert held.steps is not None
        starts = starts[: self._size - self.count]
        if self._x is None:
            self._x = np.empty((self._size, window, held.steps.shape[1]), held.steps.dtype)
        low, high = self.count, self.count + len(starts)
        places = starts - held.begin
        stride = int(starts[1] - starts[0]) if len(starts) > 1 else 1
        every = sliding_window_view(held.steps, window, axis=0)  # (places, C, T)
        chosen = every[places[0] : places[-1] + 1 : stride]
        self._x[low:high] = chosen.transpose(0, 2, 1)
        self._starts[low:high] = starts
        if held.ids is not None:
            self._ids.append(held.ids[places])
        for step in sorted(held.bad):
            covering = np.flatnonzero((starts <= step) & (step < starts + window))
            for at in covering.tolist():
                self._bad.setdefault(low + at, held.bad[step])
        self.count, self.next = high, self.next + len(starts)

    def take(self, position: int) -> Block:
        """The block, and start with the next one."""
        assert self._x is not None
        count, first = self.count, self.next - self.count
        ids = np.concatenate(self._ids) if self._ids else None
        starts = self._starts[:count].copy()
        block = Block(first, (self._x[:count],), position, ids, self._bad, starts)
        self._x, self._ids, self._bad, self.count = None, [], {}, 0
        return block
