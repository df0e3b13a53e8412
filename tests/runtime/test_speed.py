"""Ratios of speed within one run, with room for a busy machine: what falls far behind is a mistake.

The figures themselves are measured by `make bench-runtime`. In turn, and the best of several tries
of each: what disturbs a try makes it slower, never faster. Where a ratio is not reached, more tries
follow: only what is slow in each of them fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_runtime.model.devices import open_session

pytestmark = pytest.mark.alone
ROWS = 100_000


def digits(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (rows, 8, 8), np.uint8)


def best_seconds(
    *works: Callable[[], object], tries: int, enough: Callable[..., bool] = lambda *best: True
) -> list[float]:
    """Fewest seconds of each; where these are not `enough`, of up to ten times as many tries."""
    best = [float("inf")] * len(works)
    for done in range(1, 10 * tries + 1):
        for at, work in enumerate(works):
            started = time.perf_counter()
            work()
            best[at] = min(best[at], time.perf_counter() - started)
        if done >= tries and enough(*best):
            break
    return best


def by_hand(graph: bytes, threads: int, tile: int) -> Callable[[np.ndarray], np.ndarray]:
    """The loop that one would write over bare onnxruntime."""
    session, pool = open_session(graph), ThreadPoolExecutor(threads)
    z = np.empty((ROWS, 8), np.float32)

    def encode(x: np.ndarray) -> np.ndarray:
        def work(at: int) -> None:
            z[at : at + tile] = session.run(["z"], {"x": x[at : at + tile]})[0]

        list(pool.map(work, range(0, len(x), tile)))
        return z

    return encode


@pytest.mark.parametrize("tries", [5, pytest.param(25, marks=pytest.mark.soak)])
def test_many_rows_beside_a_loop_by_hand(digits_bundle: Path, tries: int) -> None:
    ae, x = ae_runtime.load(digits_bundle), digits(ROWS)
    loop = by_hand(ae.bundle.files["encoder.onnx"], ae.threads, 256)
    np.testing.assert_array_equal(ae.encode(x), loop(x))
    least = 0.9 if tries > 10 else 0.7
    ours, hand = best_seconds(
        lambda: ae.encode(x),
        lambda: loop(x),
        tries=tries,
        enough=lambda ours, hand: hand / ours > least,
    )
    assert hand / ours > least


@pytest.mark.parametrize("tries", [7, pytest.param(50, marks=pytest.mark.soak)])
def test_one_row_beside_a_bare_run(digits_bundle: Path, tries: int) -> None:
    ae, x1 = ae_runtime.load(digits_bundle), digits(1)
    session, wide = open_session(ae.bundle.files["encoder.onnx"]), x1.astype(np.int64)

    def often(work: Callable[[], object]) -> Callable[[], None]:
        def repeat() -> None:
            for _ in range(500):
                work()

        return repeat

    most = (1.25, 1.8) if tries > 10 else (1.6, 2.5)
    seconds = best_seconds(
        often(lambda: session.run(["z"], {"x": x1})),
        often(lambda: ae.encode(x1)),
        often(lambda: ae.encode(wide)),
        tries=tries,
        enough=lambda bare, *others: all(np.array(others) / bare < most),
    )
    assert (np.array(seconds[1:]) / seconds[0] < most).all()


@pytest.mark.parametrize("tries", [3, pytest.param(15, marks=pytest.mark.soak)])
def test_a_file_beside_memory(digits_bundle: Path, tmp_path: Path, tries: int) -> None:
    ae, x = ae_runtime.load(digits_bundle), digits(4 * ROWS)
    np.save(tmp_path / "x.npy", x)

    def file() -> None:
        ae.encode_file(tmp_path / "x.npy", tmp_path / "z.npy", overwrite=True)

    least = 0.6 if tries > 10 else 0.35
    memory, through = best_seconds(
        lambda: ae.encode(x),
        file,
        tries=tries,
        enough=lambda memory, through: memory / through > least,
    )
    assert memory / through > least


@contextmanager
def busy_processor() -> Iterator[None]:
    script = "import os; os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        try:
            time.sleep(0.3)
            yield
        finally:
            process.kill()


@pytest.mark.soak
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="two processors are needed to keep one of them busy",
)
def test_beside_a_busy_processor(digits_bundle: Path) -> None:
    ae, x = ae_runtime.load(digits_bundle, threads=2), digits(5 * ROWS)
    (quiet,) = best_seconds(lambda: ae.encode(x), tries=9)
    with busy_processor():
        (busy,) = best_seconds(lambda: ae.encode(x), tries=9)
    assert quiet / busy > 0.45
