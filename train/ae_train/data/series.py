"""Sensor series: their channels, their windows, and windows split in time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.tables.table import Table, is_numbers, parse_date, parse_number, to_numbers
from ae_runtime.tables.times import Clock, rises_steadily, times_of, usual_step
from ae_runtime.tables.windows import Windows, too_short
from ae_train.data.format_hints import format_hint
from ae_train.recipe import MAX_WINDOWS, SHORT_SERIES, WINDOW, Data

Array = NDArray[Any]
Rows = NDArray[np.int64]
_TIME_NAMES = frozenset({"time", "timestamp", "datetime", "date", "ts"})
_UNIT = re.compile(r"\s*(\[[^\]]*\]|\([^)]*\))\s*$")  # "Time [s]"


@dataclass(frozen=True)
class Steps:
    """The time steps of one file. values: (N, C); channels: their names, None for an array.

    time: the name of the column that holds times (N,); None without. notes: lines for the user.
    """

    source: str
    values: Array
    channels: list[str] | None = None
    time: str | None = None
    times: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def steps_of(table: Table, chosen: Table, drop: Sequence[str], source: str) -> Steps:
    """The time steps of a table with one row for each, in the order of its rows.

    chosen: the columns that may be channels. Dates, and a column that is called a time, are none:
    they give the order of the rows, unless they are in `drop`. Raises DataError that names the
    file, for times that cannot be parsed or go back, and for text.
    """
    times = _times_in(table, drop, source)
    channels = [name for name in chosen.columns if name not in times]
    for name in channels:
        _check_numbers(chosen.columns[name], name, source)
    if not channels:
        raise DataError(f"{source} holds no column of numbers beside the time")
    # Where one column holds dates and one timestamps, the timestamps tell the rows apart.
    time = max(times, key=lambda name: len(np.unique(times[name])), default=None)
    for name, values in times.items():
        Clock(source, name).borders(values, 0)  # raises where it goes back
    notes = [f"{source}: {name!r} is the time, and not learned" for name in times]
    notes += _rising(source, {name: chosen.columns[name] for name in channels})
    steps = np.stack([chosen.columns[name] for name in channels], axis=1)
    return Steps(source, steps, channels, time, times.get(time or ""), tuple(notes))


def steps_of_array(array: Array, source: str) -> Steps:
    """The time steps (N, C) of an array, which has no times."""
    columns = {str(at + 1): array[:, at] for at in range(array.shape[1])}
    return Steps(source, array, notes=tuple(_rising(source, columns, named=False)))


def _times_in(table: Table, drop: Sequence[str], source: str) -> dict[str, NDArray[np.float64]]:
    times = {}
    for name, values in table.columns.items():
        if name in drop or not _is_time(name, values, table):
            continue
        try:
            times[name] = times_of(values, name)
        except DataError as error:
            raise DataError(
                f"{source}: {error}; the column is taken as the time: leave it out with "
                f"--drop {quote(name)}"
            ) from None
    return times


def _is_time(name: str, values: Array, table: Table) -> bool:
    if table.types.get(name) == "date" or _UNIT.sub("", name).strip().lower() in _TIME_NAMES:
        return True
    if is_numbers(values):
        return False
    texts = [text for text in values if text is not None]
    return bool(texts) and all(parse_date(text) is not None for text in texts)


def _check_numbers(values: Array, name: str, source: str) -> None:
    if is_numbers(values):
        return
    if hint := format_hint(name, {text for text in values if text is not None}):
        raise DataError(f"{source}: {hint}")
    wrong = ((row, text) for row, text in enumerate(values) if not _is_number(text))
    row, text = next(wrong, (-1, ""))
    if row < 0:  # integers that lose digits
        try:
            to_numbers(values, "number", name)
        except DataError as error:
            raise DataError(f"{source}: {error}") from None
        return
    raise DataError(
        f"{source}: row {row + 1}, column {name!r}: {text!r:.60} is not a number, and series hold "
        f"numbers: correct it, or leave the column out with --drop {quote(name)}"
    )


def _is_number(text: str | None) -> bool:
    return text is None or parse_number(text) is not None


def _rising(source: str, columns: dict[str, Array], named: bool = True) -> list[str]:
    """A line that names the columns that look like a time or a row number, if some do."""
    names = [name for name, values in columns.items() if rises_steadily(values)]
    if not names:
        return []
    which = ", ".join(map(repr, names[:5])) if named else f"column {', '.join(names[:5])}"
    leave = f"--drop {quote(','.join(names[:5]))} leaves it out" if named else "slice it off before"
    return [
        f"{source}: {which} rises with every row, as a time or a row number does, and is learned: "
        f"if it is one, {leave}"
    ]


def same_channels(series: Sequence[Steps]) -> list[Steps]:
    """The series with their channels in the order of the first. Raises DataError for others."""
    first, aligned = series[0], []
    for one in series:
        if one.channels is None or one.channels == first.channels:
            aligned.append(one)
            continue
        if first.channels is None or sorted(one.channels) != sorted(first.channels):
            raise DataError(
                f"{first.source} and {one.source} have different columns: "
                f"{', '.join((first.channels or [])[:5])} and {', '.join(one.channels[:5])}; "
                "choose the common ones with --columns"
            )
        values = one.values[:, [one.channels.index(name) for name in first.channels]]
        aligned.append(replace(one, values=values, channels=first.channels))
    return aligned


def cut_series(series: Sequence[Steps], recipe: Data) -> tuple[Windows, int, float | None, str]:
    """(windows, stride, usual step of time, note) of series with the same channels.

    Windows do not cross a gap in time. The step is None where there are no times, or they vary.
    """
    timed = [one.times for one in series if one.times is not None]
    step, borders, clocks = usual_step(timed), [], []
    for one in series:
        clock = Clock(one.source, one.time or "", step)
        clocks.append(clock)
        borders.append([] if one.times is None else clock.borders(one.times, 0))
    names, parts = [one.source for one in series], [one.values for one in series]
    windows, stride = make_series(parts, recipe, names, borders)
    notes = [line for one in series for line in one.notes]
    for clock, part, edges in zip(clocks, parts, borders, strict=True):
        short, longest = too_short(len(part), windows.window, edges)
        if edges and longest < windows.window:
            raise clock.no_window(windows.window, longest, "; choose a smaller --window")
        notes += clock.notes(windows.window, short)
    if timed and step is None:
        times = next(one.time for one in series if one.times is not None)
        notes.append(
            f"the steps of time in {times!r} vary: rows are taken one after the other, whatever "
            "lies between them"
        )
    return windows, stride, step, "\n".join(notes)


def make_series(
    parts: Sequence[Array],
    recipe: Data,
    names: Sequence[str],
    borders: Sequence[Sequence[int]] | None = None,
) -> tuple[Windows, int]:
    """(windows, stride) of series (steps, C). borders: for each, the steps that follow a gap.

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
    window = recipe.window or max(1, min(WINDOW, steps // SHORT_SERIES))
    if steps < window:
        raise DataError(
            f"{names[shortest]} has {steps} time steps, fewer than the window of {window}; "
            f"choose --window {max(1, steps // SHORT_SERIES)} or smaller, or leave it out"
        )
    places = sum(len(part) - window + 1 for part in parts)
    stride = recipe.stride or -(-places // MAX_WINDOWS)
    dtype = np.result_type(*parts)
    parts = [part.astype(dtype, copy=False) for part in parts]
    return Windows.cut(parts, window, stride, borders), stride


def split_series(windows: Windows, validation: float, test: float) -> tuple[Rows, Rows, Rows]:
    """Row numbers of the windows to train on, to validate on and to test on.

    The last steps of each series are for test, those before for validation. Windows of two
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
    """(first time step to validate on, first to test on) of one series."""
    length, window = len(windows.series[at]), windows.window

    def before(end: int, share: float) -> int:  # so that at least one window lies between
        if not share:
            return end
        border = end - max(round(share * length), window + windows.stride - 1)
        complete = starts[starts + window <= end]  # between gaps, a window may start earlier only
        return min(border, int(complete[-1])) if len(complete) else -1

    last = before(length, test)
    middle = before(last, validation)
    return (middle, last) if middle >= window else (length, length)
