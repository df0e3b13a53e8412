"""One loaded bundle in many threads, in a pickle, after a fork and in a spawned process."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import ae_runtime

Python = Callable[..., str]


def digits(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 17, (n, 8, 8), np.uint8)


def test_many_threads_share_one_object(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle, threads=2, tile=50)
    # More than a tile, so that callers also meet in the pool; each its own rows.
    batches = [digits(1 + 40 * i, seed=i) for i in range(12)]
    alone = ae_runtime.load(digits_bundle, threads=1)
    expected = [(alone.encode(x), alone.reconstruct(x)) for x in batches]
    ready = threading.Barrier(len(batches))

    def work(at: int) -> bool:
        ready.wait()  # all at once: sessions and the pool are made by whoever comes first
        z, x_hat = expected[at]
        return all(
            np.array_equal(ae.encode(batches[at]), z)
            and np.array_equal(ae.reconstruct(batches[at]), x_hat)
            for _ in range(5)
        )

    with ThreadPoolExecutor(len(batches)) as pool:
        assert all(pool.map(work, range(len(batches))))


def test_threads_open_one_session(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle)
    ready = threading.Barrier(8)

    def session(_: int) -> object:
        ready.wait()
        return ae.model.engine.session("encoder")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(session, range(8))))) == 1


def test_pickles_and_copies(digits_bundle: Path, tmp_path: Path) -> None:
    ae = ae_runtime.load(digits_bundle, threads=3, tile=100)
    x = digits(700)
    x_hat = ae.reconstruct(x)  # sessions and the pool exist, and stay behind
    raw = pickle.dumps(ae)
    files = sum(file.stat().st_size for file in digits_bundle.iterdir())
    assert len(raw) < 1.1 * files
    for again in (pickle.loads(raw), copy.deepcopy(ae), copy.copy(ae)):
        np.testing.assert_array_equal(again.reconstruct(x), x_hat)
        assert again.manifest == ae.manifest
        assert (again.threads, again.tile) == (3, 100)
        assert repr(again) == repr(ae)


def test_the_folder_may_vanish(table_bundle: Path, rewrite: Callable[..., Path]) -> None:
    folder = rewrite(table_bundle)
    ae = ae_runtime.load(folder)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    x = np.random.default_rng(0).standard_normal((5, 6))
    expected = ae_runtime.load(table_bundle).reconstruct(x)
    np.testing.assert_array_equal(ae.reconstruct(x), expected)


def test_a_discarded_object_leaves_no_threads(digits_bundle: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        ae_runtime.load(digits_bundle, threads=4, tile=10).encode(digits(100))
    gc.collect()
    deadline = threading.Event()
    for _ in range(100):  # idle workers end when they notice
        if threading.active_count() <= before:
            break
        deadline.wait(0.05)
    assert threading.active_count() <= before


FORK = """
import os, signal, sys, threading
import numpy as np, ae_runtime

ae = ae_runtime.load(sys.argv[1], threads=2, tile=20)
x = np.random.default_rng(0).integers(0, 17, (500, 8, 8), np.uint8)
expected = ae.reconstruct(x)  # the pool exists, its threads do not survive a fork
ae.model.engine._lock.acquire()    # as if another thread were opening a session at that moment

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a child that waits for a lock of its parent waits for ever
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def same():
    return np.array_equal(ae.reconstruct(x), expected)

def grandchild():
    return same() and in_child(same) == 0 and same()

print("child", in_child(same), "grandchild", in_child(grandchild))
ae.model.engine._lock.release()
print("parent", same(), threading.active_count() > 1)
"""


def test_fork(python: Python, digits_bundle: Path) -> None:
    script = "import warnings; warnings.simplefilter('ignore')  # 3.12 on, of fork itself\n" + FORK
    assert python(script, digits_bundle) == "child 0 grandchild 0\nparent True True\n"


SPAWN = """
import multiprocessing, sys
import numpy as np, ae_runtime

if __name__ == "__main__":
    ae = ae_runtime.load(sys.argv[1], threads=2, tile=20)
    x = np.random.default_rng(0).integers(0, 17, (500, 8, 8), np.uint8)
    expected = ae.reconstruct(x)
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, np.array_equal(pool.apply(ae.reconstruct, (x,)), expected))
"""


def test_spawned_processes(python: Python, digits_bundle: Path) -> None:
    assert python(SPAWN, digits_bundle) == "spawn True\nforkserver True\n"
