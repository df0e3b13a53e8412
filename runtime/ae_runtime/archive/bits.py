"""Fields of differing numbers of bits, one after another, the lowest bit first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_TOGETHER = 1 << 16  # fields: bounds the memory


def write_fields(values: NDArray[Any], widths: NDArray[Any]) -> bytes:
    """As few bytes as hold values (N,), 0 <= value < 2^width, of widths (N,), at most 62."""
    ends = np.cumsum(widths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    words = np.zeros(total // 64 + 2, np.uint64)
    used = np.flatnonzero(widths)
    for begin in range(0, len(used), _TOGETHER):
        at = used[begin : begin + _TOGETHER]
        value = values[at].astype(np.uint64)
        places = ends[at] - widths[at]
        word, bit = places >> 6, (places & 63).astype(np.uint64)
        first = np.flatnonzero(np.diff(word, prepend=-1))
        words[word[first]] |= np.bitwise_or.reduceat(value << bit, first)
        # Of the fields that begin in a word only the last one may go on in the next.
        last = np.append(first[1:], len(at)) - 1
        words[word[last] + 1] |= value[last] >> np.uint64(1) >> (np.uint64(63) - bit[last])
    return words.astype("<u8").tobytes()[: -(-total // 8)]


def read_fields(raw: bytes, start: int, widths: NDArray[Any]) -> Integers:
    """The fields (N,) that begin at bit `start`. raw: as long as they are, at least."""
    found = np.zeros(len(widths), np.int64)
    words = np.frombuffer(raw + bytes(16 - len(raw) % 8), "<u8")
    used = np.flatnonzero(widths)
    for begin in range(0, len(used), _TOGETHER):
        at = used[begin : begin + _TOGETHER]
        width = widths[at].astype(np.int64)
        places = start + np.cumsum(width) - width
        start = int(places[-1] + width[-1])
        word, bit = places >> 6, (places & 63).astype(np.uint64)
        value = words[word] >> bit | words[word + 1] << np.uint64(1) << (np.uint64(63) - bit)
        found[at] = (value & ((np.uint64(1) << width.astype(np.uint64)) - np.uint64(1))).view("i8")
    return found
