"""The list of rows that were left out, a CSV beside the output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ae_runtime import outputs
from ae_runtime.errors import OutputExists
from ae_runtime.files.writers.csv import quoted
from ae_runtime.files.writers.npy import write_all

_HEADER = b"row,reason\n"


class SkippedRows:
    """OUT.skipped.csv: a row's number in the input, from 1, and why it was left out.

    Until the output is complete it has another name. Without rows left out there is no list.
    """

    def __init__(self, part: Path, size: int) -> None:
        """part: the unfinished list, whose first `size` bytes are kept."""
        self.part, self.bytes = part, size
        self._file: BinaryIO | None = None

    def add(self, first: int, bad: dict[int, str]) -> None:
        """Add a block's bad rows, {place in the block: why}. first: number of its first row."""
        if not bad:
            return
        lines = [f"{first + at + 1},{quoted(bad[at])}\n" for at in sorted(bad)]
        file = self._opened()
        write_all(file, "".join(lines).encode())
        self.bytes = file.tell()

    def flush(self) -> None:
        """Put all lines on the disk."""
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self.part.open("r+b" if self.bytes else "wb", buffering=0)
            self._file.truncate(self.bytes)
            self._file.seek(self.bytes)
            if not self.bytes:
                write_all(self._file, _HEADER)
        return self._file


def check_free(out: Path) -> None:
    """Raise OutputExists if OUT.skipped.csv is anything but such a list."""
    path = outputs.skipped_of(out)
    if os.path.lexists(path) and not _is_ours(path):
        raise OutputExists(
            f"{path} exists and is no list of skipped rows; it is never overwritten, "
            f"choose another name than {out.name}"
        )


def publish(part: Path, out: Path, size: int) -> None:
    """Rename the list to its final name; if it is empty, remove that of an earlier output."""
    path = outputs.skipped_of(out)
    if size:
        part.replace(path)
    elif _is_ours(path):
        path.unlink()


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False
