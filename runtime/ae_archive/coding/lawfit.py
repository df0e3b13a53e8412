"""Which laws fit the numbers of each column, by what a sample of them would take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import laws
from ae_archive.coding.laws import CENTRE, CONTEXTS, ESCAPE, LAWS, OFFSETS, RATES, STATES, SYMBOLS
from ae_archive.coding.plans import MAX_MODELS, Model, Plan
from ae_archive.coding.stretch import LONG, spread

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_STRETCHES, _ROWS = 16, 256  # of a sample
# For a guess: rows of a stretch, of how many numbers that is, and rates.
_SHORT, _NUMBERS, _RATES = 64, 16384, (1, 3, 5)
_ESCAPE_COST = 12.0  # bits, a guess
_LANE_BYTES = 600  # of a stream, for each lane: one costs about 3
_LONG_LANE_BYTES = 250  # of many numbers: more lanes save time worth .7 % of bytes
_LANE_NUMBERS = 4096  # at most, or decoding is slow


def plan(rows: Integers) -> Plan:
    """How to code the numbers (R, D), D at most entropy.MAX_COLUMNS."""
    sample = _sampled(rows, _STRETCHES, _ROWS)
    starts = _starts(sample)
    cost = _costs(sample, starts, range(len(RATES))) * len(rows)  # (columns, models) in bits
    which, models = _chosen(cost)
    size = _bytes(cost, which, models)
    each = _LANE_BYTES if rows.size < LONG else _LONG_LANE_BYTES
    lanes = int(np.log2(max(size / each, 1)))
    least = int(np.ceil(np.log2(max(rows.size / _LANE_NUMBERS, 1))))
    rate, law, offset = np.unravel_index(models, (len(RATES), LAWS, len(OFFSETS)))
    found = [Model(*map(int, one)) for one in zip(rate, law, offset, strict=True)]
    return Plan(found, which, starts, min(max(lanes, least), 12))


def guess(rows: Integers) -> float:
    """How many bytes the numbers (R, D) take, about."""
    cost = _guessed(rows)
    which, models = _chosen(cost)
    return _bytes(cost, which, models)


def together(parts: list[Integers]) -> Floats:
    """Bytes of all parts (R, D), about, if one model is for the first 0, 1, ... of them.

    (parts + 1,). The others have their own.
    """
    costs = np.array([_guessed(rows).sum(axis=0) for rows in parts]) / 8
    one = np.append(0, np.cumsum(costs, axis=0).min(axis=1))
    own = np.append(np.cumsum(costs.min(axis=1)[::-1])[::-1], 0)
    return np.asarray(one + own)


def _guessed(rows: Integers) -> Floats:
    """Bits of each column by each model, (D, models), about."""
    sample = _sampled(rows, max(1, _NUMBERS // (_SHORT * rows.shape[1])), _SHORT)
    return _costs(sample, _starts(sample), _RATES) * len(rows)


def _bytes(cost: Floats, which: Integers, models: list[int]) -> float:
    return float(cost[np.arange(len(which)), np.array(models)[which]].sum()) / 8


def _starts(sample: Integers) -> Integers:
    mean = np.abs(sample).mean(axis=(0, 1))
    quarters = np.floor(4 * np.log2(np.maximum(32 * mean, 1)))
    return np.asarray(np.clip(quarters, 0, 255).astype(np.int64))


def _chosen(bits: Floats) -> tuple[Integers, list[int]]:
    """(model of each column, models): one for all, unless more are worth their bytes."""
    columns = len(bits)
    one = int(bits.sum(axis=0).argmin())
    best = np.zeros(columns, np.int64), [one]
    if columns == 1:
        return best
    cheapest = float(bits[:, one].sum())
    own = bits.argmin(axis=1)
    models = sorted(set(own.tolist()), key=lambda m: -np.count_nonzero(own == m))[:MAX_MODELS]
    which = bits[:, models].argmin(axis=1)
    kept = sorted(set(which.tolist()))
    models, which = [models[at] for at in kept], np.searchsorted(kept, which)
    if len(models) == columns:
        models, which = [models[at] for at in which], np.arange(columns)
    head = 16 * (len(models) - 1) + (8 * columns if 1 < len(models) < columns else 0)
    if float(bits[np.arange(columns), np.array(models)[which]].sum()) + head < cheapest:
        best = which, models
    return best


def _costs(sample: Integers, starts: Integers, rates: Sequence[int]) -> Floats:
    """Bits, on average a row, of each column by each model of some rates, (D, models)."""
    stretches, length, columns = sample.shape
    counts, low = _histograms(sample, starts, rates)  # (rates, columns, cells), (rates, columns)
    found = (counts @ _bits() + low[:, :, None]).swapaxes(0, 1)
    return np.asarray(found.reshape(columns, -1) / (stretches * length))


def _sampled(rows: Integers, count: int, length: int) -> Integers:
    """Stretches of the rows, at most so many of so many rows, (stretches, length, D)."""
    if len(rows) <= count * length:
        count = max(1, min(count, len(rows) // length))
        length = len(rows) // count
    return np.stack(spread(rows, count, length))


def _histograms(
    sample: Integers, starts: Integers, rates: Sequence[int]
) -> tuple[NDArray[np.float32], Integers]:
    """For each rate and column how often each symbol is in each row; and bits left away."""
    stretches, length, columns = sample.shape
    cell = CONTEXTS * SYMBOLS
    move = np.stack([laws.moves(rate) for rate in rates]).reshape(-1)
    shape = len(rates), stretches, columns
    base = np.broadcast_to(np.arange(len(rates))[:, None, None] * cell, shape).copy()
    state = np.broadcast_to(starts * laws.STEPS + laws.STEPS // 2, shape).copy()
    quarters = np.arange(256)
    shift, row = laws.octave(quarters), laws.row(quarters) * SYMBOLS
    half = (1 << shift) >> 1
    places = np.empty((length, *shape), np.int64)
    low = np.zeros(shape, np.int64)
    for at in range(length):
        quarter = state >> 4
        away = shift[quarter]
        low += away
        symbol = half[quarter]
        symbol += sample[:, at]
        symbol >>= away
        symbol += CENTRE
        # As unsigned numbers those below 0 are large, too.
        np.minimum(symbol.view(np.uint64), np.uint64(ESCAPE), out=symbol.view(np.uint64))
        symbol += row[quarter]
        symbol += base
        places[at] = symbol
        state += move[symbol]
        np.maximum(state, 0, out=state)
        np.minimum(state, STATES - 1, out=state)
    if columns > 1:
        places += base * (columns - 1) + np.arange(columns) * cell
    counts = np.bincount(places.reshape(-1), minlength=len(rates) * columns * cell)
    return counts.reshape(len(rates), columns, cell).astype(np.float32), low.sum(axis=1)


@lru_cache
def _bits() -> NDArray[np.float32]:
    """What each symbol of each row costs, (CONTEXTS * SYMBOLS, LAWS * offsets)."""
    parts = np.stack([laws.frequencies(law) for law in range(LAWS)]).astype(np.float64)
    escape = 12 - np.log2(parts[:, :, ESCAPE:]) + _ESCAPE_COST
    cost = np.where(parts > 0, 12 - np.log2(np.maximum(parts, 1)), escape)
    cost[:, :, ESCAPE] = escape[:, :, 0]
    each = np.stack([cost[:, offset : offset + CONTEXTS] for offset in range(len(OFFSETS))], 1)
    return each.reshape(LAWS * len(OFFSETS), -1).T.astype(np.float32, order="C")
