"""Series cut into windows: rows of T time steps; and windows put together again, as time steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError

Array = NDArray[Any]


PAD_ROWS = 1 << 14  # time steps that no window covers and that are given out at once


def window_starts(
    length: int, window: int, stride: int, borders: Sequence[int] = ()
) -> NDArray[np.int64]:
    """First time steps of the windows of a series of `length` steps, in order.

    There is one window each `stride` steps, and a last one aligned to the end where steps are left
    over; none in a series shorter than a window. borders: steps, in order, that come after a gap.
    No window crosses one: the steps between two of them are cut as a series of their own.
    """
    if not len(borders):
        return _starts(0, length, window, stride)
    edges = itertools.pairwise([0, *borders, length])
    return np.concatenate([_starts(low, high, window, stride) for low, high in edges])


def _starts(low: int, high: int, window: int, stride: int) -> NDArray[np.int64]:
    last = high - window
    if last < low:
        return np.empty(0, np.int64)
    starts = np.arange(low, last + 1, stride, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def too_short(length: int, window: int, borders: Sequence[int]) -> tuple[int, int]:
    """(steps between borders too close for a window, most steps between two borders)."""
    lengths = np.diff([0, *borders, length])
    return int(lengths[lengths < window].sum()), int(lengths.max())


def check_stride(window: int, stride: int) -> None:
    """Raise DataError where the windows leave out time steps, which then cannot come back."""
    if stride > window:
        raise DataError(
            f"a stride of {stride} leaves out time steps between windows of {window}; "
            f"choose at most {window}"
        )


class Windows:
    """Windows of one or more series as an array (N, T, C) that is not in memory.

    series: arrays (steps, C), in order, all of one dtype. index: (N,) which series each window is
    cut from; starts: (N,) its first time step there. stride: time steps from one to the next.
    """

    def __init__(
        self,
        series: Sequence[Array],
        window: int,
        index: NDArray[np.int64],
        starts: NDArray[np.int64],
        stride: int = 1,
    ) -> None:
        self.series, self.window, self.stride = list(series), window, stride
        self.index, self.starts = index, starts
        self.dtype = self.series[0].dtype
        self.shape = (len(starts), window, self.series[0].shape[1])

    @classmethod
    def cut(
        cls,
        series: Sequence[Array],
        window: int,
        stride: int,
        borders: Sequence[Sequence[int]] | None = None,
    ) -> Windows:
        """All windows of these series, series after series.

        borders: of each series, the steps that come after a gap.
        """
        borders = borders or [()] * len(series)
        starts = [
            window_starts(len(one), window, stride, edges)
            for one, edges in zip(series, borders, strict=True)
        ]
        index = np.repeat(np.arange(len(starts)), [len(part) for part in starts])
        return cls(series, window, index.astype(np.int64), np.concatenate(starts), stride)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Array:
        """These windows, (B, T, C), copied."""
        index, starts = self.index[rows], self.starts[rows]
        out = np.empty((len(starts), *self.shape[1:]), self.dtype)
        steps = np.arange(self.window)
        for at in np.unique(index):
            chosen = np.flatnonzero(index == at)
            out[chosen] = self.series[at][starts[chosen, None] + steps]
        return out


class Overlaps:
    """Time steps from windows: each step is the mean of the windows that cover it.

    steps_done: the first step that is wanted. Sums are float64 and in the order of windows, so the
    means have the same bits wherever the work starts, if it starts no later than the first window
    that covers steps_done.
    """

    def __init__(self, window: int, stride: int, steps_done: int = 0) -> None:
        check_stride(window, stride)
        self._window, self._stride = window, stride
        self._done = steps_done  # steps before this one have been given out
        self._base = -1  # the step of the first sum
        self._dtype: np.dtype[Any] = np.dtype(np.float64)
        self._sums = np.empty((0, 0))
        self._counts = np.empty(0, np.int64)

    def add(self, windows: Array, starts: NDArray[np.int64]) -> Array:
        """The steps (S, C) that these windows (B, T, C) finish, in the dtype of the windows.

        starts: (B,) their first time steps, increasing from call to call; windows may be left out.
        Integers are rounded. A step that no window covers is NaN, or 0 for integers.
        """
        self._begin(windows, starts)
        if not len(starts):
            return self._take(self._base)
        self._grow(int(starts[-1]) + self._window + self._stride - self._base)
        borders = np.flatnonzero(np.diff(starts) != self._stride) + 1
        for low, high in itertools.pairwise([0, *borders.tolist(), len(starts)]):
            self._add_run(windows[low:high], int(starts[low]) - self._base)
        # The last window of a series is aligned to its end, so it may start one step later.
        return self._take(int(starts[-1]) + 1)

    def add_in_pieces(self, windows: Array, starts: NDArray[np.int64]) -> Iterator[Array]:
        """The steps that `add` gives, in pieces where many lie between windows that cover none."""
        if not len(starts):
            yield self.add(windows, starts)
            return
        self._begin(windows, starts)
        ends = np.append(self._base + len(self._sums), starts[:-1] + self._window)
        holes = np.flatnonzero(starts - ends[: len(starts)] > PAD_ROWS)
        for low, high in itertools.pairwise(np.unique([0, *holes, len(starts)]).tolist()):
            while starts[low] - self._base > PAD_ROWS:  # no window covers these any more
                self._grow(PAD_ROWS)
                yield self._take(self._base + PAD_ROWS)
            yield self.add(windows[low:high], starts[low:high])

    def finish(self) -> Array:
        """The steps that are left."""
        covered = np.flatnonzero(self._counts)
        return self._take(self._base + (int(covered[-1]) + 1 if len(covered) else 0))

    def _begin(self, windows: Array, starts: NDArray[np.int64]) -> None:
        if self._base < 0:
            self._base = min(self._done, int(starts[0]) if len(starts) else self._done)
            self._sums, self._dtype = np.empty((0, windows.shape[2])), windows.dtype

    def _grow(self, steps: int) -> None:
        more = steps - len(self._sums)
        if more > 0:
            self._sums = np.concatenate([self._sums, np.zeros((more, self._sums.shape[1]))])
            self._counts = np.concatenate([self._counts, np.zeros(more, np.int64)])

    def _add_run(self, windows: Array, at: int) -> None:
        """Add windows that are a stride apart, the first of which starts at sum `at`."""
        stride, length = self._stride, len(windows) * self._stride
        # All windows are added piece by piece, the last pieces first: so each step gets its windows
        # in their order.
        for piece in reversed(range(-(-self._window // stride))):
            part = windows[:, piece * stride : (piece + 1) * stride]
            low, width = at + piece * stride, part.shape[1]
            sums = self._sums[low : low + length].reshape(len(windows), stride, -1)
            sums[:, :width] += part
            self._counts[low : low + length].reshape(len(windows), stride)[:, :width] += 1

    def _take(self, end: int) -> Array:
        """The means of the steps before `end` that are wanted."""
        count = max(end - self._base, 0)
        sums, counts = self._sums[:count], self._counts[:count, None]
        wanted = slice(max(self._done - self._base, 0), None)
        with np.errstate(invalid="ignore"):
            means = (sums / counts)[wanted]
        if self._dtype.kind in "iu":
            means = np.rint(np.nan_to_num(means))
        self._sums, self._counts = self._sums[count:].copy(), self._counts[count:].copy()
        self._base, self._done = self._base + count, max(self._done, self._base + count)
        return means.astype(self._dtype)
