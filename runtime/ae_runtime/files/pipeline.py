"""Blocks read ahead, computed on the engine's threads, and handed over in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Generic, TypeVar, cast

from ae_runtime.autoencoder import Autoencoder

Item = TypeVar("Item")
Result = TypeVar("Result")
Generated = Generator[Result, None, None]  # an iterator that can be closed
READ_AHEAD = 2  # blocks


def in_order(
    ae: Autoencoder, work: Callable[[Item], Result], items: Iterable[Item], in_thread: bool
) -> Generated[Result]:
    """work(item) of each item: reading, computing and what the caller does go on together.

    in_thread: whether items are read in a thread of their own; a pipe is not, since a read that
    waits for its writer could not be ended. An error of items comes when the results of all items
    before it were handed over. Closed, or after an error, no thread reads or computes.
    """
    failed: list[BaseException] = []

    def until_it_fails(source: Iterable[Item]) -> Iterator[Item]:
        try:
            yield from source
        except Exception as error:
            failed.append(error)

    ahead = Ahead(items, READ_AHEAD) if in_thread else None
    try:
        source = until_it_fails(ahead or items)
        results = cast("Generated[Result]", ae._engine.in_order(work, source, ae.threads + 1))
        with closing(results):
            yield from results
    finally:
        if ahead:
            ahead.close()
    if failed:
        raise failed[0]


class Ahead(Generic[Item]):
    """Items of an iterable, taken in a thread of its own, at most `most` before they are wanted."""

    def __init__(self, items: Iterable[Item], most: int) -> None:
        self._items, self._most = items, most
        self._ready: deque[Item] = deque()
        self._error: BaseException | None = None
        self._closed = self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._take, name="ae_runtime_reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread, after the item that it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _take(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed or len(self._ready) < self._most)
                    if self._closed:
                        return
        except BaseException as error:  # raised again where the items are wanted
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
