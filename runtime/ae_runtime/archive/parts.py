"""Byte strings one after another, each with its length before it."""

from __future__ import annotations

from collections.abc import Iterable

from ae_runtime.errors import ArchiveCorrupt


def join(parts: Iterable[bytes]) -> bytes:
    """The parts, each after its length in 4 bytes, little-endian."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


class Parts:
    """The parts of a payload, taken in order."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self) -> bytes:
        """The next part. Raises ArchiveCorrupt where none is left, or less than it says."""
        begin = self._at + 4
        end = begin + int.from_bytes(self._raw[self._at : begin], "little")
        if begin > len(self._raw) or end > len(self._raw):
            raise ArchiveCorrupt("a chunk ends before its parts do")
        self._at = end
        return self._raw[begin:end]

    def end(self) -> None:
        """Raise ArchiveCorrupt if anything is left."""
        if self._at != len(self._raw):
            raise ArchiveCorrupt("a chunk holds more than its parts")
