"""The times of a series' rows: whether they are in order, and where gaps and repeats are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.tables.table import is_numbers, parse_number, to_numbers

Array = NDArray[Any]
Times = NDArray[np.float64]
# usual steps: a longer one is a gap. One lost sample is no gap, nor is a second that a clock skips.
GAP = 2.5
# share of the steps that must be within half of the usual one. Series that are recorded on weekdays
# or in office hours have longer steps all the time, which are no gaps.
_REGULAR = 0.95
_ROWS = 1000  # that tell what a column holds
_MARKS = ("--", "--T:", "-- :", "--T::", "-- ::")  # between the digits of dates
_MANY = 0.05  # share of the rows with repeated times from which a file may hold several series


def times_of(values: Array, name: str) -> Times:
    """A column of times as float64, NaN where missing: numbers, or seconds since 1970 for dates.

    Raises DataError that names row and column.
    """
    plain = None if is_numbers(values) else plain_dates(values)
    return calendar(to_numbers(values, time_kind(values), name)) if plain is None else plain


def calendar(times: Times) -> Times:
    """The times, in seconds since 1970-01-01 where all are dates like 20260331 or 20260331081500.

    Taken as plain numbers, such dates would have a gap at the end of each month.
    """
    known = times[~np.isnan(times)]
    for low, rest in ((19000101, 1), (19000101000000, 1_000_000)):
        if not len(known) or known.min() < low or known.max() >= low + 2_000_000 * rest:
            continue
        seconds = _seconds_of_digits(known, rest)
        if seconds is not None:
            out = times.copy()
            out[~np.isnan(times)] = seconds
            return out
    return times


def _seconds_of_digits(known: Times, rest: int) -> Times | None:
    whole = known.astype(np.int64)
    days, clock = np.divmod(whole, rest)
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    months = days // 100
    month = ((months // 100 - 1970) * 12 + months % 100 - 1).astype("M8[M]")
    day = month.astype("M8[D]") + (days % 100 - 1)
    fits = (whole == known) & (months % 100 >= 1) & (months % 100 <= 12)
    fits &= (day.astype("M8[M]") == month) & (hours < 24) & (minutes < 60) & (seconds < 60)
    if not fits.all():
        return None
    total = day.astype(np.int64) * 86400 + hours * 3600 + minutes * 60 + seconds
    return np.asarray(total, np.float64)


def plain_dates(values: Array) -> Times | None:
    """Seconds since 1970-01-01 of dates that are all written in one form; None for any others.

    The forms are 2026-03-31, 2026-03-31T08:15 and 2026-03-31 08:15:30. numpy reads these ten times
    as fast as Python does.
    """
    try:
        text = np.array(values.tolist(), np.str_)
    except (TypeError, ValueError):
        return None
    size = text.dtype.itemsize // 4
    if size not in (10, 16, 19) or not len(text) or None in values:
        return None
    codes = text.view(np.uint32).reshape(len(text), size)
    form = codes[0]
    is_digit = np.ones(size, bool)
    is_digit[[at for at in (4, 7, 10, 13, 16) if at < size]] = False
    marks = "".join(map(chr, form[~is_digit]))
    even = (codes[:, ~is_digit] == form[~is_digit]).all()
    digits = codes[:, is_digit]
    if marks not in _MARKS or not even or digits.min() < ord("0") or digits.max() > ord("9"):
        return None
    try:
        return text.astype("M8[s]").astype(np.float64)
    except ValueError:
        return None


def time_kind(values: Array) -> Literal["number", "date"]:
    """The type of a column of times, by the first of them."""
    if is_numbers(values):
        return "number"
    cells = list(itertools.islice((cell for cell in values if cell is not None), _ROWS))
    numbers = sum(parse_number(cell) is not None for cell in cells)
    return "number" if 2 * numbers > len(cells) else "date"


def usual_step(series: Sequence[Times]) -> float | None:
    """The step of time from row to row, in the unit of the times; None where it varies."""
    steps = np.concatenate([_steps(times) for times in series]) if series else np.empty(0)
    if not len(steps):
        return None
    usual = float(np.median(steps))
    regular = usual > 0 and _is_near(steps, usual).mean() >= _REGULAR
    return usual if regular else None


def rises_steadily(values: Array) -> bool:
    """Whether each of some numbers is greater than the one before, as times and row numbers are."""
    for part in (values[:_ROWS], values):  # most columns fall early: the rest may lie on the disk
        known = part[~np.isnan(part)] if part.dtype.kind == "f" else part
        if len(known) < 3 or not np.all(known[1:] > known[:-1]):
            return False
    return True


@dataclass
class Clock:
    """Follows the times of one series, block by block.

    source, name: what errors call the input and the column. usual: the step of the training rows,
    None where it varies; there are no gaps then. gaps, repeats: their number so far. near: the
    number of steps that are about the usual one, among all `steps`.
    """

    source: str
    name: str
    usual: float | None = None
    gaps: int = 0
    repeats: int = 0
    near: int = 0
    steps: int = 0
    _last: float = 0.0  # the last known time, and its row
    _row: int = -1

    @property
    def state(self) -> tuple[float, ...]:
        """The state that `restore` takes to go on from here."""
        return self.gaps, self.repeats, self.near, self.steps, self._last, self._row

    def restore(self, state: Sequence[float]) -> None:
        """Go on where the state was taken; an empty one begins anew."""
        gaps, repeats, near, steps, last, row = state or (0, 0, 0, 0, 0.0, -1)
        self.gaps, self.repeats, self.near, self.steps = (
            int(count) for count in (gaps, repeats, near, steps)
        )
        self._last, self._row = last, int(row)

    def borders(self, times: Times, first: int) -> list[int]:
        """The rows that come after a gap. times: of the rows from `first` on, NaN where missing.

        Raises DataError for a time that goes back, and for one that is infinite.
        """
        known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return []
        rows, times = first + known, times[known]
        if np.isinf(times).any():
            row = int(rows[np.isinf(times)][0])
            raise DataError(
                f"{self.source}: row {row + 1}, column {self.name!r} is infinite; correct the "
                "time, or leave it empty where it is missing"
            )
        if self._row >= 0:
            rows, times = np.append(self._row, rows), np.append(self._last, times)
        self._check_order(rows, times)
        steps = np.diff(times) / np.diff(rows)
        self.steps += len(steps)
        self.repeats += int((steps == 0).sum())
        self._last, self._row = float(times[-1]), int(rows[-1])
        if self.usual is None:
            return []
        self.near += int(_is_near(steps, self.usual).sum())
        # Where rows without a time lie between, the time of all of them together is too long.
        borders = rows[1:][np.diff(times) > (np.diff(rows) + (GAP - 1)) * self.usual]
        self.gaps += len(borders)
        return [int(row) for row in borders]

    def _check_order(self, rows: NDArray[np.int64], times: Times) -> None:
        back = np.flatnonzero(np.diff(times) < 0)
        if len(back):
            before, after = times[back[0]], times[back[0] + 1]
            raise DataError(
                f"{self.source}: row {rows[back[0] + 1] + 1}, column {self.name!r}: time goes back "
                f"from {_moment(before)} to {_moment(after)}; sort the rows by time, or bring each "
                "series as a file of its own"
            )

    def notes(self, window: int, short: int) -> list[str]:
        """Lines on gaps and on repeated times.

        short: number of rows between gaps that lie too close together for a window.
        """
        lines = []
        if self.gaps:
            them = "them" if self.gaps > 1 else "it"
            line = f"{_count(self.gaps, 'gap')} in {self.name!r}: windows do not cross {them}"
            if short:
                are = "are" if short > 1 else "is"
                line += (
                    f"; {_count(short, 'row')} between gaps, in stretches shorter than a window of "
                    f"{window}, {are} in no window"
                )
            lines.append(line)
        if self.repeats:
            have = "have" if self.repeats > 1 else "has"
            line = (
                f"{_count(self.repeats, 'row')} {have} the time of the row before in "
                f"{self.name!r}, and each is a step of its own"
            )
            if self.repeats > _MANY * self.steps:
                line += "; if the file holds several series, bring each as a file of its own"
            lines.append(line)
        if self.usual is not None and self.near < self.steps / 2:
            lines.append(
                f"of the steps in {self.name!r}, {self.near / self.steps:.0%} are about "
                f"{self.usual:g} as in training: windows span another time than those of training"
            )
        return [f"{self.source}: {line}" for line in lines]

    def no_window(self, window: int, longest: int, advice: str = "") -> DataError:
        """The error where no window fits between gaps, which are at most `longest` steps apart."""
        assert self.usual is not None
        return DataError(
            f"{self.source}: no window of {window} steps lies between gaps: the longest stretch "
            f"has {longest}, and {self.gaps:,} steps in {self.name!r} are longer than {GAP:g} "
            f"times the usual {self.usual:g}{advice}"
        )


def _steps(times: Times) -> Times:
    """The steps from row to row, between the times that are known."""
    known = np.flatnonzero(~np.isnan(times))
    return np.asarray(np.diff(times[known]) / np.diff(known))


def _is_near(steps: Times, usual: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(steps - usual) <= usual / 2)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _moment(seconds: float) -> str:
    if not 1e8 <= abs(seconds) < 1e11:  # a count of steps, seconds or milliseconds, not a date
        return f"{seconds:.15g}"
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
