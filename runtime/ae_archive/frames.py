"""Bytes of an archive: a magic, frames with checksums around payloads, and a footer."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ae_runtime.errors import ArchiveCorrupt, ArchiveError

# As in PNG: a byte beyond ASCII and both line ends show what a transfer as text has done.
MAGIC = b"\x89AEZ\r\n\x1a\n"
MAJOR, MINOR = 1, 0
HEAD, MODEL, CHUNK, INDEX = b"HEAD", b"MODL", b"CHNK", b"INDX"
_VERSION = struct.Struct("<HH")
# marker, mode, number of the chunk, rows, first row, bytes and CRC-32 of the payload
_FRAME = struct.Struct("<4sB3xIIQII")
_CRC = struct.Struct("<I")
_FOOTER = struct.Struct("<QI4s")  # place of the index, CRC-32 of that, marker
_END = b"AEZ."
START = len(MAGIC) + _VERSION.size
FRAME_BYTES = _FRAME.size + _CRC.size
MAX_HEAD = 1 << 24
_SCANNED = 1 << 20  # bytes searched at once for the next frame


class Frame(NamedTuple):
    """Fields before a payload. at: where the payload begins in the file."""

    marker: bytes
    mode: int
    number: int
    rows: int
    first: int
    bytes: int
    crc: int
    at: int = 0

    @property
    def end(self) -> int:
        """Place in the file at which the next frame begins."""
        return self.at + self.bytes


def start() -> bytes:
    """First bytes of an archive: the magic and the version."""
    return MAGIC + _VERSION.pack(MAJOR, MINOR)


def framed(
    marker: bytes, payload: bytes, mode: int = 0, number: int = 0, rows: int = 0, first: int = 0
) -> bytes:
    """Bytes of a frame and its payload."""
    head = _FRAME.pack(marker, mode, number, rows, first, len(payload), zlib.crc32(payload))
    return head + _CRC.pack(zlib.crc32(head)) + payload


def footer(index: int) -> bytes:
    """Last bytes of an archive. index: where the frame of the index begins."""
    raw = index.to_bytes(8, "little")
    return _FOOTER.pack(index, zlib.crc32(raw), _END)


def check_start(file: BinaryIO, name: str) -> int:
    """Minor version. Raises ArchiveError for no archive, or one of another major version."""
    file.seek(0)
    raw = file.read(START)
    if raw[: len(MAGIC)] != MAGIC:
        raise ArchiveError(f"{name} is no archive: it does not begin as one; choose a .aez file")
    if len(raw) < START:
        raise ArchiveCorrupt(f"{name} ends before its version; write it again")
    major, minor = _VERSION.unpack(raw[len(MAGIC) :])
    if major != MAJOR:
        raise ArchiveError(
            f"{name} has format {major}.{minor}, this version reads {MAJOR}.x; update ae-toolkit"
        )
    return int(minor)


def read_frame(file: BinaryIO, at: int, size: int) -> Frame | None:
    """Frame that begins at `at` in a file of `size` bytes; None if there is no complete one."""
    if not 0 <= at <= size - FRAME_BYTES:
        return None
    file.seek(at)
    return _parsed(file.read(FRAME_BYTES), at, size)


def _parsed(raw: bytes, at: int, size: int) -> Frame | None:
    if len(raw) != FRAME_BYTES or _CRC.unpack(raw[_FRAME.size :])[0] != zlib.crc32(raw[:-4]):
        return None
    frame = Frame._make((*_FRAME.unpack(raw[: _FRAME.size]), at + FRAME_BYTES))
    return frame if frame.end <= size else None


def read_payload(file: BinaryIO, frame: Frame) -> bytes:
    """Payload of a frame. Raises ArchiveCorrupt if its checksum does not match."""
    file.seek(frame.at)
    raw = file.read(frame.bytes)
    if len(raw) != frame.bytes or zlib.crc32(raw) != frame.crc:
        raise ArchiveCorrupt("its bytes are not those that were written")
    return raw


def index_place(file: BinaryIO, size: int) -> int | None:
    """Place of the index according to the footer; None if the footer is lost."""
    if size < START + _FOOTER.size:
        return None
    file.seek(size - _FOOTER.size)
    place, crc, end = _FOOTER.unpack(file.read(_FOOTER.size))
    valid = end == _END and crc == zlib.crc32(int(place).to_bytes(8, "little"))
    return int(place) if valid else None


def scan(file: BinaryIO, at: int, size: int) -> Iterator[Frame]:
    """All complete frames from `at` on, whatever lies between them."""
    while at < size:
        frame = read_frame(file, at, size)
        if frame is not None:
            yield frame
            at = frame.end
        else:
            at = _next_marker(file, at + 1, size)


def _next_marker(file: BinaryIO, at: int, size: int) -> int:
    while at < size:
        file.seek(at)
        raw = file.read(_SCANNED + 3)
        places = [place for marker in (CHUNK, INDEX) if (place := raw.find(marker)) >= 0]
        if places:
            return at + min(places)
        at += _SCANNED
    return size
