"""Reading ahead, computing and writing go on together, in order, in bounded memory; and all end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import Autoencoder, load
from ae_runtime.files.jobs.steps import READ_AHEAD, in_order
from ae_runtime.files.readers.blocks import Ahead
from ae_runtime.model.model import Model


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle, threads=2)


@pytest.fixture(autouse=True)
def no_thread_is_left(ae: Autoencoder) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ae.close()  # the pool is the engine's, and stays for the next call
    assert set(threading.enumerate()) <= before


class Failure(Exception):
    """Not one of ours."""


@pytest.mark.parametrize("in_thread", [True, False])
def test_results_come_in_order_whatever_takes_longest(ae: Autoencoder, in_thread: bool) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    with closing(in_order(ae.model, work, range(40), in_thread)) as found:
        assert list(found) == [item * item for item in range(40)]


@pytest.mark.parametrize("in_thread", [True, False])
def test_no_more_is_read_than_is_wanted_soon(ae: Autoencoder, in_thread: bool) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    with closing(in_order(ae.model, lambda item: item, items(), in_thread)) as found:
        for number, item in enumerate(found):
            assert item == number
            # At work or waiting: threads + 1. Read before: READ_AHEAD, and one at hand.
            assert len(read) <= number + 1 + ae.threads + 1 + (READ_AHEAD + 1) * in_thread
            if number == 10:
                time.sleep(0.05)  # a writer that is slow does not make the reader go on
    assert len(read) == 100


@pytest.mark.parametrize("in_thread", [True, False])
def test_an_error_of_the_reader_comes_after_all_that_was_read(
    ae: Autoencoder, in_thread: bool
) -> None:
    def items() -> Iterator[int]:
        yield from range(7)
        raise Failure("reader")

    found: list[int] = []
    with (
        pytest.raises(Failure, match="reader"),
        closing(in_order(ae.model, lambda item: item, items(), in_thread)) as results,
    ):
        found.extend(results)
    assert found == list(range(7))


@pytest.mark.parametrize("in_thread", [True, False])
def test_an_error_of_the_work_comes_in_its_turn(ae: Autoencoder, in_thread: bool) -> None:
    def work(item: int) -> int:
        if item == 5:
            raise Failure("work")
        return item

    found: list[int] = []
    with (
        pytest.raises(Failure, match="work"),
        closing(in_order(ae.model, work, range(10**9), in_thread)) as results,
    ):
        found.extend(results)
    assert found == list(range(5))


def test_reading_computing_and_writing_happen_at_the_same_time(ae: Autoencoder) -> None:
    """Each of them waits for both of the others to be at work, with a later item or an earlier."""
    reading, computing, writing = (threading.Event() for _ in range(3))

    def items() -> Iterator[int]:
        for item in range(8):
            if item == 4:
                reading.set()
                assert computing.wait(10)
                assert writing.wait(10)
            yield item

    def work(item: int) -> int:
        if item == 2:
            computing.set()
            assert reading.wait(10)
            assert writing.wait(10)
        return item

    with closing(in_order(ae.model, work, items(), in_thread=True)) as found:
        for item in found:
            if item == 0:
                writing.set()
                assert reading.wait(10)
                assert computing.wait(10)


def test_a_reader_that_is_not_wanted_any_more_ends(ae: Autoencoder) -> None:
    ahead = Ahead(iter(range(100)), 2)
    assert next(iter(ahead)) == 0
    ahead.close()
    ahead.close()  # twice is no harm


@pytest.mark.parametrize("error", [KeyboardInterrupt, Failure])
def test_no_thread_is_left_after_an_error_or_an_interrupt(
    ae: Autoencoder, error: type[BaseException], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.ones((500, 6)))

    def fail(done: int, rows: int | None) -> None:
        raise error

    with (
        Autoencoder(Model(ae.bundle, threads=2, block_rows=10)) as other,
        pytest.raises(error),
    ):
        other.encode_file(tmp_path / "x.npy", tmp_path / "z.npy", progress=fail)
