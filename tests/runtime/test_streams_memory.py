"""Reading a file of any size adds little memory: a block or two, and what a decoder holds."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.alone
MB = 1 << 20
Python = Callable[..., str]
# Prints by how many MB the process grew, counted without mapped files, and how many rows it read.
SCRIPT = """
import sys
from ae_runtime.bundle.manifest import Golden, Latent, Manifest, Port, Series
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.opening import open_stream

source, width, size, window = sys.argv[1], *map(int, sys.argv[2:])

def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon"))

port = Port("x", "float64", [None, window, width] if window else [None, width])
kind = "series" if window else "table"
sizes = Latent(2), [port], [port], None, None, Golden(1, 1e-5)
manifest = Manifest("1.0", "id", kind, *sizes, {}, Series())
before = most = megabytes()
stream = open_stream(row_columns(manifest), source)
rows = 0
for block in stream.blocks(size):
    rows += len(block.arrays[0])
    most = max(most, megabytes())
stream.close()
print(most - before, rows)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is of Linux")


def growth(python: Python, path: Path, width: int, size: int, window: int = 0) -> tuple[int, int]:
    grown, rows = python(SCRIPT, path, width, size, window).split()
    return int(grown), int(rows)


def write_npy(path: Path, rows: int, width: int, order: str = "C") -> None:
    """Zeros that take hardly any room on the disk."""
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": order == "F", "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * width * 8)


@linux
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("megabytes", [100, pytest.param(4000, marks=pytest.mark.soak)])
def test_npy(python: Python, tmp_path: Path, order: str, megabytes: int) -> None:
    rows = megabytes * MB // 800
    write_npy(tmp_path / "x.npy", rows, 100, order)
    grown, found = growth(python, tmp_path / "x.npy", 100, MB // 800)
    assert found == rows
    assert grown <= (8 if order == "C" else 32)  # blocks of 1 MB


@linux
def test_windows(python: Python, tmp_path: Path) -> None:
    write_npy(tmp_path / "x.npy", 100 * MB // 24, 3)
    grown, windows = growth(python, tmp_path / "x.npy", 3, MB // 24 // 64, 64)
    assert windows == -(-(100 * MB // 24) // 64)
    assert grown <= 12


@linux
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
@pytest.mark.parametrize("megabytes", [20, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("cell", ["-0.12345", '"1.25"'], ids=["plain", "quoted"])
def test_csv(python: Python, tmp_path: Path, name: str, megabytes: int, cell: str) -> None:
    line = (",".join([cell] * 20) + "\n").encode()
    lines = MB // len(line)
    with (gzip.open if name.endswith(".gz") else open)(tmp_path / name, "wb") as file:
        for _ in range(megabytes):
            file.write(line * lines)
    grown, rows = growth(python, tmp_path / name, 20, 4096)
    assert rows == megabytes * lines
    assert grown <= 48


@linux
@pytest.mark.parametrize("lines", ["", "a,b\n", "1,2\n3,4\n"])
def test_a_row_without_an_end_is_given_up(python: Python, tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(lines.encode() + b"1," * (20 * MB))
    head, _, _ = SCRIPT.partition("stream = open_stream")
    script = head + (
        "try:\n"
        "    list(open_stream(row_columns(manifest), source).blocks(size))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "print(megabytes() - before)\n"
    )
    line, grown = python(script, path, 2, 100, 0).splitlines()
    assert line == (
        f"{path}: a row is longer than 16 MB; look for line ends that are missing, or bring the "
        "rows as .npy or .parquet"
    )
    assert int(grown) <= 100
