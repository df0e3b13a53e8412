"""Which laws fit the numbers of each column, by what a sample of them would take."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive import laws
from ae_runtime.archive.laws import CENTRE, CONTEXTS, ESCAPE, LAWS, OFFSETS, RATES, STATES, SYMBOLS
from ae_runtime.archive.plans import MAX_MODELS, Model, Plan

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_SAMPLE, _QUICK = (16, 256), (64, 64)  # stretches, and rows of each
_ESCAPE_COST = 12.0  # bits, a guess
_LANE_BYTES = 600  # of a stream, for each lane: one costs about 3
_MANY, _MANY_LANE_BYTES = 1 << 18, 250  # numbers of which more lanes save time worth .7 % of bytes
_LANE_NUMBERS = 4096  # at most, or decoding is slow


def plan(rows: Integers) -> Plan:
    """How to code the numbers (R, D), D at most entropy.MAX_COLUMNS."""
    return _planned(rows)[0]


def guess(rows: Integers) -> float:
    """How many bytes the numbers (R, D) take, about."""
    return _planned(rows)[1]


def together(parts: list[Integers]) -> tuple[float, float]:
    """Bytes of all parts (R, D), about, if they have one model, and if each has its own."""
    found = []
    for rows in parts:
        sample = _sampled(rows, _QUICK)
        found.append(_costs(sample, _starts(sample)).sum(axis=0) * len(rows))
    costs = np.array(found) / 8
    return float(costs.sum(axis=0).min()), float(costs.min(axis=1).sum())


def _planned(rows: Integers) -> tuple[Plan, float]:
    sample = _sampled(rows)
    starts = _starts(sample)
    cost = _costs(sample, starts) * len(rows)  # (columns, models) in bits
    which, models = _chosen(cost)
    size = float(cost[np.arange(len(which)), np.array(models)[which]].sum()) / 8
    each = _LANE_BYTES if rows.size < _MANY else _MANY_LANE_BYTES
    lanes = int(np.log2(max(size / each, 1)))
    least = int(np.ceil(np.log2(max(rows.size / _LANE_NUMBERS, 1))))
    rate, law, offset = np.unravel_index(models, (len(RATES), LAWS, len(OFFSETS)))
    found = [Model(*map(int, one)) for one in zip(rate, law, offset, strict=True)]
    return Plan(found, which, starts, min(max(lanes, least), 12)), size


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


def _costs(sample: Integers, starts: Integers) -> Floats:
    """Bits, on average a row, of each column by each model, (D, models)."""
    stretches, length, columns = sample.shape
    counts, low = _histograms(sample, starts)  # (rates, columns, cells), (rates, columns)
    cells = np.flatnonzero(counts)
    places = cells % (CONTEXTS * SYMBOLS)
    each = counts.reshape(-1)[cells, None] * _bits()[places]
    first = np.searchsorted(cells, np.arange(low.size) * CONTEXTS * SYMBOLS)
    found = np.add.reduceat(each, first) + low.reshape(-1, 1)
    found = found.reshape(len(RATES), columns, -1).swapaxes(0, 1)
    return np.asarray(found.reshape(columns, -1) / (stretches * length))


def _sampled(rows: Integers, of: tuple[int, int] = _SAMPLE) -> Integers:
    """Stretches of the rows, (stretches, length, D)."""
    count, length = of
    if len(rows) <= count * length:
        count = max(1, min(count, len(rows) // length))
        length = len(rows) // count
    at = np.linspace(0, len(rows) - length, count).astype(int)
    return np.stack([rows[low : low + length] for low in at])


def _histograms(sample: Integers, starts: Integers) -> tuple[Floats, Integers]:
    """For each rate and column how often each symbol is in each row; and bits left away."""
    stretches, length, columns = sample.shape
    rates = np.arange(len(RATES))[:, None]
    move = np.stack([laws.moves(rate) for rate in rates[:, 0]]).reshape(-1)
    cell = CONTEXTS * SYMBOLS
    base = np.broadcast_to(rates[:, :, None] * cell, (len(RATES), stretches, columns))
    state = np.broadcast_to(starts * laws.STEPS + laws.STEPS // 2, base.shape).copy()
    quarters = np.arange(256)
    shift, row = laws.octave(quarters), laws.row(quarters) * SYMBOLS
    half = (1 << shift) >> 1
    places = np.empty((length, *base.shape), np.int64)
    low = np.zeros(base.shape, np.int64)
    for at in range(length):
        quarter = state >> 4
        symbol = ((sample[:, at] + half[quarter]) >> shift[quarter]) + CENTRE
        symbol = np.where((symbol < 0) | (symbol > ESCAPE), ESCAPE, symbol)
        low += shift[quarter]
        place = symbol + row[quarter] + base
        places[at] = place
        state += move[place]
        np.clip(state, 0, STATES - 1, out=state)
    places += (places - places % cell) * (columns - 1) + np.arange(columns) * cell
    counts = np.bincount(places.reshape(-1), minlength=len(RATES) * columns * cell)
    return counts.reshape(len(RATES), columns, cell).astype(np.float64), low.sum(axis=1)


@lru_cache
def _bits() -> NDArray[np.float32]:
    """What each symbol of each row costs, (CONTEXTS * SYMBOLS, LAWS * offsets)."""
    parts = np.stack([laws.frequencies(law) for law in range(LAWS)]).astype(np.float64)
    escape = 12 - np.log2(parts[:, :, ESCAPE:]) + _ESCAPE_COST
    cost = np.where(parts > 0, 12 - np.log2(np.maximum(parts, 1)), escape)
    cost[:, :, ESCAPE] = escape[:, :, 0]
    each = np.stack([cost[:, offset : offset + CONTEXTS] for offset in range(len(OFFSETS))], 1)
    return each.reshape(LAWS * len(OFFSETS), -1).T.astype(np.float32, order="C")
