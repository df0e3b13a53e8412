"""Series: channels, windows, and parts that are apart in time."""

from __future__ import annotations

import numpy as np
import pytest

from ae_runtime.errors import DataError
from ae_runtime.files.windows import Windows
from ae_runtime.table import Table
from ae_train.recipe import Data
from ae_train.series import MAX_WINDOWS, channels_of, make_series, split_series


def moments(*minutes: int) -> np.ndarray:
    return np.array([f"2026-01-01T00:{at:02}:00" for at in minutes], object)


def steps(*lengths: int) -> list[np.ndarray]:
    return [np.arange(length * 2.0).reshape(length, 2) for length in lengths]


def test_the_time_is_no_channel() -> None:
    table = Table({"v": np.ones(3), "when": moments(0, 1, 1), "w": np.zeros(3)})
    values, names, note = channels_of(table, "s.csv")
    assert names == ["v", "w"]
    assert note == "s.csv: 'when' is the time, and not learned"
    np.testing.assert_array_equal(values, [[1, 0]] * 3)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"when": moments(0, 9, 4), "v": np.ones(3)},
            "s.csv: row 3, column 'when': time goes back from 2026-01-01T00:09:00 to "
            "2026-01-01T00:04:00; sort the rows by time, or bring each series as a file of its own",
        ),
        (
            {"time": np.array([0, 2, 1.0]), "v": np.ones(3)},
            "s.csv: row 3, column 'time': time goes back from 2 to 1; sort the rows by time, or "
            "bring each series as a file of its own",
        ),
        (
            {"v": np.ones(2), "state": np.array([None, "on"], object)},
            "s.csv: series hold numbers, column 'state' holds text ('on'); leave it out with "
            "--drop state",
        ),
        ({"when": moments(0, 1)}, "s.csv holds no column of numbers beside the time"),
    ],
)
def test_tables_that_are_no_series(columns: dict[str, np.ndarray], expected: str) -> None:
    with pytest.raises(DataError) as error:
        channels_of(Table(columns), "s.csv")
    assert str(error.value) == expected


def test_the_window_follows_the_shortest_series() -> None:
    assert make_series(steps(5000, 600), Data(), "ab")[0].window == 64
    assert make_series(steps(5000, 80), Data(), "ab")[0].window == 10


def test_long_series_have_a_stride_that_keeps_windows_few() -> None:
    windows, stride = make_series(steps(3 * MAX_WINDOWS), Data(), "a")
    assert stride == 3
    assert len(windows) <= MAX_WINDOWS + 1
    assert make_series(steps(3 * MAX_WINDOWS), Data(stride=1), "a")[1] == 1


def test_a_series_shorter_than_its_window_is_named() -> None:
    with pytest.raises(DataError) as error:
        make_series(steps(100, 40), Data(window=64), ["long.csv", "short.csv"])
    assert str(error.value) == (
        "short.csv has 40 time steps, fewer than the window of 64; choose --window 5 or smaller, "
        "or leave it out"
    )


def test_series_of_one_training_have_the_same_channels() -> None:
    with pytest.raises(DataError) as error:
        make_series([np.ones((9, 2)), np.ones((9, 3))], Data(window=2), ["a.npy", "b.npy"])
    assert str(error.value) == (
        "a.npy has 2 channels, b.npy has 3; series of one training have the same"
    )


@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("window", [1, 8])
def test_parts_are_in_order_of_time_and_share_no_step(stride: int, window: int) -> None:
    windows = Windows.cut(steps(200, 20, 331), window, stride)
    parts = split_series(windows, 0.1, 0.2)
    train, validation, _ = parts
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
    for at in (0, 2):
        firsts, lasts = [], []
        for rows in parts:
            starts = windows.starts[rows][windows.index[rows] == at]
            assert len(starts)
            firsts.append(starts.min())
            lasts.append(starts.max() + window)
        assert lasts[0] <= firsts[1] < lasts[1] <= firsts[2]
        assert lasts[2] == len(windows.series[at])
        assert len(train) > len(validation)
    if window == 8:  # too short for three parts: all of it is for training
        assert set(np.flatnonzero(windows.index == 1)) <= set(train)


def test_nothing_held_out_leaves_all_windows_for_training() -> None:
    windows = Windows.cut(steps(50), 8, 1)
    train, validation, test = split_series(windows, 0.0, 0.0)
    assert train.tolist() == list(range(len(windows)))
    assert not len(validation)
    assert not len(test)


def test_series_too_short_to_hold_out_a_window() -> None:
    with pytest.raises(DataError, match="no series is long enough to validate on windows of 8"):
        split_series(Windows.cut(steps(23), 8, 1), 0.1, 0.1)
    assert [len(rows) for rows in split_series(Windows.cut(steps(24), 8, 1), 0.1, 0.1)] == [1, 1, 1]
