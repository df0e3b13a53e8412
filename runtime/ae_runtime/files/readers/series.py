"""Windows cut from an input of time steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.readers.blocks import PIECE_BYTES, Block, SeriesCut, Stream
from ae_runtime.tables.times import Clock

Array = NDArray[Any]
_BYTES = 2 * PIECE_BYTES  # taken by windows in work, beside the steps
_END = -1  # the position after the last window of all


class _Before(NamedTuple):
    """The beginning of a block of steps: its first step, position, and the clock's state."""

    step: int = 0
    position: Any = 0
    clock: tuple[float, ...] = ()


class _Position(NamedTuple):
    """What is needed to go on after a window; a journal has it as a list.

    before: the beginning of the block of steps that holds the window's start. window: its first
    step. section: the first step after the last gap before it. short, longest: as in _Sections.
    """

    before: _Before = _Before()
    window: int = -1
    section: int = 0
    short: int = 0
    longest: int = 0


class WindowStream(Stream):
    """Windows of a series, one each `stride` steps and a last one aligned to the end.

    clock: for a series with times: windows do not cross its gaps, and the steps between two gaps
    are cut as a series of their own.
    """

    def __init__(
        self, steps: Stream, window: int, stride: int, channels: int, clock: Clock | None = None
    ) -> None:
        self.path, self.notes, self.id_name = steps.path, steps.notes, steps.id_name
        self.fingerprint, self._steps, self._clock = steps.fingerprint, steps, clock
        self.memory = steps.memory + _BYTES
        self._cut = SeriesCut(window, stride, steps.rows)
        self.series: SeriesCut | None = self._cut
        self._together = max(window, PIECE_BYTES // (8 * channels), 1)  # steps read at once
        self.rows: int | None = None
        if steps.rows is not None:
            self._check_length(steps.rows)
            if clock is None or clock.usual is None:
                self.rows = -(-(steps.rows - window) // stride) + 1

    def keep_to(self, most: int) -> None:
        """Hold at most so many bytes; the steps take most of them."""
        self._steps.keep_to(most - _BYTES)
        self.memory = self._steps.memory + _BYTES

    def _check_length(self, steps: int) -> None:
        if steps < self._cut.window:
            raise DataError(
                f"{self.path} has {steps} time steps, fewer than the bundle's window of "
                f"{self._cut.window}; bring a longer series"
            )

    def blocks(self, size: int, first: int = 0, position: Any = 0) -> Iterator[Block]:
        """Blocks of `size` windows; ids are those of their first steps.

        At the end, `notes` have lines on gaps and repeated times. Raises DataError where time goes
        back, and where no window fits between gaps.
        """
        if position == _END:
            return
        at = _read(position)
        held, sections = _Held(at.before), _Sections(self._cut, at)
        block = _Filling(size, first)
        if self._clock is not None:
            self._clock.restore(at.before.clock)
        for steps in self._steps.blocks(self._together, at.before.step, at.before.position):
            state, borders = self._borders(steps)
            held.add(steps, min(sections.next, held.end - self._cut.window), state)
            for starts in sections.windows(borders, held.end):
                yield from self._filled(block, held, sections, starts)
        self._check_length(held.end)
        self._cut.steps = held.end
        for starts in sections.windows([held.end], held.end):
            yield from self._filled(block, held, sections, starts)
        if self._clock is not None:
            if block.next == 0:
                raise self._clock.no_window(self._cut.window, sections.longest)
            lines = self._clock.notes(self._cut.window, sections.short)
            self.notes += [line for line in lines if line not in self.notes]
        if block.count:
            yield block.take(_END)

    def _borders(self, steps: Block) -> tuple[tuple[float, ...], list[int]]:
        """(the clock's state before these steps, the steps that come after a gap)."""
        if self._clock is None or steps.times is None:
            return (), []
        return self._clock.state, self._clock.borders(steps.times, steps.first)

    def _filled(
        self, block: _Filling, held: _Held, sections: _Sections, starts: NDArray[np.int64]
    ) -> Iterator[Block]:
        """The blocks that these windows fill."""
        while len(starts):
            added = block.add(held, starts, self._cut.window)
            sections.last, starts = int(starts[added - 1]), starts[added:]
            if block.is_full:
                yield block.take(sections.position(held.before(sections.last)))

    def close(self) -> None:
        self._steps.close()


def _read(position: Any) -> _Position:
    """The position from a number or, if it comes from a journal, lists; 0 is the beginning."""
    if not position:
        return _Position()
    (step, inner, clock), *rest = position
    return _Position(_Before(step, inner, tuple(clock)), *rest)


class _Sections:
    """The next windows in the sections between gaps.

    last: the start of the last window that was cut, -1 before the first. short: number of steps in
    sections that are shorter than a window; longest: number of steps in the longest of these.
    """

    def __init__(self, cut: SeriesCut, at: _Position) -> None:
        self._window, self._stride = cut.window, cut.stride
        self.last, self._begin, self.short, self.longest = at[1:]

    @property
    def next(self) -> int:
        """The first step of the next window, unless a gap comes before."""
        return self._begin if self.last < self._begin else self.last + self._stride

    def windows(self, borders: list[int], end: int) -> Iterator[NDArray[np.int64]]:
        """The starts of the windows that are complete, where steps are known up to `end`.

        borders: steps that end a section. The caller takes all starts before it asks for more.
        """
        for border in borders:
            if border <= max(self.last, self._begin):
                continue  # seen again where the work is resumed
            yield self._complete(border)
            aligned = border - self._window
            if aligned > self.last and aligned >= self._begin:
                yield np.array([aligned])
            if aligned < self._begin:
                self.short += border - self._begin
                self.longest = max(self.longest, border - self._begin)
            self._begin = border
        yield self._complete(end)

    def _complete(self, end: int) -> NDArray[np.int64]:
        return np.arange(self.next, end - self._window + 1, self._stride)

    def position(self, before: _Before) -> _Position:
        """The position after the last window."""
        return _Position(before, self.last, self._begin, self.short, self.longest)


class _Held:
    """Steps that windows may still need. begin, end: the first of them, and the one after all."""

    def __init__(self, before: _Before) -> None:
        self.begin = self.end = before.step
        self.steps: Array | None = None
        self.ids: Array | None = None
        self.bad: dict[int, str] = {}
        self._blocks: list[_Before] = []  # of steps
        self._position = before.position

    def add(self, block: Block, keep: int, clock: tuple[float, ...]) -> None:
        """Take more steps in, and let go of those before `keep`. clock: its state before them."""
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
        self._blocks.append(_Before(self.end, self._position, clock))
        self.end = block.first + len(more)
        self._position = block.position

    def before(self, step: int) -> _Before:
        """Where the block of steps with this one begins; no earlier step is asked for again."""
        while len(self._blocks) > 1 and self._blocks[1].step <= step:
            del self._blocks[0]
        return self._blocks[0]


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

    def add(self, held: _Held, starts: NDArray[np.int64], window: int) -> int:
        """Copy the windows that start there, evenly apart, as many as still fit in: so many."""
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
        return len(starts)

    def take(self, position: Any) -> Block:
        """The block, and start with the next one."""
        assert self._x is not None
        count, first = self.count, self.next - self.count
        ids = np.concatenate(self._ids) if self._ids else None
        starts = self._starts[:count].copy()
        block = Block(first, (self._x[:count],), position, ids, self._bad, starts)
        self._x, self._ids, self._bad, self.count = None, [], {}, 0
        return block
