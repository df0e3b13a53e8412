"""Run graphs over rows: tiles that fit the cache, spread over threads, written in place."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from ae_runtime.errors import BundleRefused
from ae_runtime.model.devices import CUDA, OPENING, compute, compute_into, open_session, provider_of

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from ae_runtime.model.plan import Plan

Array = NDArray[Any]
Convert = Callable[[Array], Array]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Feed(NamedTuple):
    """An input of a graph: its name, its rows (B, ...), and what converts a tile of them."""

    name: str
    rows: Array
    convert: Convert


class Engine:
    """Sessions of a bundle's graphs, opened when first used and again after a fork.

    One session serves all threads (`run` is safe to share and releases the GIL). Safe to call
    from many threads. plan_for: from a provider's name to the plan (tile and threads) for it.
    """

    def __init__(
        self, graphs: Mapping[str, bytes], plan_for: Callable[[str], Plan], provider: str | None
    ) -> None:
        self.graphs = graphs
        self._plan_for = plan_for
        self._provider = provider  # None: found out with the first session
        self.plan = plan_for(provider or "")
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
                    session = self._open(name)
        return session

    def _open(self, name: str) -> Any:
        session = open_session(self.graphs[name], provider=self._provider, lean=self.plan.lean)
        if self._provider is None:
            self._provider = provider_of(session)
            self.plan = self._plan_for(self._provider)
        self._sessions[name] = session
        return session

    def once(
        self, name: str, feeds: Mapping[str, Array], fetch: str, shape: tuple[int, ...]
    ) -> Any:
        """Call graph `name` once, on arrays that it takes as they are; returns output `fetch`.

        The fast form of `run` for a single row, where each microsecond counts. Raises BundleRefused
        if the output does not have `shape`.
        """
        found = compute(self.session(name), (fetch,), feeds)[0]
        if found.shape != shape:
            raise _wrong_shape(found.shape, shape)
        return found

    def run(
        self, name: str, feeds: Sequence[Feed], outs: Mapping[str, Array], *, alone: bool = False
    ) -> None:
        """Fill `outs` with the outputs of graph `name`, row by row, for the rows of the feeds.

        feeds: the graph's inputs, (B, ...) each. outs: arrays (B, ...) by output name, written in
        place. alone: in the calling thread only. The result does not depend on tile or threads.
        Raises BundleRefused if the graph does not give one row for each row of the feeds.
        """
        session = self.session(name)
        rows, tile = len(feeds[0].rows), self.plan.tile
        into = compute_into if self._provider == CUDA else _compute_and_copy

        def work(start: int) -> None:
            part = slice(start, start + tile)
            tiles = {feed.name: feed.convert(feed.rows[part]) for feed in feeds}
            into(session, tiles, {fetch: out[part] for fetch, out in outs.items()})

        starts = range(0, rows, tile)
        helpers = 0 if alone else min(self.plan.threads, len(starts)) - 1
        if helpers > 0:
            self._share(work, starts, helpers)
        else:
            for start in starts:
                work(start)

    def in_order(
        self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
    ) -> Iterator[Result]:
        """Yield work(item) of each item, in order, by the pool, at most `ahead` unfinished.

        Items are taken by the calling thread. When the iterator is closed, or an item fails, no
        work goes on.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            _give_up(waiting)

    def close(self) -> None:
        """Give memory and threads back; both are taken again when they are needed.

        Calls that other threads have begun are finished, with the sessions and threads that they
        hold; this call waits for those threads.
        """
        with self._lock:
            pool, self._pool, self._sessions = self._pool, None, {}
        if pool is not None:
            pool.shutdown()

    def _share(self, work: Callable[[int], None], starts: Iterable[int], helpers: int) -> None:
        """Do all tiles in this thread and `helpers` more, each thread taking the next one in turn.

        In turn, not in equal shares: a thread that a busy neighbour slows down takes fewer. Where
        all threads of the pool are busy with other callers, this one does the work alone.
        """
        turns = iter(
            starts
        )  # of a range: threads may share it, each step is one of the interpreter

        def work_off() -> None:
            try:
                for start in turns:
                    work(start)
            except BaseException:
                deque(turns, maxlen=0)  # the others find nothing left to do
                raise

        helping = [self._submit(work_off) for _ in range(helpers)]
        try:
            work_off()
        finally:
            _give_up(helping)
        for future in helping:
            if not future.cancelled():
                future.result()

    def _submit(self, work: Callable[..., Result], *given: Any) -> Future[Result]:
        """Submit the work to the pool.

        Under the lock: else the pool could be shut down between being looked up and being used.
        """
        if self._pid != os.getpid():
            self._reopen()
        with self._lock:
            if self._pool is None:
                with OPENING:
                    from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self.plan.threads, thread_name_prefix="ae_runtime")
            return self._pool.submit(work, *given)

    def _reopen(self) -> None:
        # After a fork the threads of the pool are gone and a lock may be held by one of them.
        with OPENING:
            if self._pid != os.getpid():
                self._lock = threading.Lock()
                _OF_PARENTS.append(self._sessions)
                self._sessions = {}
                self._pool = None
                self._pid = os.getpid()


# Sessions from before a fork, never ended: that could wait for a lock of a thread that is gone.
_OF_PARENTS: list[dict[str, Any]] = []


def _give_up(futures: Iterable[Future[Any]]) -> None:
    """Cancel work that has not begun, and wait for the rest: it may use the caller's arrays."""
    for future in futures:
        if not future.cancel():
            future.exception()


def _compute_and_copy(session: Any, feeds: Mapping[str, Array], outs: Mapping[str, Array]) -> None:
    for out, found in zip(outs.values(), compute(session, [*outs], feeds), strict=True):
        if found.shape != out.shape:  # numpy would repeat a single row for all
            raise _wrong_shape(found.shape, out.shape)
        out[...] = found


def _wrong_shape(found: tuple[int, ...], promised: tuple[int, ...]) -> BundleRefused:
    return BundleRefused(f"a graph gives shape {found} where {promised} is promised")
