"""Windows of series: they cover every step, lie where they say, and are sliced like an array."""

from __future__ import annotations

import numpy as np
import pytest

from ae_runtime.windows import Windows, window_starts


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
