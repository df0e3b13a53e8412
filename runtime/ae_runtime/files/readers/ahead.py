"""Items of an iterable, taken in a thread of its own before they are wanted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


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
