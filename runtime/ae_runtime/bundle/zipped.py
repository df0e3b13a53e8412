"""The .zip side of a bundle: members read in memory, with no word of the archive believed.

Not by zipfile, which is for archives one trusts: it builds an object for every entry of the
directory before anybody can count them (46 MB of them take 320 MB), raises a dozen kinds of
errors, others with each version of Python, and takes 4 ms to import.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Mapping
from io import BytesIO
from struct import Struct
from typing import BinaryIO, NamedTuple

from ae_runtime.errors import BundleCorrupt, BundleNotFound, BundleRefused

MANIFEST = "manifest.json"
MAX_ARCHIVE_BYTES = 4 << 30  # the limit of the format without its zip64 extension
MAX_MEMBERS = 64
MAX_RATIO = 100  # trained weights shrink by a tenth; 1 MB of deflate can hold 1 GB of zeros
FREE_BYTES = 64 << 20  # that every member may have, whatever its ratio
CHUNK_BYTES = 1 << 14  # at most 16 MB when inflated
LEVEL = 6

# PKWARE's APPNOTE 6.3.10, sections 4.3.16, 4.3.12 and 4.3.7.
END = Struct("<4s4H2LH")
ENTRY = Struct("<4s6H3L5H2L")
HEADER = Struct("<4s5H3L2H")
STORED, DEFLATED = 0, 8
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13


class Member(NamedTuple):
    """What the directory says of one member; nothing is allocated by it."""

    method: int
    crc: int
    packed: int
    size: int
    start: int


def is_archive(file: BinaryIO) -> bool:
    """Whether a file begins as a .zip does, an empty one too."""
    file.seek(0)
    return file.read(4) in (b"PK\3\4", b"PK\5\6")


class Archive:
    """The members of the .zip in an open file, its directory checked.

    Raises BundleCorrupt where it is damaged, BundleRefused where it holds what a bundle may not
    hold, BundleNotFound where the bundle lies in a folder of the archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        count, self._directory, end = _find_directory(file)
        self._members: dict[str, Member] = {}
        file.seek(self._directory)
        for _ in range(count):
            name, member = _read_entry(file, end)
            if name in self._members:
                raise _refused(name, "is there twice", "pack it once")
            self._members[name] = member
        if file.tell() != end:
            raise _damaged("its directory is not as long as it says")
        # Members that share their bytes would each be allowed what these inflate to.
        if sum(member.packed for member in self._members.values()) > self._directory:
            raise _damaged("its members are longer than itself")
        self._check_root()

    def read(self, name: str, most: int) -> bytes | None:
        """The first `most` bytes of a member, or None where there is none of that name.

        A member that has less is whole and right by its CRC-32.
        """
        member = self._members.get(name)
        if member is None:
            return None
        self._seek_data(name, member)
        cap = max(FREE_BYTES, MAX_RATIO * member.packed)
        try:
            raw = self._unpack(member, min(most, cap + 1))
        except zlib.error:
            raise _damaged(f"{name} cannot be inflated") from None
        if len(raw) > cap:
            raise _refused(name, f"inflates to more than {cap} bytes", "pack it stored")
        if len(raw) < most and (len(raw) != member.size or zlib.crc32(raw) != member.crc):
            raise _damaged(f"{name} has not the size and CRC-32 that it says")
        return raw

    def _seek_data(self, name: str, member: Member) -> None:
        self._file.seek(member.start)
        raw = self._file.read(HEADER.size)
        if len(raw) == HEADER.size and raw.startswith(b"PK\3\4"):
            *_, name_bytes, extra_bytes = HEADER.unpack(raw)
            own_name = self._file.read(name_bytes)
            start = self._file.seek(extra_bytes, os.SEEK_CUR)
            if own_name == name.encode() and start + member.packed <= self._directory:
                return
        raise _damaged(f"{name} is not where it says")

    def _unpack(self, member: Member, most: int) -> bytes:
        if member.method == STORED:
            return self._file.read(min(member.packed, most))
        inflater, left = zlib.decompressobj(-zlib.MAX_WBITS), member.packed
        out = BytesIO()  # gives its bytes without a copy, a list of parts would not
        while (room := most - out.tell()) and not inflater.eof:
            chunk = self._file.read(min(CHUNK_BYTES, left))
            if not chunk:
                break
            left -= len(chunk)
            # What room leaves unconsumed is not needed: the loop ends.
            out.write(inflater.decompress(chunk, room))
        return out.getvalue()

    def _check_root(self) -> None:
        if MANIFEST in self._members:
            return
        for name in self._members:
            folder, slash, last = name.rpartition("/")
            if slash and last == MANIFEST:
                raise BundleNotFound(
                    f"the bundle is in the archive's folder {folder!a:.80}, it must lie at the "
                    "root; pack the files, not their folder"
                )


