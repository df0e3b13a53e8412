"""Memory from file to file is bounded, whatever the file: the anonymous part, sampled."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LIMIT_MB = 300
# Arguments: bundle, verb, source, out. Prints the most anonymous memory of the process, in MB,
# that was seen every 5 ms: mapped files and the page cache are not the process's own.
DRIVER = """
import sys, threading, time
from ae_runtime import load
from ae_runtime.files.jobs import job
bundle, verb, source, out = sys.argv[1:]
most, stop = 0.0, threading.Event()
def watch():
    global most
    while not stop.wait(0.005):
        with open("/proc/self/status") as file:
            found = next(line for line in file if line.startswith("RssAnon"))
        most = max(most, int(found.split()[1]) / 1024)
watcher = threading.Thread(target=watch)
watcher.start()
getattr(load(bundle, threads=2), f"{verb}_file")(source, out)
stop.set()
watcher.join()
print(most)
"""
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is of Linux alone"),
]


def megabytes(bundle: Path, verb: str, source: Path, out: Path) -> float:
    words = [sys.executable, "-c", DRIVER, str(bundle), verb, str(source), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def images(path: Path, mb: int) -> Path:
    """A file of uint8 images, sparse on the disk."""
    np.lib.format.open_memmap(path, "w+", np.uint8, (mb * 15_625, 8, 8)).flush()
    return path


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_file_of_64_mb(digits_bundle: Path, tmp_path: Path, ending: str) -> None:
    """Of the 1000 MB, and the other types, that the soak takes."""
    source = images(tmp_path / "x.npy", 64)
    small = megabytes(digits_bundle, "encode", images(tmp_path / "s.npy", 8), tmp_path / "s.npz")
    most = megabytes(digits_bundle, "encode", source, tmp_path / f"z.{ending}")
    assert most < LIMIT_MB
    assert most < small + 60  # what is in flight, not what is in the file


@pytest.mark.soak
@pytest.mark.parametrize(
    ("verb", "ending"),  # images do not go into a table
    [
        *(("encode", "npy"), ("encode", "npz"), ("encode", "csv"), ("encode", "parquet")),
        *(("reconstruct", "npy"), ("reconstruct", "npz")),
    ],
)
def test_a_file_of_1000_mb(digits_bundle: Path, tmp_path: Path, verb: str, ending: str) -> None:
    if ending == "parquet" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("the runtime's own environment has no pyarrow")
    source = images(tmp_path / "x.npy", 1000)
    out = tmp_path / f"z.{ending}"
    assert megabytes(digits_bundle, verb, source, out) < LIMIT_MB
