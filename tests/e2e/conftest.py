"""The environment that holds the built wheel with [cpu] and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def runtime_bin() -> Path:
    """The bin folder of that environment, up to date with the sources."""
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", "build/runtime/.ready"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "runtime" / "bin"
