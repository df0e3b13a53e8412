"""The journal of a job: the place to go on at, put on the disk while it works."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ae_runtime.files.jobs.unfinished import Place, Unfinished

NOTE_EVERY_S = 1.0  # how much of the work a kill may cost


class Journal:
    """The place to go on at, written in a thread of its own: a disk takes its time.

    flush: puts all that was written so far on the disk. Work waits for a note that is not done
    when the next one is due, so that what the disk has to catch up with stays bounded.
    """

    def __init__(self, files: Unfinished, flush: Callable[[], None], start: Place) -> None:
        self._files, self._flush = files, flush
        self._noted = start
        self._last = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ae_runtime_notes")
        self._pending: Future[None] | None = None

    def maybe(self, place: Place) -> None:
        """Begin to note this place, if it is time to."""
        if time.monotonic() - self._last < NOTE_EVERY_S:
            return
        self.wait()
        self._pending = self._thread.submit(self._note, place)
        self._last = time.monotonic()

    def now(self, place: Place) -> None:
        """Note this place, unless it is noted already."""
        self.wait()
        if place != self._noted:
            self._note(place)

    def wait(self) -> None:
        """Wait until the note in progress is written. Raises the error of writing it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the thread."""
        with contextlib.suppress(OSError):  # said before, or of work that failed anyway
            self.wait()
        self._thread.shutdown()

    def _note(self, place: Place) -> None:
        self._flush()
        self._files.note(place)
        self._noted = place
