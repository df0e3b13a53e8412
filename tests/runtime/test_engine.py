"""Rows over tiles and threads: all of them once, in place, and no work left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_runtime import Autoencoder, engine
from ae_runtime.engine import Feed
from ae_runtime.errors import BundleRefused


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
        ae._engine.run("encoder", [Feed("x", table(8000), convert)], {"z": out})
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
    ae._engine.run("encoder", [Feed("x", table(800), convert)], {"z": out}, alone=True)
    assert threads == {threading.current_thread()}
    np.testing.assert_array_equal(out, ae.encode(table(800)))
    np.testing.assert_array_equal(out, ae.encode_arrays(table(800), alone=True))
    x_hat = ae.decode(out)
    np.testing.assert_array_equal(ae.decode_arrays(out, alone=True)[0], x_hat)


def test_work_within_the_pool_does_not_wait_for_itself(ae: Autoencoder) -> None:
    # Every thread of the pool is busy with a caller that would like to have the pool.
    blocks = [table(100, seed) for seed in range(20)]
    found = list(ae._engine.in_order(ae.encode, blocks, ahead=6))
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
    for result in ae._engine.in_order(lambda item: item * 10, items(), ahead=4):
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

    results = ae._engine.in_order(work, iter(range(1000)), ahead=10)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(begun) == len(ended) <= 13
    time.sleep(0.02)
    assert len(begun) == len(ended)

    def fail(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError
        return item

    results = ae._engine.in_order(fail, iter(range(1000)), ahead=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_closed_model_gives_its_threads_back_and_opens_again(table_bundle: Path) -> None:
    before = threading.active_count()
    with ae_runtime.load(table_bundle, tile=8, threads=3) as ae:
        z = ae.encode(table(100))
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert ae._engine._sessions == {}
    np.testing.assert_array_equal(ae.encode(table(100)), z)
    ae.close()
    ae.close()
    assert threading.active_count() == before


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
