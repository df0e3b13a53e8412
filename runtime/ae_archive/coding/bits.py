"""Bit fields of any width, one after another, the lowest bit first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
TOGETHER = 1 << 14  # fields, as many as the processor's cache holds


class FieldWriter:
    """Writer of bit fields, without gaps between them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._begun = np.uint64(0)  # the word that the next field goes on with
        self._bit = 0  # where in it

    def put(self, values: NDArray[Any], widths: NDArray[Any]) -> None:
        """Append fields (N,), 0 <= value < 2^width, of widths (N,), at most 62."""
        if not len(values):
            return
        ends = np.cumsum(widths, dtype=np.int64)
        ends += self._bit
        whole, self._bit = divmod(int(ends[-1]), 64)
        words = np.zeros(whole + 2, np.uint64)
        words[0] = self._begun
        value = values.astype(np.uint64)
        ends -= widths
        word, bit = ends >> 6, (ends & 63).astype(np.uint64)
        first = np.flatnonzero(np.diff(word, prepend=-1))
        words[word[first]] |= np.bitwise_or.reduceat(value << bit, first)
        # Only the last field that begins in a word may go on in the next.
        last = np.append(first[1:], len(value)) - 1
        words[word[last] + 1] |= value[last] >> np.uint64(1) >> (np.uint64(63) - bit[last])
        self._parts.append(words[:whole].astype("<u8").tobytes())
        self._begun = words[whole]

    def done(self) -> bytes:
        """Bytes of all fields, the last one filled up with zeros."""
        rest = np.array(self._begun, "<u8").tobytes()[: -(-self._bit // 8)]
        return b"".join(self._parts) + rest


class FieldReader:
    """Reader of bit fields. bits: of all bytes. at: bits that were taken."""

    def __init__(self, raw: bytes) -> None:
        self.bits = 8 * len(raw)
        self.at = 0
        self._words = np.frombuffer(raw + bytes(16 - len(raw) % 8), "<u8")

    def take(self, widths: NDArray[Any]) -> Integers:
        """Next fields (N,) of widths (N,). Raises ValueError where too few bits are left."""
        ends = np.cumsum(widths, dtype=np.int64)
        ends += self.at
        end = int(ends[-1]) if len(ends) else self.at
        if end > self.bits:
            raise ValueError(f"{end} bits are more than {self.bits}")
        self.at = end
        ends -= widths
        word, bit = ends >> 6, (ends & 63).astype(np.uint64)
        value = self._words[word] >> bit
        value |= self._words[word + 1] << np.uint64(1) << (np.uint64(63) - bit)
        value &= (np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1)
        return np.asarray(value.view(np.int64))
