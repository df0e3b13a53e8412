"""An array larger than memory is trained on within a stated part of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

STATUS = Path("/proc/self/status")
ROWS, COLUMNS, BLOCK = 1_500_000, 1000, 25_000  # 6 GB of float32
LIMIT_BYTES = 1_500_000_000


def private_bytes(process: int) -> int:
    """Memory that is the process's own: pages of mapped files are the system's to take back."""
    try:
        lines = (STATUS.parent.parent / str(process) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = (line.split() for line in lines if line.startswith(("RssAnon", "RssShmem")))
    return sum(int(size) * 1024 for _, size, _ in sizes)


@pytest.mark.soak
@pytest.mark.skipif(not STATUS.is_file(), reason="memory is counted in /proc")
def test_six_gigabytes_are_trained_on_in_one_and_a_half(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mixing = random.standard_normal((8, COLUMNS), dtype=np.float32)
    path = tmp_path / "rows.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, COLUMNS))
    for start in range(0, ROWS, BLOCK):
        x[start : start + BLOCK] = random.standard_normal((BLOCK, 8), dtype=np.float32) @ mixing
        x[start : start + BLOCK, 0] += start / ROWS  # blocks differ, as those of sorted data do
    x.flush()
    del x
    assert path.stat().st_size > 6e9
    code = "from ae_train.cli import main; main()"
    words = [path, "--out", tmp_path / "run", "--epochs=1", "--latent=4", "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)])
    most = 0
    while process.poll() is None:
        most = max(most, private_bytes(process.pid))
        time.sleep(0.05)
    print(f"{path.stat().st_size / 1e9:.1f} GB, at most {most / 1e6:.0f} MB of memory")
    assert process.returncode == 0
    assert 0 < most <= LIMIT_BYTES
