"""Windows of series cover every step, are sliced like an array, and become steps again."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.tables import windows as module
from ae_runtime.tables.windows import Overlaps, Windows, too_short, window_starts


@pytest.mark.parametrize("length", [5, 6, 7, 12, 23])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_every_step_is_covered_and_the_last_window_ends_with_the_series(
    length: int, stride: int
) -> None:
    starts = window_starts(length, 5, stride)
    assert starts[0] == 0
    assert starts[-1] == length - 5
    assert np.all(np.diff(starts) <= stride)
    assert np.all(np.diff(starts) > 0)
    assert all(start % stride == 0 for start in starts[:-1])


def test_a_series_shorter_than_its_window_has_none() -> None:
    assert len(window_starts(4, 5, 1)) == 0


def test_windows_are_the_steps_of_their_series() -> None:
    random = np.random.default_rng(0)
    series = [random.standard_normal((length, 3)) for length in (9, 4, 12)]
    windows = Windows.cut(series, 4, 3)
    expected = np.stack(
        [
            series[at][start : start + 4]
            for at in range(3)
            for start in window_starts(len(series[at]), 4, 3)
        ]
    )
    assert (windows.shape, windows.dtype, len(windows)) == (expected.shape, np.float64, 8)
    np.testing.assert_array_equal(windows[:], expected)
    np.testing.assert_array_equal(windows[2:5], expected[2:5])
    chosen = np.array([7, 0, 7, 3])
    np.testing.assert_array_equal(windows[chosen], expected[chosen])
    assert windows[np.empty(0, np.int64)].shape == (0, 4, 3)


def means(windows: NDArray[Any], starts: NDArray[np.int64], steps: int) -> NDArray[np.float64]:
    """(steps, C): the mean of what windows say of each step, summed one after the other."""
    sums, counts = np.zeros((steps, windows.shape[2])), np.zeros(steps)
    for window, start in zip(windows, starts.tolist(), strict=True):
        sums[start : start + len(window)] += window
        counts[start : start + len(window)] += 1
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = sums / counts[:, None]
    return found


def put_together(
    windows: NDArray[Any], starts: NDArray[np.int64], stride: int, size: int, done: int = 0
) -> list[NDArray[Any]]:
    overlaps = Overlaps(windows.shape[1], stride, done)
    parts = [
        overlaps.add(windows[at : at + size], starts[at : at + size])
        for at in range(0, len(starts), size)
    ]
    return [*parts, overlaps.finish()]


@pytest.mark.parametrize("seed", range(100))
def test_overlaps_are_averaged_to_the_same_bits_wherever_it_starts(seed: int) -> None:
    random = np.random.default_rng(seed)
    length = int(random.integers(1, 10))
    stride, size = int(random.integers(1, length + 1)), int(random.integers(1, 9))
    steps = int(random.integers(length, 60))
    starts = window_starts(steps, length, stride)
    dtype = [np.float32, np.float64][seed % 2]
    windows = random.standard_normal((len(starts), length, 3)).astype(dtype)
    expected = means(windows, starts, steps).astype(dtype)
    found = np.concatenate(put_together(windows, starts, stride, size))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    for done in range(steps):
        first = int(np.flatnonzero(starts + length > done)[0])  # the first that covers this step
        rest = put_together(windows[first:], starts[first:], stride, size, done)
        np.testing.assert_array_equal(np.concatenate(rest), expected[done:])


def test_steps_come_as_soon_as_no_window_can_cover_them_again() -> None:
    windows = np.ones((3, 4, 1))
    parts = put_together(windows, np.array([0, 4, 6]), 4, 1)
    # After the window at 0, one may start at 1, if it is the last.
    assert [len(part) for part in parts] == [1, 4, 2, 3]


def test_means_of_integers_are_rounded() -> None:
    windows = np.array([[[1], [2], [255]], [[5], [254], [7]]], np.uint8)
    found = np.concatenate(put_together(windows, np.array([0, 1]), 1, 2))
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [1, 4, 254, 7]  # 3.5 and 254.5 to the even one


@pytest.mark.parametrize("seed", range(20))
def test_windows_that_are_left_out_do_not_count(seed: int) -> None:
    random = np.random.default_rng(seed)
    starts = window_starts(40, 6, 4)
    kept = np.flatnonzero(random.random(len(starts)) < 0.6)
    windows = random.standard_normal((len(starts), 6, 2))[kept]
    found = np.concatenate([np.empty((0, 2)), *put_together(windows, starts[kept], 4, 3)])
    expected = means(windows, starts[kept], 40)
    np.testing.assert_array_equal(found, expected[: len(found)])
    assert np.isnan(expected[len(found) :]).all()


@pytest.mark.parametrize("seed", range(20))
def test_stretches_between_gaps_are_cut_each_on_its_own(seed: int) -> None:
    random = np.random.default_rng(seed)
    length, window, stride = 80, int(random.integers(1, 9)), int(random.integers(1, 9))
    borders = np.flatnonzero(random.random(length) < 0.1)[1:].tolist()
    starts = window_starts(length, window, stride, borders)
    edges = [0, *borders, length]
    alone = [
        low + window_starts(high - low, window, stride) for low, high in itertools.pairwise(edges)
    ]
    np.testing.assert_array_equal(starts, np.concatenate(alone))
    short = [high - low for low, high in itertools.pairwise(edges)]
    assert too_short(length, window, borders) == (
        sum(steps for steps in short if steps < window),
        max(short),
    )


@pytest.mark.parametrize("seed", range(20))
def test_long_holes_between_windows_come_in_pieces(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAD_ROWS", 10)
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.choice([1, 2, 40], 30)) + int(random.integers(0, 50))
    windows = random.standard_normal((len(starts), 6, 2))
    size, done = int(random.integers(1, 9)), int(random.integers(0, starts[0] + 3))
    overlaps, parts = Overlaps(6, 2, done), []
    for at in range(0, len(starts), size):
        given = windows[at : at + size], starts[at : at + size]
        parts += list(overlaps.add_in_pieces(*given))
    assert max(map(len, parts)) <= 10 + size * 12  # of memory, what a hole takes is bounded
    found = np.concatenate([*parts, overlaps.finish()])
    np.testing.assert_array_equal(found, means(windows, starts, starts[-1] + 6)[done:])


def test_a_stride_that_leaves_steps_out() -> None:
    with pytest.raises(DataError) as error:
        Overlaps(4, 5)
    assert str(error.value) == (
        "a stride of 5 leaves out time steps between windows of 4; choose at most 4"
    )
