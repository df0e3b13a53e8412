"""Series: channels, windows, and parts that are apart in time."""

from __future__ import annotations

import numpy as np
import pytest

from ae_runtime.errors import DataError
from ae_runtime.tables.table import Table
from ae_runtime.tables.windows import Windows
from ae_train.data.series import (
    MAX_WINDOWS,
    Steps,
    cut_series,
    make_series,
    same_channels,
    split_series,
    steps_of,
    steps_of_array,
)
from ae_train.recipe import Data


def moments(*minutes: int) -> np.ndarray:
    return np.array([f"2026-01-01T00:{at:02}:00" for at in minutes], object)


def steps(*lengths: int) -> list[np.ndarray]:
    return [np.arange(length * 2.0).reshape(length, 2) for length in lengths]


def of(columns: dict[str, np.ndarray], drop: tuple[str, ...] = ()) -> Steps:
    table = Table(columns)
    chosen = Table({name: values for name, values in columns.items() if name not in drop})
    return steps_of(table, chosen, drop, "s.csv")


def test_the_time_is_no_channel() -> None:
    found = of({"v": np.ones(3), "when": moments(0, 1, 1), "w": np.zeros(3)})
    assert (found.channels, found.time) == (["v", "w"], "when")
    assert found.notes == ("s.csv: 'when' is the time, and not learned",)
    np.testing.assert_array_equal(found.values, [[1, 0]] * 3)
    np.testing.assert_array_equal(found.times, 1767225600 + np.array([0, 60, 60]))


@pytest.mark.parametrize("name", ["time", "Time [s]", "Timestamp (UTC)", "DATE"])
def test_a_column_that_is_called_a_time_is_the_time(name: str) -> None:
    found = of({name: np.arange(4.0), "v": np.ones(4)})
    assert (found.channels, found.time) == (["v"], name)


def test_the_time_is_found_where_other_columns_are_chosen() -> None:
    columns = {"when": moments(0, 1, 1), "v": np.ones(3), "w": np.ones(3)}
    found = steps_of(Table(columns), Table({"v": np.ones(3)}), (), "s.csv")
    assert (found.channels, found.time) == (["v"], "when")
    assert of(columns, drop=("when",)).time is None  # left out: rows are in order, the user says


def test_of_two_times_the_finer_one_counts() -> None:
    days = np.array(["2026-01-01"] * 4, object)
    assert of({"day": days, "time": np.arange(4.0), "v": np.ones(4)}).time == "time"


def test_a_column_that_rises_with_every_row_is_named() -> None:
    line = (
        "s.csv: {} rises with every row, as a time or a row number does, and is learned: if it is "
        "one, {}"
    )
    rising = {"run time": np.arange(9.0), "v": np.cos(np.arange(9.0))}
    assert of(rising).notes == (line.format("'run time'", "--drop 'run time' leaves it out"),)
    assert of({"v": rising["v"]}).notes == ()
    array = np.stack(list(rising.values()), axis=1)
    assert steps_of_array(array, "s.csv").notes == (line.format("column 1", "slice it off before"),)


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
            {"date": np.array(["2026-01-01", "12:30"], object), "v": np.ones(2)},
            "s.csv: row 2, column 'date': '12:30' is not an ISO 8601 date (2026-03-31 or "
            "2026-03-31T08:15); the column is taken as the time: leave it out with --drop date",
        ),
        (
            {"v": np.ones(3), "my state": np.array([None, "1", "on"], object)},
            "s.csv: row 3, column 'my state': 'on' is not a number, and series hold numbers: "
            "correct it, or leave the column out with --drop 'my state'",
        ),
        ({"when": moments(0, 1)}, "s.csv holds no column of numbers beside the time"),
    ],
)
def test_tables_that_are_no_series(columns: dict[str, np.ndarray], expected: str) -> None:
    with pytest.raises(DataError) as error:
        of(columns)
    assert str(error.value) == expected


def test_channels_of_several_files_go_by_name() -> None:
    a, b = of({"v": np.ones(3), "w": np.zeros(3)}), of({"w": np.ones(3), "v": np.zeros(3)})
    _, second = same_channels([a, b])
    assert second.channels == ["v", "w"]
    np.testing.assert_array_equal(second.values, [[0, 1]] * 3)
    with pytest.raises(DataError) as error:
        same_channels([a, of({"v": np.ones(3), "u": np.ones(3)})])
    assert str(error.value) == (
        "s.csv and s.csv have different columns: v, w and v, u; choose the common ones with "
        "--columns"
    )


def timed(*times: np.ndarray) -> list[Steps]:
    return [
        Steps(f"{at}.csv", np.arange(2.0 * len(each)).reshape(-1, 2), None, "t", each)
        for at, each in enumerate(times)
    ]


def test_windows_do_not_cross_a_gap() -> None:
    even = np.arange(60.0)
    gaps = np.concatenate([even[:20], even[:2] + 30, even[:38] + 90])
    windows, stride, step, note = cut_series(timed(gaps, even), Data(window=8))
    assert (stride, step) == (1, 1.0)
    assert note == (
        "0.csv: 2 gaps in 't': windows do not cross them; 2 rows between gaps, in stretches "
        "shorter than a window of 8, are in no window"
    )
    first = windows.starts[windows.index == 0].tolist()
    assert first == [*range(13), *range(22, 53)]
    assert windows.starts[windows.index == 1].tolist() == list(range(53))


def test_steps_of_time_that_vary_have_no_gaps() -> None:
    weekdays = np.arange(100.0)[np.arange(100) % 7 < 5]
    windows, _, step, note = cut_series(timed(weekdays), Data(window=8))
    assert (len(windows), step) == (len(weekdays) - 7, None)
    assert note == (
        "the steps of time in 't' vary: rows are taken one after the other, whatever lies between "
        "them"
    )


def test_no_window_between_gaps() -> None:
    parts = [np.arange(30.0) + start for start in (0, 100, 200)]
    with pytest.raises(DataError) as error:
        cut_series(timed(np.concatenate(parts)), Data(window=40))
    assert str(error.value) == (
        "0.csv: no window of 40 steps lies between gaps: the longest stretch has 30, and 2 steps "
        "in 't' are longer than 2.5 times the usual 1; choose a smaller --window"
    )


@pytest.mark.parametrize("seed", range(20))
def test_parts_share_no_step_whatever_the_gaps(seed: int) -> None:
    random = np.random.default_rng(seed)
    window, stride = int(random.integers(1, 12)), int(random.integers(1, 9))
    borders = np.flatnonzero(random.random(400) < 0.03)[1:].tolist()
    windows = Windows.cut(steps(400), window, stride, [borders])
    ends = []
    for rows in split_series(windows, 0.1, 0.2):
        assert len(rows)  # the last whole windows are held out, wherever gaps lie
        starts = windows.starts[rows]
        assert not ends or starts.min() >= ends[-1]
        ends.append(starts.max() + window)


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
