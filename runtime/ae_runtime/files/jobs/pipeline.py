"""Blocks read ahead, computed on the engine's threads, and handed over in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar, cast

from ae_runtime.files.readers.ahead import Ahead
from ae_runtime.model.model import Model

Item = TypeVar("Item")
Result = TypeVar("Result")
Generated = Generator[Result, None, None]  # an iterator that can be closed
READ_AHEAD = 2  # blocks


def in_order(
    model: Model, work: Callable[[Item], Result], items: Iterable[Item], in_thread: bool
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
        results = cast("Generated[Result]", model.in_order(work, source, model.plan.threads + 1))
        with closing(results):
            yield from results
    finally:
        if ahead:
            ahead.close()
    if failed:
        raise failed[0]