def zip_bundle(files: Mapping[str, bytes]) -> bytes:
    """A .zip with the files at its root, the manifest first: the same files, the same bytes."""
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

    out = BytesIO()
    with ZipFile(out, "w", allowZip64=False) as archive:
        for name in sorted(files, key=lambda name: (name != MANIFEST, name)):
            entry = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files[name], ZIP_DEFLATED, LEVEL)
    return out.getvalue()


def _find_directory(file: BinaryIO) -> tuple[int, int, int]:
    """How many members the directory has, where it starts, and where it ends."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_ARCHIVE_BYTES:
        raise BundleCorrupt(
            f"the archive is larger than the {MAX_ARCHIVE_BYTES} bytes it may have; "
            "fetch or pack it again"
        )
    file.seek(max(0, size - END.size - 0xFFFF))  # a comment may follow
    tail = file.read(END.size + 0xFFFF)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + END.size > len(tail):
        raise _damaged("it has no end")
    _, *disks, count, length, start, comment_bytes = END.unpack_from(tail, at)
    end = size - len(tail) + at
    if b"PK\6\7" in tail[max(0, at - 20) : at]:
        raise BundleRefused("the archive is a zip64 one; pack it again without zip64")
    if (*disks, start + length, at + END.size + comment_bytes) != (0, 0, count, end, len(tail)):
        raise _damaged("its end is wrong")
    if count > MAX_MEMBERS:
        raise BundleRefused(
            f"the archive holds {count} members, {MAX_MEMBERS} are allowed; "
            "pack the bundle's files alone"
        )
    return count, start, end


def _read_entry(file: BinaryIO, end: int) -> tuple[str, Member]:
    """The next entry of the directory that ends at `end`, its name and kind checked."""
    raw = file.read(ENTRY.size)
    if len(raw) < ENTRY.size or not raw.startswith(b"PK\1\2"):
        raise _damaged("its directory is wrong")
    _, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, mode, start = ENTRY.unpack(raw)
    name_bytes, *rest_bytes = lengths
    # Names are compared and shown, never used as paths: no encoding of them can be wrong.
    name = file.read(name_bytes).decode("utf-8", "surrogateescape")
    if file.seek(sum(rest_bytes), os.SEEK_CUR) > end:
        raise _damaged("its directory is wrong")
    if _leads_out(name):
        raise _refused(name, "has a name that leads out of it", "pack the bundle's files alone")
    if stat.S_IFMT(mode >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(name, "is a link or a device", "pack the file itself")
    if flags & ENCRYPTED:
        raise _refused(name, "is encrypted", "pack it without a password")
    if method not in (STORED, DEFLATED):
        raise _refused(name, f"is packed by method {method}", "pack it stored or deflated")
    return name, Member(method, crc, packed, size, start)


def _leads_out(name: str) -> bool:
    """Whether a name would lead elsewhere on any system, were it used as a path."""
    return (
        name[:1] in ("", "/")
        or name[1:2] == ":"
        or "\\" in name
        or "\0" in name
        or ".." in name.split("/")
    )


def _damaged(what: str) -> BundleCorrupt:
    return BundleCorrupt(f"the archive is cut off or damaged: {what}; fetch or pack it again")


def _refused(name: str, what: str, todo: str) -> BundleRefused:
    return BundleRefused(f"the archive's {name!a:.80} {what}; {todo}")
