"""Byte strings one after another, each with its length before it."""

from __future__ import annotations

from collections.abc import Iterable

from ae_runtime.errors import ArchiveCorrupt

MAX_LENGTH = 1 << 32


def join(parts: Iterable[bytes]) -> bytes:
    """The parts, each after its length: 7 bits a byte, the lowest first, 128 more but in the last.

    (LEB128, as in DWARF and WebAssembly.)
    """
    return b"".join(_length(len(part)) + part for part in parts)


def _length(count: int) -> bytes:
    found = bytearray()
    while count >= 128:
        found.append(count & 127 | 128)
        count >>= 7
    return bytes([*found, count])


class Parts:
    """The parts of a payload, taken in order."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self) -> bytes:
        """The next part. Raises ArchiveCorrupt where none is left, or less than it says."""
        count = shift = 0
        more = True
        while more and self._at < len(self._raw) and count < MAX_LENGTH:
            byte = self._raw[self._at]
            self._at += 1
            count |= (byte & 127) << shift
            shift += 7
            more = byte >= 128
        begin = self._at
        if more or begin + count > len(self._raw):
            raise ArchiveCorrupt("a chunk ends before its parts do")
        self._at = begin + count
        return self._raw[begin : self._at]

    def end(self) -> None:
        """Raise ArchiveCorrupt if anything is left."""
        if self._at != len(self._raw):
            raise ArchiveCorrupt("a chunk holds more than its parts")
