"""An output that is not complete yet: OUT.part, its journal, and who works on it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ae_runtime import outputs
from ae_runtime.errors import AeError, OutputExists, WorkFailed
from ae_runtime.files.jobs import skipped

try:
    import fcntl
except ImportError:  # Windows: there nothing keeps two processes from one output
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Place:
    """How far a job is, after some whole blocks.

    first, position: of the block to go on with. rows: written to the output. bytes: size of the
    unfinished file. skipped: rows left out. skipped_bytes: size of their list. listed: input rows
    looked at; more than `first` where windows come again for the steps that they share. steps: of
    the whole series, once they are known. done: whether only the end of the file is to be written.
    """

    first: int = 0
    position: Any = 0
    rows: int = 0
    bytes: int = 0
    skipped: int = 0
    skipped_bytes: int = 0
    listed: int = 0
    steps: int | None = None
    done: bool = False


class Unfinished:
    """The files beside OUT while a job works on it.

    job: id of the job, made of options, input and model; only a job of this id goes on.
    """

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self.out, self.job = out, job
        self.part = outputs.part_of(out)
        self.journal = _journal_of(self.part)
        self.packed = outputs.part_of(self.part)
        self.skipped = outputs.part_of(outputs.skipped_of(out))

    def left_over(self) -> Place:
        """Place that an earlier try of the same job reached; the beginning if there was none."""
        state = _read_journal(self.journal)
        if state is None or state["job"] != self.job:
            return Place()
        place = Place(**state["place"])
        if _size(self.part) < place.bytes:
            return Place()
        listed = outputs.skipped_of(self.out)
        if place.done and not self.skipped.exists() and _size(listed) == place.skipped_bytes > 0:
            listed.replace(self.skipped)  # killed when the list was in its place, and OUT was not
        return place if _size(self.skipped) >= place.skipped_bytes else Place()

    def note(self, place: Place) -> None:
        """Write down how far the job is; all of it must be on the disk already."""
        state = {"job": self.job, "place": asdict(place)}
        outputs.write_atomic(self.journal, json.dumps(state).encode())

    def remove(self) -> None:
        for file in (self.packed, self.skipped, self.part):
            file.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Remove the journal; the part became the output."""
        for file in (self.journal, outputs.part_of(self.journal)):
            file.unlink(missing_ok=True)


def check_out(out: Path, overwrite: bool, with_sidecar: bool) -> None:
    """Raise OutputExists unless out and the files beside it may be written."""
    outputs.check_free(out, outputs.read_stamp(out) is not None, overwrite, "an output of ae-run")
    if with_sidecar:
        outputs.check_sidecar_free(out)
    files = Unfinished(out, {})

    def is_in_the_way(file: Path) -> bool:
        # An empty part is one that another process has only begun to take, or was killed then.
        is_there = os.path.lexists(file) and not (file == files.part and _size(file) == 0)
        return is_there and _read_journal(files.journal) is None

    for file in (files.part, files.journal, files.packed):
        # Twice: another process may have begun or finished between the two looks at its files.
        if is_in_the_way(file) and is_in_the_way(file):
            raise OutputExists(f"{file} is in the way and not ours; move it")


@contextlib.contextmanager
def locked(part: Path, wait: bool) -> Iterator[BinaryIO]:
    """Open the unfinished file for this process alone; make it if it is not there.

    wait: whether to wait for another process that works on it, or to raise OutputExists.
    """
    while True:
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+b", buffering=0)
        with file:
            _lock(file, part, wait)
            if not _is_at(file, part):
                continue  # another process finished its output, or removed it: this is no part now
            try:
                yield file
            finally:
                empty = _is_at(file, part) and not _size(part)
                if empty and not os.path.lexists(_journal_of(part)):
                    part.unlink()  # taken for nothing
            return


def keeps(error: BaseException) -> bool:
    """Whether, after this error, the next call may go on with what is done so far.

    True after an interrupt, or where the disk or the input failed; not where the data is wrong.
    """
    if isinstance(error, AeError):
        return isinstance(error, WorkFailed)
    return isinstance(error, OSError) or not isinstance(error, Exception)


def publish(files: Unfinished, place: Place, made: Path, stamp: dict[str, Any] | None) -> None:
    """Rename the finished file to OUT, once the stamp that goes beside it is written.

    stamp: None where the file holds it; then one beside it is an earlier output's, and removed.
    """
    with made.open("rb+") as file:  # a stamp on the disk vouches for rows that are there, too
        os.fsync(file.fileno())
    skipped.publish(files.skipped, files.out, place.skipped_bytes)
    sidecar = outputs.sidecar_of(files.out)
    before = sidecar.read_bytes() if outputs.has_sidecar(files.out) else None
    if stamp is not None:
        stamp["bytes"] = made.stat().st_size
        outputs.write_atomic(sidecar, (json.dumps(stamp) + "\n").encode())
    elif before is not None:
        sidecar.unlink()
    try:
        made.replace(files.out)
    except OSError:
        if before is not None:
            outputs.write_atomic(sidecar, before)
        elif stamp is not None:
            sidecar.unlink()
        raise
    files.remove()


def _journal_of(part: Path) -> Path:
    return outputs.sidecar_of(part)


_BINARY = getattr(os, "O_BINARY", 0)  # Windows
# File systems without locks, network ones mostly.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def _lock(file: BinaryIO, part: Path, wait: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputExists(
            f"{part} is being written by another process; wait for it, or choose another output"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_journal(journal: Path) -> dict[str, Any] | None:
    """Job and place that an earlier try wrote down; None without them."""
    try:
        state = json.loads(journal.read_bytes())
        Place(**state["place"])
        return {"job": state["job"], "place": state["place"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
