"""Run graphs over rows: tiles that fit the cache, spread over threads, written in place."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from ae_runtime.devices import available_cpus, compute, open_session
from ae_runtime.errors import BundleRefused

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Array = NDArray[Any]
Convert = Callable[[Array], Array]
DEFAULT_TILE = 256  # rows a call: 64 to 1024 are equally fast, and 256 keeps wide rows in L2


class Feed(NamedTuple):
    """An input of a graph: its name, rows (B, ...), and what makes a tile of them fit for it."""

    name: str
    rows: Array
    convert: Convert


class Engine:
    """Sessions of a bundle's graphs, opened when first used and again after a fork.

    One session serves all threads (`run` is safe to share and releases the GIL). Safe to call
    from many threads.
    """

    def __init__(self, graphs: Mapping[str, bytes], threads: int | None, tile: int | None) -> None:
        self.graphs = graphs
        self.threads = threads or available_cpus()
        self.tile = tile or DEFAULT_TILE
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def session(self, name: str) -> Any:
        """The onnxruntime session of the graph `name`."""
        if self._pid != os.getpid():
            self._reopen()
        session = self._sessions.get(name)
        if session is None:
            with self._lock:
                session = self._sessions.get(name)
                if session is None:
                    session = self._sessions[name] = open_session(self.graphs[name])
        return session

    def run(self, name: str, feeds: Sequence[Feed], outs: Mapping[str, Array]) -> None:
        """Fill `outs` with the outputs of graph `name`, row by row, for the rows of the feeds.

        feeds: the graph's inputs, (B, ...) each. outs: arrays (B, ...) by output name, written in
        place. The result does not depend on tile or threads. Raises BundleRefused if the graph
        does not give one row for each row of the feeds.
        """
        session = self.session(name)
        fetches = list(outs)
        rows = len(feeds[0].rows)
        if rows <= self.tile:
            if rows:
                found = compute(session, fetches, {f.name: f.convert(f.rows) for f in feeds})
                for out, values in zip(outs.values(), found, strict=True):
                    _fill(out, values)
            return

        def work(start: int) -> None:
            tile = slice(start, start + self.tile)
            found = compute(session, fetches, {f.name: f.convert(f.rows[tile]) for f in feeds})
            for out, values in zip(outs.values(), found, strict=True):
                _fill(out[tile], values)

        starts = range(0, rows, self.tile)
        if self.threads == 1:
            for start in starts:
                work(start)
        else:
            for _ in self._threads().map(work, starts):
                pass

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="ae_runtime")
            return self._pool

    def _reopen(self) -> None:
        # After a fork the threads of the pool are gone and a lock may be held by one of them.
        self._lock = threading.Lock()
        self._sessions = {}
        self._pool = None
        self._pid = os.getpid()


def _fill(place: Array, found: Array) -> None:
    if found.shape != place.shape:  # numpy would repeat a single row for all
        raise BundleRefused(f"a graph gives shape {found.shape} where {place.shape} is promised")
    place[...] = found
