"""Distribution fit: which probability tables code each column in the fewest bits, by a sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import distributions
from ae_archive.coding.blocks import MANY, spread_blocks
from ae_archive.coding.distributions import (
    CENTRE,
    CONTEXTS,
    ESCAPE,
    FAMILIES,
    OFFSETS,
    RATES,
    STATES,
    SYMBOLS,
)
from ae_archive.coding.stream_head import MAX_MODELS, Model, StreamHead

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_BLOCKS, _ROWS = 16, 256  # blocks of a sample, and rows of each
# Of an estimate: rows of a block, numbers in all of them, and places in RATES that are tried.
_SHORT, _NUMBERS, _RATES = 64, 16384, (1, 3, 5)
_ESCAPE_COST = 12.0  # bits, a guess
_STATE_BYTES = 600  # bytes of a stream for each rANS state: one costs about 3
_LONG_STATE_BYTES = 250  # bytes, of many numbers: more states save time worth .7 % of bytes
_STATE_NUMBERS = 4096  # numbers for each state at most, or decoding is slow


def stream_head_of(rows: Integers) -> StreamHead:
    """Head for coding the numbers (R, D), D at most entropy.MAX_COLUMNS."""
    sample = _sampled(rows, _BLOCKS, _ROWS)
    starts = _starts(sample)
    costs = _costs(sample, starts, range(len(RATES))) * len(rows)  # (columns, models) in bits
    which, models = _chosen(costs)
    each = _STATE_BYTES if rows.size < MANY else _LONG_STATE_BYTES
    states_log2 = int(np.log2(max(_bytes(costs, which, models) / each, 1)))
    least = int(np.ceil(np.log2(max(rows.size / _STATE_NUMBERS, 1))))
    indices = np.unravel_index(models, (len(RATES), FAMILIES, len(OFFSETS)))
    every = [Model(*map(int, one)) for one in zip(*indices, strict=True)]
    return StreamHead(every, which, starts, min(max(states_log2, least), 12))


def estimate(rows: Integers) -> float:
    """Estimated bytes of the numbers (R, D)."""
    costs = _estimated_costs(rows)
    return _bytes(costs, *_chosen(costs))


def estimate_joined(parts: list[Integers]) -> Floats:
    """Estimated bytes of parts (R, D) if the first 0, 1, ... share a model, (parts + 1,).

    The others have models of their own.
    """
    costs = np.array([_estimated_costs(rows).sum(axis=0) for rows in parts]) / 8
    shared = np.append(0, np.cumsum(costs, axis=0).min(axis=1))
    own = np.append(np.cumsum(costs.min(axis=1)[::-1])[::-1], 0)
    return np.asarray(shared + own)


def _estimated_costs(rows: Integers) -> Floats:
    """Estimated bits of each column by each model, (D, models)."""
    sample = _sampled(rows, max(1, _NUMBERS // (_SHORT * rows.shape[1])), _SHORT)
    return _costs(sample, _starts(sample), _RATES) * len(rows)


def _bytes(costs: Floats, which: Integers, models: list[int]) -> float:
    return float(costs[np.arange(len(which)), np.array(models)[which]].sum()) / 8


def _starts(sample: Integers) -> Integers:
    mean = np.abs(sample).mean(axis=(0, 1))
    quarters = np.floor(4 * np.log2(np.maximum(32 * mean, 1)))
    return np.asarray(np.clip(quarters, 0, 255).astype(np.int64))


def _chosen(bits: Floats) -> tuple[Integers, list[int]]:
    """Model of each column, and models: one for all columns, unless more are worth their bytes."""
    columns = len(bits)
    one = int(bits.sum(axis=0).argmin())
    shared = np.zeros(columns, np.int64), [one]
    if columns == 1:
        return shared
    own = bits.argmin(axis=1)
    models = sorted(set(own.tolist()), key=lambda m: -np.count_nonzero(own == m))[:MAX_MODELS]
    which = bits[:, models].argmin(axis=1)
    used = sorted(set(which.tolist()))
    models, which = [models[at] for at in used], np.searchsorted(used, which)
    if len(models) == columns:
        models, which = [models[at] for at in which], np.arange(columns)
    head = 16 * (len(models) - 1) + (8 * columns if 1 < len(models) < columns else 0)
    if float(bits[np.arange(columns), np.array(models)[which]].sum()) + head < bits[:, one].sum():
        return which, models
    return shared


def _costs(sample: Integers, starts: Integers, rates: Sequence[int]) -> Floats:
    """Mean bits of a row, of each column by each model of some rates, (D, models)."""
    blocks, length, columns = sample.shape
    counts, low = _histograms(sample, starts, rates)  # (rates, columns, cells), (rates, columns)
    bits = (counts @ _bits() + low[:, :, None]).swapaxes(0, 1)
    return np.asarray(bits.reshape(columns, -1) / (blocks * length))


def _sampled(rows: Integers, count: int, length: int) -> Integers:
    """Blocks of the rows, at most `count` of `length` rows, (blocks, length, D)."""
    if len(rows) <= count * length:
        count = max(1, min(count, len(rows) // length))
        length = len(rows) // count
    return np.stack(spread_blocks(rows, count, length))


def _histograms(
    sample: Integers, starts: Integers, rates: Sequence[int]
) -> tuple[NDArray[np.float32], Integers]:
    """Counts of symbols by rate, column, row and symbol; bits that symbols leave out."""
    blocks, length, columns = sample.shape
    cell = CONTEXTS * SYMBOLS
    move = np.stack([distributions.moves(rate) for rate in rates]).reshape(-1)
    shape = len(rates), blocks, columns
    base = np.broadcast_to(np.arange(len(rates))[:, None, None] * cell, shape).copy()
    first = starts * distributions.STEPS + distributions.STEPS // 2
    state = np.broadcast_to(first, shape).copy()
    quarters = np.arange(256)
    shift, row = distributions.octave(quarters), distributions.row(quarters) * SYMBOLS
    half = (1 << shift) >> 1
    places = np.empty((length, *shape), np.int64)
    low = np.zeros(shape, np.int64)
    for at in range(length):
        quarter = state >> 4
        low_bits = shift[quarter]
        low += low_bits
        symbol = half[quarter]
        symbol += sample[:, at]
        symbol >>= low_bits
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
    """Bits of each symbol of each row, (CONTEXTS * SYMBOLS, FAMILIES * offsets)."""
    parts = np.stack([distributions.frequencies(n) for n in range(FAMILIES)]).astype(np.float64)
    escape = 12 - np.log2(parts[:, :, ESCAPE:]) + _ESCAPE_COST
    cost = np.where(parts > 0, 12 - np.log2(np.maximum(parts, 1)), escape)
    cost[:, :, ESCAPE] = escape[:, :, 0]
    each = np.stack([cost[:, offset : offset + CONTEXTS] for offset in range(len(OFFSETS))], 1)
    return each.reshape(FAMILIES * len(OFFSETS), -1).T.astype(np.float32, order="C")
