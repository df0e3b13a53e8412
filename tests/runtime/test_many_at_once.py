"""32 threads and 8 processes, forked and spawned, on one loaded bundle: right to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Python = Callable[..., str]
WORKER = Path(__file__).parent / "workers" / "many_at_once.py"


def check(bundle: Path, rounds: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", WORKER, bundle, str(rounds)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["exit_codes"] == [0] * 8
    assert set(found["threads"]) == set(found["loaded"]) == {"right"}
    assert found["threads"]["right"] >= 32 * 8 * rounds  # 8 blocks of rows
    assert found["loaded"]["right"] > 0


def test_threads_and_processes(digits_bundle: Path) -> None:
    check(digits_bundle, 3)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["table", "float32", "image", "mixed", "gru", "int8", "digits"])
def test_many_rounds(table_bundle: Path, digits_bundle: Path, name: str) -> None:
    check(digits_bundle if name == "digits" else table_bundle.parent / name, 60)


FORKS = """
import os, signal, sys, threading, warnings
import numpy as np, ae_runtime

warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # 3.12 on, of any such fork
bundle, count = sys.argv[1], int(sys.argv[2])
ae = ae_runtime.load(bundle, threads=2, tile=50)
x = np.random.default_rng(0).integers(0, 17, (60, 8, 8), np.uint8)
expected = ae.reconstruct(x)
stop = threading.Event()

def load_and_discard():
    while not stop.is_set():
        ae_runtime.load(bundle, threads=1).encode(x[:1])

threads = [threading.Thread(target=load_and_discard) for _ in range(4)]
for thread in threads:
    thread.start()
codes = []
for _ in range(count):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that waits for a lock of its parent waits for ever
        code = 1
        try:
            code = 0 if np.array_equal(ae.reconstruct(x), expected) else 2
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if codes.count(-signal.SIGALRM) > 1:
        break
stop.set()
print(sorted(set(codes)), len(codes))
"""


@pytest.mark.parametrize("forks", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_forked_while_sessions_are_opened(python: Python, digits_bundle: Path, forks: int) -> None:
    assert python(FORKS, digits_bundle, forks) == f"[0] {forks}\n"
