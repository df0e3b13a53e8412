"""A model that stays open: idle without work, memory flat after many calls and many loads.

The plain run makes 60,000 calls and 60 loads, the soak a million and 300.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Python = Callable[..., str]
pytestmark = pytest.mark.alone
MOST_KB = 5 << 10

IDLE = """
import sys, time
import numpy as np, ae_runtime

ae = ae_runtime.load(sys.argv[1], threads=2, tile=50)
x = np.zeros((2000, 8, 8), np.uint8)
for _ in range(20):  # the pool and both sessions exist
    ae.reconstruct(x)
began = time.perf_counter(), time.process_time()
time.sleep(float(sys.argv[2]))
took = time.perf_counter() - began[0], time.process_time() - began[1]
ae.reconstruct(x)
print(took[1] / took[0])
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.soak)])
def test_an_idle_model_takes_no_time(python: Python, digits_bundle: Path, seconds: int) -> None:
    assert float(python(IDLE, digits_bundle, seconds)) < 0.01  # of a core


CALLS = """
import gc, sys
from pathlib import Path
import numpy as np, ae_runtime

def anonymous_kb():
    gc.collect()
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0])

ae = ae_runtime.load(sys.argv[1])
x = np.random.default_rng(0).integers(0, 17, (1000, 8, 8), np.uint8)
rows, wide, z = list(x[:, None]), list(x[:, None].astype(np.int64)), list(ae.encode(x)[:, None])

def calls(n):
    for at in range(n // 3):
        at %= 1000
        ae.encode(rows[at])
        ae.encode(wide[at])  # converted
        ae.decode(z[at])

calls(6000)
before = anonymous_kb()
calls(int(sys.argv[2]))
print(anonymous_kb() - before)
"""


@pytest.mark.parametrize("calls", [60_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_memory_is_flat_over_calls_of_one_row(
    python: Python, digits_bundle: Path, calls: int
) -> None:
    assert int(python(CALLS, digits_bundle, calls)) < MOST_KB


LOADS = """
import gc, json, os, sys, threading, time, zipfile
from pathlib import Path
import numpy as np, ae_runtime

folder, archive = Path(sys.argv[1]), Path(sys.argv[0]).with_name("bundle.zip")
with zipfile.ZipFile(archive, "w") as zipped:
    for file in folder.iterdir():
        zipped.write(file, file.name)
forms = folder, archive, archive.read_bytes()
x = np.random.default_rng(0).integers(0, 17, (300, 8, 8), np.uint8)

def held():
    gc.collect()
    for _ in range(200):  # idle workers end when they notice
        if threading.active_count() == 1:
            break
        time.sleep(0.01)
    tasks = []  # a thread that has ended for Python is a moment longer there for Linux
    for _ in range(30):
        tasks.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.01)
    return [
        int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]),
        len(os.listdir("/proc/self/fd")),
        min(tasks),
    ]

def loads(n):
    for at in range(n):
        ae = ae_runtime.load(forms[at % 3], threads=1 + at % 3, tile=64)
        ae.reconstruct(x)

loads(30)
before = held()
loads(int(sys.argv[2]))
after = held()
print(json.dumps([now - then for now, then in zip(after, before)]))
"""


@pytest.mark.parametrize("loads", [60, pytest.param(300, marks=pytest.mark.soak)])
def test_bundles_loaded_and_discarded_leave_nothing(
    python: Python, digits_bundle: Path, loads: int
) -> None:
    kilobytes, files, threads = json.loads(python(LOADS, digits_bundle, loads))
    assert kilobytes < MOST_KB
    assert (files, threads) == (0, 0)
