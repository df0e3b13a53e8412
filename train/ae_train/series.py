"""Sensor series: their channels, their windows, and windows split in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.windows import Windows
from ae_runtime.table import Table, is_numbers, parse_date, to_numbers
from ae_train.recipe import Data

Array = NDArray[Any]
Rows = NDArray[np.int64]
WINDOW = 64
MAX_WINDOWS = 50_000
# What a short series is cut into, at least: a window each for validation and test, several to
# learn from.
_WINDOWS_A_SERIES = 8
_TIME_NAMES = frozenset({"time", "timestamp", "datetime", "date", "ts"})


def channels_of(table: Table, source: str) -> tuple[NDArray[np.float64], list[str], str]:
    """(steps (N, C), names of the channels, note) of a table with one row for a time step.

    Dates, and a column that is called a time, are no channel: rows must be in their order. Raises
    DataError for times that go back, and for text.
    """
    channels, notes = [], []
    for name, values in table.columns.items():
        if _is_time(name, values, table):
            _check_order(to_numbers(values, _time_type(values), name), name, source)
            notes.append(f"{source}: {name!r} is the time, and not learned")
        elif not is_numbers(values):
            word = next(word for word in values if word is not None)
            raise DataError(
                f"{source}: series hold numbers, column {name!r} holds text ({word!r:.60}); "
                f"leave it out with --drop {name}"
            )
        else:
            channels.append(name)
    if not channels:
        raise DataError(f"{source} holds no column of numbers beside the time")
    steps = np.stack([table.columns[name] for name in channels], axis=1)
    return steps, channels, "\n".join(notes)


def _is_time(name: str, values: Array, table: Table) -> bool:
    if table.types.get(name) == "date" or name.lower() in _TIME_NAMES:
        return True
    if is_numbers(values):
        return False
    words = [word for word in values if word is not None]
    return bool(words) and all(parse_date(word) is not None for word in words)


def _time_type(values: Array) -> str:
    return "number" if is_numbers(values) else "date"


def _check_order(times: NDArray[np.float64], name: str, source: str) -> None:
    known = np.flatnonzero(~np.isnan(times))
    back = np.flatnonzero(np.diff(times[known]) < 0)
    if len(back):
        before, row = known[back[0]], known[back[0] + 1]
        raise DataError(
            f"{source}: row {row + 1}, column {name!r}: time goes back from "
            f"{_moment(times[before])} to {_moment(times[row])}; sort the rows by time, or bring "
            "each series as a file of its own"
        )


def _moment(seconds: float) -> str:
    if abs(seconds) < 1e8:  # a count of steps or seconds, no date
        return f"{seconds:g}"
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def make_series(parts: Sequence[Array], recipe: Data, names: Sequence[str]) -> tuple[Windows, int]:
    """(windows, stride) of series (steps, C).

    Raises DataError for different channels, and for a series shorter than its window.
    """
    widths = [part.shape[1] for part in parts]
    if len(set(widths)) > 1:
        at = next(at for at, width in enumerate(widths) if width != widths[0])
        raise DataError(
            f"{names[0]} has {widths[0]} channels, {names[at]} has {widths[at]}; series of one "
            "training have the same"
        )
    shortest = min(range(len(parts)), key=lambda at: len(parts[at]))
    steps = len(parts[shortest])
    window = recipe.window or max(1, min(WINDOW, steps // _WINDOWS_A_SERIES))
    if steps < window:
        raise DataError(
            f"{names[shortest]} has {steps} time steps, fewer than the window of {window}; "
            f"choose --window {max(1, steps // _WINDOWS_A_SERIES)} or smaller, or leave it out"
        )
    places = sum(len(part) - window + 1 for part in parts)
    stride = recipe.stride or -(-places // MAX_WINDOWS)
    dtype = np.result_type(*parts)
    return Windows.cut([part.astype(dtype, copy=False) for part in parts], window, stride), stride


def split_series(windows: Windows, validation: float, test: float) -> tuple[Rows, Rows, Rows]:
    """Row numbers of the windows to train on, to validate on and to test on.

    Of each series, the last steps are for test and those before for validation. Windows of two
    parts share no step: those that lie across a border are in none. A series too short for that is
    for training. Shares of 0 leave a part empty. Raises DataError if no series is long enough.
    """
    train, held, tested = [], [], []
    for at in range(len(windows.series)):
        rows = np.flatnonzero(windows.index == at)
        starts, ends = windows.starts[rows], windows.starts[rows] + windows.window
        middle, last = _borders(windows, starts, at, validation, test)
        train.append(rows[ends <= middle])
        held.append(rows[(starts >= middle) & (ends <= last)])
        tested.append(rows[starts >= last])
    parts = np.concatenate(train), np.concatenate(held), np.concatenate(tested)
    for part, share, name in ((parts[1], validation, "validate"), (parts[2], test, "test")):
        if share and not len(part):
            raise DataError(
                f"no series is long enough to {name} on windows of {windows.window} that are "
                "later in time; choose a smaller --window, name a file with --val, or hold out "
                "nothing (validation = 'train', test = 0)"
            )
    return parts


def _borders(
    windows: Windows, starts: Rows, at: int, validation: float, test: float
) -> tuple[int, int]:
    """Time steps of one series: where validation starts, and where test does."""
    length, window = len(windows.series[at]), windows.window
    stride = int(np.diff(starts).max(initial=1))

    def held(share: float) -> int:  # steps, for a window at least
        return max(round(share * length), window + stride - 1) if share else 0

    last = length - held(test)
    middle = last - held(validation)
    return (middle, last) if middle >= window else (length, length)
