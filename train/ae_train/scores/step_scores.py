"""Scores of windows of series, by scorers not fitted on their time, and of time steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.tables.windows import Windows
from ae_train.fit.preparing import Prepared
from ae_train.network.model import Model
from ae_train.network.scorer import NAMES, Scorer
from ae_train.scores.measured import Measured, measure, most_rows
from ae_train.scores.scoring import four_scores

Array = NDArray[Any]
Rows = NDArray[np.int64]
MOST_WINDOWS = 20_000
FOLDS, _BLOCK_WINDOWS = 5, 4  # folds, and windows in a block: a fold is every 5th block of time
_STRETCHES, _STRETCH_WINDOWS = 50, 4  # number in a long series, and least length in windows
_BLOCKS = 8  # blocks of time, at least, that show how steps depend on each other
_MIN_WINDOWS = 10  # windows, at least, that a scorer is fitted on


class OfTime(NamedTuple):
    """Scores as in crossfit.Crossed, of windows (one for each start) or of time steps.

    of: (N,) the series of each. steps: (N,) its time step there, a window's first one.
    """

    own: Array
    unseen: Array
    held: NDArray[np.bool_]
    of: Rows
    steps: Rows
    blocks: tuple[Array, ...]


def crossed_windows(
    model: Model,
    prepared: Prepared,
    scorer: Scorer,
    rows: Measured,
    numbers: Rows,
    fitted: Callable[[Array], Scorer],
) -> OfTime:
    """Score the windows that start at every step, or of a long series those of some stretches.

    Windows of a fold of time are scored by a scorer of windows that share no step with them. rows:
    the windows that scorers are fitted on; numbers: theirs in the dataset; fitted: fits a scorer.
    """
    known: Windows = prepared.data.parts[0]
    index, starts = _starts(known, most_rows(prepared.data.form.numbers, MOST_WINDOWS))
    windows = Windows(known.series, known.window, index, starts)
    data = replace(prepared.data, parts=(windows,))
    measured = measure(model, data, np.arange(len(starts)))
    unseen = np.empty((len(starts), len(NAMES) - 1), np.float32)
    for out in _folds(known, index, starts):
        left_out = Windows(known.series, known.window, index[out], starts[out])
        apart = ~_touches(known, numbers, left_out)
        one = fitted(apart) if apart.sum() >= min(_MIN_WINDOWS, len(apart)) else scorer
        unseen[out] = four_scores(one, measured.at(out))
    trained = Windows(known.series, known.window, *_of(known, prepared.split.train))
    held = ~_touches(windows, np.arange(len(windows)), trained)
    blocks = _blocks(known, index, starts)
    return OfTime(four_scores(scorer, measured), unseen, held, index, starts, blocks)


def _starts(known: Windows, most: int) -> tuple[Rows, Rows]:
    """(series, first step) of windows at every step; if too many, of evenly spread stretches."""
    each = [_every_start(known, at) for at in range(len(known.series))]
    index, starts = np.repeat(np.arange(len(each)), list(map(len, each))), np.concatenate(each)
    if len(starts) > most:
        stretches = max(FOLDS, min(_STRETCHES, most // (_STRETCH_WINDOWS * known.window)))
        place = np.arange(len(starts)) * stretches / len(starts) % 1
        chosen = place < most / len(starts)
        index, starts = index[chosen], starts[chosen]
    return index, starts


def _every_start(known: Windows, at: int) -> Rows:
    """First steps of the windows of one series, a step apart; none of them lies across a gap.

    Where known windows are further apart than their stride there is a gap. With strides of a window
    and more, which cannot tell, they are the known ones.
    """
    starts = np.unique(known.starts[known.index == at])
    apart = np.diff(starts)
    near = (apart <= known.stride) & (known.stride < known.window)
    lengths = np.append(np.where(near, apart, 1), 1)[: len(starts)]
    firsts = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return firsts + np.arange(len(firsts))


def _folds(known: Windows, of: Rows, starts: Rows) -> Iterator[NDArray[np.bool_]]:
    """Masks (N,) bool of windows that are left out together: those of every n-th block of time.

    Blocks of a few windows, so that what is left out is new, but of a time that is known: what
    comes later and is of another kind is what scores are to show.
    """
    block = _place(known, of, starts) // (_BLOCK_WINDOWS * known.window)
    for at in range(FOLDS):
        if (out := block % FOLDS == at).any():
            yield out


def _of(known: Windows, numbers: Rows) -> tuple[Rows, Rows]:
    return known.index[numbers], known.starts[numbers]


def _place(known: Windows, of: Rows, steps: Rows) -> Rows:
    """Places of time steps where all series are put one after the other, (N,)."""
    return np.cumsum([0, *(len(one) for one in known.series)])[of] + steps


def _touches(known: Windows, numbers: Rows, left_out: Windows) -> NDArray[np.bool_]:
    """Mask (N,) of the known windows that share a step with one that is left out."""
    covered = _covered(left_out, np.arange(len(left_out)))
    touches = np.zeros(len(numbers), bool)
    for at, steps in enumerate(covered):
        here = np.flatnonzero(known.index[numbers] == at)
        starts = known.starts[numbers[here]]
        counts = np.concatenate([[0], np.cumsum(steps)])
        touches[here] = counts[starts + known.window] > counts[starts]
    return touches


def _covered(known: Windows, numbers: Rows) -> list[NDArray[np.bool_]]:
    """Masks (steps,) of the steps that these windows hold, one for each series."""
    change = [np.zeros(len(one) + 1, np.int64) for one in known.series]
    for at in np.unique(known.index[numbers]):
        starts = known.starts[numbers][known.index[numbers] == at]
        np.add.at(change[at], starts, 1)
        np.add.at(change[at], starts + known.window, -1)
    return [np.cumsum(part)[:-1] > 0 for part in change]


def _blocks(known: Windows, of: Rows, steps: Rows) -> tuple[Array, ...]:
    """Block numbers of steps, (N,) each, for blocks of two windows and longer."""
    place, length = _place(known, of, steps), 2 * known.window
    blocks = [place // length]
    while length * 2 * _BLOCKS <= sum(map(len, known.series)):
        length *= 2
        blocks.append(place // length)
    return tuple(blocks)


def of_steps(known: Windows, windows: OfTime) -> OfTime:
    """The mean of all windows over each time step; steps that lack one of them are left out."""
    parts: list[tuple[Array, Array, Rows, Rows, Array]] = []
    for at in np.unique(windows.of):
        here, length = windows.of == at, len(known.series[at])
        starts = windows.steps[here]
        count = _spread(np.ones(len(starts)), starts, known.window, length)
        every = _every_start(known, at)
        most = _spread(np.ones(len(every)), every, known.window, length)
        steps = np.flatnonzero((count == most) & (count > 0))
        own, unseen = (
            np.column_stack([_spread(column, starts, known.window, length) for column in four.T])
            for four in (windows.own[here], windows.unseen[here])
        )
        held = _spread(~windows.held[here], starts, known.window, length)[steps] == 0
        mean = count[steps, None]
        parts.append(
            (own[steps] / mean, unseen[steps] / mean, held, np.full(len(steps), at), steps)
        )
    own, unseen, held, index, steps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return OfTime(own, unseen, held, index, steps, _blocks(known, index, steps))


def _spread(values: Array, starts: Rows, window: int, length: int) -> Array:
    """Sums over the windows that cover each step, (length,). values: (N,), one for each window."""
    each = np.zeros(length)
    each[starts] = values
    sums = np.concatenate([np.zeros(window), np.cumsum(each)])
    return sums[window:] - sums[:-window]
