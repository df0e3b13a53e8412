"""Rows to an .npz file with their stamp, in bounded memory."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_runtime.files.writers.layout import Chunk, Writer
from ae_runtime.files.writers.npy import write_all, write_header

_SIZES = struct.Struct("<3q")  # bytes of a chunk's ids, which are JSON, of its starts and values
_IDS, _STARTS, _VALUES = range(3)


class NpzWriter(Writer):
    """An .npz file: chunks go to the part as records, which are packed at the end.

    Ids become an array `id`, starts of windows an array `start`.
    """

    holds_ids = True
    stamps_itself = True
    packs = True

    def write(self, chunk: Chunk) -> None:
        values = np.ascontiguousarray(chunk.values)
        ids = b"" if chunk.ids is None else json.dumps(chunk.ids.tolist()).encode()
        starts = b"" if chunk.starts is None else chunk.starts.tobytes()
        write_all(self.file, _SIZES.pack(len(ids), len(starts), values.nbytes) + ids + starts)
        write_all(self.file, values)

    def finish(self, rows: int, stamp: Mapping[str, Any], part: Path, packed: Path) -> None:
        layout = self.layout
        # As numpy.savez does it: stored, and with sizes of 64 bits.
        with packed.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            with _member(archive, layout.member) as member:
                write_header(member, (rows, *layout.row_shape), layout.dtype)
                for values in _parts(part, _VALUES):
                    write_all(member, values)
            if layout.id_name is not None:
                dtype = _dtype_of_ids(part)
                with _member(archive, "id") as member:
                    write_header(member, (rows,), dtype)
                    for ids in _parts(part, _IDS):
                        write_all(member, np.array(json.loads(ids), dtype))
            if layout.starts:
                with _member(archive, "start") as member:
                    write_header(member, (rows,), np.dtype(np.int64))
                    for starts in _parts(part, _STARTS):
                        write_all(member, starts)
            for name, value in stamp.items():
                with _member(archive, name) as member:
                    np.lib.format.write_array(member, np.array(value), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    return archive.open(f"{name}.npy", "w", force_zip64=True)


def _parts(part: Path, which: int) -> Iterator[bytes]:
    """The ids, starts or values of each chunk."""
    with part.open("rb") as file:
        while head := file.read(_SIZES.size):
            sizes = _SIZES.unpack(head)
            file.seek(sum(sizes[:which]), os.SEEK_CUR)
            yield file.read(sizes[which])
            file.seek(sum(sizes[which + 1 :]), os.SEEK_CUR)


def _dtype_of_ids(part: Path) -> np.dtype[Any]:
    """The dtype of ids: int64, or texts as long as the longest."""
    longest, texts = 1, False
    for ids in _parts(part, _IDS):
        for name in json.loads(ids):
            if isinstance(name, str):
                texts, longest = True, max(longest, len(name))
    return np.dtype(f"<U{longest}") if texts else np.dtype(np.int64)
