"""Probability tables of integers, worked out in integers: the same on every machine.

A number is coded in a context, the quarter of an octave in which the mean magnitude of those before
it lies. Where that is below 8 a symbol is a number from -63 to 63, above it is one without its
lowest bits; the last symbol is an escape. Each family of distributions has a table for each of 47
mean magnitudes, which divides 4096 parts among the symbols.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
PRECISION = 12
TOTAL = 1 << PRECISION  # parts of a table
SYMBOLS = 128
CENTRE = 63  # the symbol of 0
ESCAPE = 127
CONTEXTS = 32
FAMILIES = 8
RATES = (0, 1, 2, 4, 7, 11, 16, 24)  # 64ths by which a number moves the mean magnitude
OFFSETS = range(-8, 8)  # quarters of an octave from the mean magnitude to the table's own
STEPS = 16  # of the state in a quarter of an octave
STATES = 256 * STEPS
_TABLES = CONTEXTS + len(OFFSETS) - 1
_POWERS = (0, 1, 2, 3, 4, 6, 12, 32)  # of Student's distributions; 0 is Laplace's
_BITS = 28  # bits of a weight below one
_MAGNITUDES = np.arange(65)


def octave(context: Integers) -> Integers:
    """Low bits that a symbol leaves out, for each of the 256 quarters of an octave."""
    return np.asarray(np.maximum((context >> 2) - 7, 0))


def row(context: Integers) -> Integers:
    """Row of a table, 0..31, for each of the 256 quarters of an octave."""
    return np.where(context < CONTEXTS, context, CONTEXTS - 4 + (context & 3))


def bits(x: Integers) -> Integers:
    """Number of bits of each integer 0 <= x < 2^62."""
    return np.searchsorted(np.int64(1) << np.arange(62), x, side="right")


def log2(x: Integers) -> Integers:
    """64 log2 of integers 0 < x < 2^33, rounded."""
    logarithm = bits(x) - 1
    mantissa = (x << 30) >> logarithm
    for _ in range(7):
        mantissa = mantissa * mantissa >> 30
        bit = mantissa >> 31
        mantissa >>= bit
        logarithm = 2 * logarithm + bit
    return (logarithm + 1) >> 1


@lru_cache
def moves(rate: int) -> Integers:
    """Steps by which each symbol moves the mean magnitude, 64 an octave, (CONTEXTS, SYMBOLS)."""
    means = np.array([_mean(at) for at in range(CONTEXTS)])[:, None]
    magnitude = np.abs(np.arange(SYMBOLS) - CENTRE)
    magnitude[ESCAPE] = 128
    share = RATES[rate]
    return log2(means * (64 - share) + (magnitude << 13) * share) - log2(means * 64)


@lru_cache
def frequencies(family: int) -> Integers:
    """Parts of 4096 of each symbol, (47, SYMBOLS): row + 8 + offset is the table of a row."""
    means = np.array([_mean(at) for at in range(-8, _TABLES - 8)])
    low, high = np.zeros(_TABLES, np.int64), np.full(_TABLES, 1 << (_BITS if family == 0 else 34))
    while (high - low > 1).any():
        middle = (low + high) >> 1
        weights, _ = _weights(family, middle)
        sums = 2 * weights[:, 1:64].sum(1) + weights[:, 0]
        large = (2 * weights[:, 1:64] @ _MAGNITUDES[1:64] << 13) > sums * means
        low, high = np.where(large, low, middle), np.where(large, middle, high)
    weights, tail = _weights(family, np.maximum(low, 1))
    every = np.concatenate([weights[:, 63:0:-1], weights[:, :64], tail[:, None]], 1)
    parts = every * TOTAL // every.sum(1)[:, None]
    # What is too rare for a part of its own escapes.
    escapes = np.where(parts[:, :ESCAPE] == 0, every[:, :ESCAPE], 0).sum(1) + tail
    parts[:, ESCAPE] = np.maximum(escapes * TOTAL // every.sum(1), 1)
    parts[:, CENTRE] += TOTAL - parts.sum(1)
    return np.asarray(parts)


def _weights(family: int, scale: Integers) -> tuple[Integers, Integers]:
    """Weights of the magnitudes 0 to 64, in 28 bits, (47, 65); those of all beyond 63, (47,)."""
    power = _POWERS[family]
    if not power:
        weights = np.full((len(scale), 65), 1 << _BITS)
        for at in range(1, 65):
            weights[:, at] = weights[:, at - 1] * scale >> _BITS
        return weights, 2 * (weights[:, 64] << _BITS) // ((1 << _BITS) - scale + 1)
    ratio = (scale << _BITS)[:, None] // (scale[:, None] + (_MAGNITUDES**2 << 18))
    weights = ratio
    for _ in range(power - 1):
        weights = weights * ratio >> _BITS
    return weights, 128 * weights[:, 64] // (2 * power - 1)


def _mean(at: int) -> int:
    """2^13 times the mean magnitude in the middle of a quarter of an octave."""
    return isqrt(isqrt(isqrt(1 << (2 * at + 1 + 64))))
