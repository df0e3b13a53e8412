"""Rows over tiles and threads: all of them once, in place, and no work left behind."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime import Autoencoder
from ae_runtime.errors import BundleRefused
from ae_runtime.model import engine
from ae_runtime.model.engine import Feed


@pytest.fixture
def ae(table_bundle: Path) -> Iterator[Autoencoder]:
    with ae_runtime.load(table_bundle, tile=8, threads=3) as loaded:
        yield loaded


def table(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 6))


def test_an_error_in_one_tile_stops_all(ae: Autoencoder) -> None:
    taken: list[int] = []

    def convert(tile: np.ndarray) -> np.ndarray:
        taken.append(len(tile))
        if len(taken) == 5:
            raise ZeroDivisionError
        time.sleep(0.001)
        return tile

    out = np.empty((8000, 2), np.float32)
    with pytest.raises(ZeroDivisionError):
        ae.model.engine.run("encoder", [Feed("x", table(8000), convert)], {"z": out})
    count = len(taken)
    assert count <= 5 + 3  # what other threads had begun
    time.sleep(0.02)
    assert len(taken) == count  # and nothing goes on
    np.testing.assert_array_equal(ae.encode(table(100)), ae.encode(table(100)))


def test_alone_is_in_this_thread(ae: Autoencoder) -> None:
    threads = set()

    def convert(tile: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread())
        return tile

    out = np.empty((800, 2), np.float32)
    ae.model.engine.run("encoder", [Feed("x", table(800), convert)], {"z": out}, alone=True)
    assert threads == {threading.current_thread()}
    np.testing.assert_array_equal(out, ae.encode(table(800)))
    np.testing.assert_array_equal(out, ae.model.encode(table(800), alone=True))
    x_hat = ae.decode(out)
    np.testing.assert_array_equal(ae.model.decode(out, alone=True)[0], x_hat)


def test_work_within_the_pool_does_not_wait_for_itself(ae: Autoencoder) -> None:
    # Every thread of the pool is busy with a caller that would like to have the pool.
    blocks = [table(100, seed) for seed in range(20)]
    found = list(ae.model.engine.in_order(ae.encode, blocks, ahead=6))
    for block, z in zip(blocks, found, strict=True):
        np.testing.assert_array_equal(z, ae.encode(block))


def test_in_order_takes_no_more_than_it_may(ae: Autoencoder) -> None:
    given = 0

    def items() -> Iterator[int]:
        nonlocal given
        while given < 50:
            given += 1
            yield given

    done = []
    for result in ae.model.engine.in_order(lambda item: item * 10, items(), ahead=4):
        done.append(result)
        assert given - len(done) < 4
    assert done == [10 * item for item in range(1, 51)]


def test_in_order_that_is_given_up_leaves_nothing(ae: Autoencoder) -> None:
    begun, ended = [], []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.005)
        ended.append(item)
        return item

    results = ae.model.engine.in_order(work, iter(range(1000)), ahead=10)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(begun) == len(ended) <= 13
    time.sleep(0.02)
    assert len(begun) == len(ended)

    def fail(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError
        return item

    results = ae.model.engine.in_order(fail, iter(range(1000)), ahead=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_closed_model_gives_its_threads_back_and_opens_again(table_bundle: Path) -> None:
    before = threading.active_count()
    with ae_runtime.load(table_bundle, tile=8, threads=3) as ae:
        z = ae.encode(table(100))
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert ae.model.engine._sessions == {}
    np.testing.assert_array_equal(ae.encode(table(100)), z)
    ae.close()
    ae.close()
    assert threading.active_count() == before


def test_a_model_may_be_closed_while_work_is_handed_to_its_threads(
    table_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed by another thread between the look at the pool and its use, each time."""
    closing: list[threading.Thread] = []

    class ClosedMeanwhile(ThreadPoolExecutor):
        def submit(self, *work: Any, **more: Any) -> Any:
            closing.append(threading.Thread(target=ae.close))
            closing[-1].start()
            closing[-1].join(0.02)  # it may have to wait until this is done
            return super().submit(*work, **more)

    ae = ae_runtime.load(table_bundle, tile=8, threads=3)
    x = table(100)
    z = ae.encode(x)
    ae.close()
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", ClosedMeanwhile)
    for _ in range(2):
        np.testing.assert_array_equal(ae.encode(x), z)
        assert list(ae.model.engine.in_order(str, range(9), ahead=4)) == [*map(str, range(9))]
    for thread in closing:
        thread.join()
    assert ae.model.engine._pool is None


def test_a_model_is_closed_again_and_again_while_threads_use_it(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle, tile=8, threads=3)
    x = table(100)
    z, x_hat = ae.encode(x), ae.reconstruct(x)

    def work(_: int) -> bool:
        return all(
            np.array_equal(ae.encode(x), z)
            and np.array_equal(ae.reconstruct(x), x_hat, equal_nan=True)
            for _ in range(10)
        )

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, number) for number in range(4)]
        while not all(future.done() for future in working):
            ae.close()
        assert all(future.result() for future in working)


def test_encode_iter_is_lazy(ae: Autoencoder) -> None:
    asked = []

    def blocks() -> Iterator[np.ndarray]:
        for rows in (0, 1, 5, 1000):
            asked.append(rows)
            yield table(rows)

    found = ae.encode_iter(blocks())
    assert asked == []
    for at, rows in enumerate((0, 1, 5, 1000)):
        np.testing.assert_array_equal(next(found), ae.encode(table(rows)))
        assert len(asked) == at + 1
    with pytest.raises(StopIteration):
        next(found)


def test_one_row_is_checked_as_many_are(ae: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((1, 3), np.float32)
    monkeypatch.setattr(engine, "compute", lambda *_: [wide])
    for rows in (1, 20):
        with pytest.raises(BundleRefused, match=r"^a graph gives shape \(1, 3\) where"):
            ae.encode(table(rows))
