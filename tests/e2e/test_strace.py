"""What the runtime asks of the system: no socket, and no file written but the one asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
CALLS = "openat,open,creat,socket,connect,mkdir,rename,unlink,unlinkat,truncate"
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|^\d+ +(creat|mkdir|rename|unlink|truncate)")

pytestmark = pytest.mark.soak


def traced(*words: object) -> list[str]:
    """System calls of a command that opens, writes, or talks to anybody; it must succeed."""
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed; install it to run the soak")
    log = Path(str(words[-1])).parent / "strace.log"
    done = subprocess.run(
        ["strace", "-f", "-o", log, "-e", f"trace={CALLS}", *map(str, words[:-1])],
        # Without HOME, Python itself asks the name service for it, by a socket.
        env={"HOME": str(log.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert any("encoder.onnx" in call for call in calls)  # it traced the right process
    return calls


def test_a_first_row_opens_no_socket_and_writes_no_file(runtime_bin: Path, tmp_path: Path) -> None:
    script = (
        "import numpy as np, ae_runtime\n"
        f"ae = ae_runtime.load({str(ROOT / 'models' / 'digits')!r})\n"
        "ae.reconstruct(np.zeros((1000, 8, 8), np.uint8))\n"
    )
    calls = traced(runtime_bin / "python", "-c", script, tmp_path / "here")
    assert not [call for call in calls if "socket(" in call or "connect(" in call]
    assert not [call for call in calls if WRITES.search(call) and "/dev/null" not in call]


def test_ae_run_writes_only_its_output(runtime_bin: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 8, 8), np.uint8))
    out = tmp_path / "z.npy"
    bundle = ROOT / "models" / "digits"
    words = [runtime_bin / "ae-run", "encode", bundle, tmp_path / "x.npy", "--out", out]
    calls = traced(*words, tmp_path / "here")
    assert not [call for call in calls if "socket(" in call or "connect(" in call]
    writes = [call for call in calls if WRITES.search(call) and "/dev/null" not in call]
    assert writes
    assert all(str(out) in call for call in writes), writes
