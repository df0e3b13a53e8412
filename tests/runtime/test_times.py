"""Times of series: what makes their steps usual, what is a gap, and what is said of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from ae_runtime.errors import DataError
from ae_runtime.tables.table import parse_date
from ae_runtime.tables.times import Clock, plain_dates, rises_steadily, times_of, usual_step


def test_the_usual_step_is_that_of_nearly_all_rows() -> None:
    random = np.random.default_rng(0)
    even = np.arange(1000.0) * 60
    assert usual_step([even]) == 60
    assert usual_step([even + random.normal(0, 3, 1000)]) == pytest.approx(60, rel=0.05)
    kept = np.sort(random.choice(1000, 980, replace=False))
    assert usual_step([even[kept]]) == 60  # some samples are lost
    missing = even.copy()
    missing[::3] = np.nan
    assert usual_step([missing]) == 60


def test_steps_that_vary_are_none() -> None:
    days = np.arange(700.0)
    weekdays = days[days % 7 < 5]
    assert usual_step([weekdays]) is None
    assert usual_step([np.cumsum(np.random.default_rng(0).exponential(1, 500))]) is None
    assert usual_step([np.repeat(np.arange(100.0), 2)]) is None  # two series in one file
    assert usual_step([np.zeros(9), np.zeros(1)]) is None
    assert usual_step([]) is None


def test_a_lost_sample_is_no_gap_and_two_are() -> None:
    for lost, found in ((0, []), (1, []), (2, [5]), (200, [5])):
        times = np.concatenate([np.arange(5.0), np.arange(5.0) + 5 + lost])
        assert Clock("s.csv", "t", 1.0).borders(times, 0) == found
        times[5] = np.nan  # the gap is before the row whose time is known
        assert Clock("s.csv", "t", 1.0).borders(times, 0) == [at + 1 for at in found]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_of_any_length_give_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.choice([0, 1, 1, 1, 1, 9], 50)).astype(float)
    times[random.random(50) < 0.2] = np.nan
    whole, part = Clock("s.csv", "t", 1.0), Clock("s.csv", "t", 1.0)
    expected, found, at = whole.borders(times, 0), [], 0
    while at < 50:
        end = at + int(random.integers(1, 9))
        state = part.state
        part.restore(())  # as another process would
        part.restore(state)
        found += part.borders(times[at:end], at)
        at = end
    assert (found, part.state) == (expected, whole.state)


def test_what_is_said_of_times() -> None:
    times = np.array([0, 1, 1, 2, 9, 10, 19, 20, 21.0])
    clock = Clock("s.csv", "t", 1.0)
    assert clock.borders(times, 0) == [4, 6]
    assert clock.notes(3, 2) == [
        "s.csv: 2 gaps in 't': windows do not cross them; 2 rows between gaps, in stretches "
        "shorter than a window of 3, are in no window",
        "s.csv: 1 row has the time of the row before in 't', and each is a step of its own; if "
        "the file holds several series, bring each as a file of its own",
    ]
    clock = Clock("s.csv", "t", 2.0)
    clock.borders(np.arange(9.0) * 4, 0)
    assert clock.notes(3, 0) == [
        "s.csv: of the steps in 't', 0% are about 2 as in training: windows span another time than "
        "those of training"
    ]
    assert Clock("s.csv", "t", 2.0).notes(3, 0) == []


def test_times_that_go_back_are_named_across_blocks() -> None:
    clock = Clock("s.csv", "t")
    clock.borders(np.array([1.7e12, 1.7e12 + 5, np.nan]), 0)
    with pytest.raises(DataError) as error:
        clock.borders(np.array([np.nan, 1.7e12 + 3]), 3)
    assert str(error.value) == (
        "s.csv: row 5, column 't': time goes back from 1700000000005 to 1700000000003; sort the "
        "rows by time, or bring each series as a file of its own"
    )


def test_a_time_is_not_infinite() -> None:
    with pytest.raises(DataError) as error:
        Clock("s.csv", "t").borders(np.array([1, np.nan, np.inf]), 7)
    assert str(error.value) == (
        "s.csv: row 10, column 't' is infinite; correct the time, or leave it empty where it is "
        "missing"
    )


def test_times_are_numbers_or_dates() -> None:
    words = np.array(["2026-01-01", None, "2026-01-01T00:01"], object)
    np.testing.assert_array_equal(times_of(words, "t"), [1767225600, np.nan, 1767225660])
    np.testing.assert_array_equal(times_of(np.array(["3", "4.5"], object), "t"), [3, 4.5])
    np.testing.assert_array_equal(times_of(np.array([3, np.nan]), "t"), [3, np.nan])
    for words, row, wrong in (
        (["2026-01-01", "2026-01-02", "12:30"], 3, "'12:30' is not an ISO 8601 date (2026-03-31"),
        (["0.5", "1.5", "time", "2.5"], 3, "'time' is not a number"),  # a header again
    ):
        with pytest.raises(DataError) as error:
            times_of(np.array(words, object), "t")
        assert str(error.value).startswith(f"row {row}, column 't': {wrong}")


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"])
def test_dates_in_one_form_are_read_as_any_others(form: str) -> None:
    random = np.random.default_rng(0)
    moments = [datetime(1, 1, 1) + timedelta(minutes=int(at)) for at in random.integers(0, 1e9, 99)]
    # strftime writes the year 7 as "7" on some systems.
    words = np.array([f"{m.year:04}{m.strftime(form.removeprefix('%Y'))}" for m in moments], object)
    found = plain_dates(words)
    assert found is not None
    np.testing.assert_array_equal(found, [parse_date(word) for word in words])


@pytest.mark.parametrize(
    "words",
    [
        ["2026-01-01", None],
        ["2026-01-01", "2026-01-01T00:00"],
        ["2026-01-01T00:00Z", "2026-01-01T00:00Z"],
        ["2026-02-30", "2026-01-01"],
        ["20260101  "] * 2,
        ["2026/01/01"] * 2,
        ["0.12345678"] * 2,
        ["-2-26-1-1-"] * 2,
        [],
    ],
)
def test_other_dates_are_left_to_python(words: list[str | None]) -> None:
    assert plain_dates(np.array(words, object)) is None


def test_days_of_digits_are_days() -> None:
    moments = [datetime(2023, 12, 1) + timedelta(hours=13 * at) for at in range(999)]
    for form in ("%Y%m%d", "%Y%m%d%H%M%S"):
        words = [moment.strftime(form) for moment in moments]
        expected = [
            parse_date(word if len(word) == 8 else f"{word[:8]}T{word[8:]}") for word in words
        ]
        numbers = np.array(words, np.float64)
        for values in (numbers, np.array(words, object)):
            np.testing.assert_array_equal(times_of(values, "t"), expected)
        numbers[3] = np.nan
        assert np.isnan(times_of(numbers, "t")).sum() == 1


@pytest.mark.parametrize(
    "count", [20260101, 20260227.5, 0, 1767225600, 1767225600000, 20260101000000]
)
def test_counts_are_no_days(count: float) -> None:
    times = count + np.arange(99.0)  # as days, there is a 32nd
    np.testing.assert_array_equal(times_of(times, "t"), times)


def test_what_rises_with_every_row() -> None:
    assert rises_steadily(np.arange(5000))
    assert rises_steadily(np.array([1, np.nan, 2.5, 3]))
    assert not rises_steadily(np.array([1.0, 2, 2]))
    assert not rises_steadily(np.append(np.arange(5000.0), 0))
    assert not rises_steadily(np.array([1.0, 2]))
    assert not rises_steadily(np.full(9, np.nan))
