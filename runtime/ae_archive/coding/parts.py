"""Byte strings one after another, each after its length."""

from __future__ import annotations

from collections.abc import Iterable

from ae_runtime.errors import ArchiveCorrupt

MAX_LENGTH = 1 << 32


def join(parts: Iterable[bytes]) -> bytes:
    """Bytes of the parts, each after its length in LEB128 (as in DWARF and WebAssembly)."""
    return b"".join(_length(len(part)) + part for part in parts)


def _length(count: int) -> bytes:
    raw = bytearray()
    while count >= 128:
        raw.append(count & 127 | 128)
        count >>= 7
    return bytes([*raw, count])


class Parts:
    """Parts of a payload, taken in order."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self) -> bytes:
        """Next part. Raises ArchiveCorrupt where none is left, or less than its length."""
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
