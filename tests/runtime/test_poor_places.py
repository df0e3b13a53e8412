"""Where there is little: no network, no home, nothing to write to, and one processor.

As much of it as the machine lets a test take away is taken; what was is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime

WORKER = Path(__file__).parent / "workers" / "poor_place.py"
# In a mount namespace of its own each file system becomes read-only, with the options that a user
# may not take from it; in a network namespace of its own there is not even a way to itself.
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--net")
READ_ONLY = """
while read -r _ place _ options _; do
    kept=$(echo "$options" | tr , "\\n" | grep -E "^no(suid|dev|exec|atime)$" | tr "\\n" ,)
    mount -o "remount,bind,${kept}ro" "$place" 2>/dev/null || true
done < /proc/mounts
exec "$@"
"""
NO_BYTE = 'ulimit -f 0; exec "$@"'  # to any file; nothing else stops a user with every right
QUOTA_US, PERIOD_US = 100_000, 100_000  # one processor


def walls() -> tuple[list[str], bool]:
    """Words before a command that keep it from writing, and whether from the network, too."""
    shell = [*UNSHARE, "sh", "-c", READ_ONLY, "sh"]
    with contextlib.suppress(OSError):
        if subprocess.run([*shell, "true"], capture_output=True).returncode == 0:
            print("read-only file systems and no network, by namespaces")
            return shell, True
    print("no byte to any file, by ulimit; sockets blocked in Python alone")
    return ["sh", "-c", NO_BYTE, "sh"], False


def run(
    *words: object, before: list[str] | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """A command with nothing in its environment but what is said here."""
    command = [*(before or []), *map(str, words)]
    path = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")} if before else {}
    return subprocess.run(command, env=path | env, capture_output=True, text=True, timeout=100)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["asked"] == []
    return found


@pytest.fixture(scope="module")
def wanted(digits_bundle: Path) -> str:
    """The bits that all rows must become, wherever they are computed."""
    ae = ae_runtime.load(digits_bundle)
    x = np.random.default_rng(0).integers(0, 17, (1000, 8, 8), np.uint8)
    z = ae.encode(x)
    return sha256(z.tobytes() + ae.decode(z).tobytes()).hexdigest()


@pytest.mark.parametrize("env", [{}, {"HOME": "/no/home", "TMPDIR": "/no/tmp"}], ids=str)
def test_no_network_no_home_and_no_file_to_write(
    digits_bundle: Path, wanted: str, env: dict[str, str]
) -> None:
    before, no_network = walls()
    found = result(run(sys.executable, "-W", "error", WORKER, digits_bundle, before=before, **env))
    assert found["sha256"] == wanted
    assert found["writable"] == []
    assert not (no_network and found["network"])


def test_an_empty_environment(digits_bundle: Path, wanted: str) -> None:
    found = result(run(sys.executable, "-W", "error", WORKER, digits_bundle))
    assert found["sha256"] == wanted
    assert found["writable"]  # or the worker could not tell


def test_an_output_where_nothing_can_be_written(digits_bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 8, 8), np.uint8))
    command = (sys.executable, "-c", "from ae_runtime.cli import main; main()", "encode")
    files = (digits_bundle, tmp_path / "x.npy", "--out", tmp_path / "z.npy")
    done = run(*command, *files, before=walls()[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]


def make_group() -> Path | None:
    """A new cgroup with a quota of one processor, of version 2 or 1; None where not let."""
    version_1 = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(QUOTA_US)}
    for root, settings in (
        ("/sys/fs/cgroup", {"cpu.max": f"{QUOTA_US} {PERIOD_US}"}),
        ("/sys/fs/cgroup/cpu", version_1),
        ("/sys/fs/cgroup/cpu,cpuacct", version_1),
    ):
        group = Path(root) / f"test_poor_places_{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        with contextlib.suppress(OSError):
            if all((group / name).exists() for name in settings):  # a plain folder has none
                for name, value in settings.items():
                    (group / name).write_text(value)
                return group
        group.rmdir()
    return None


@pytest.fixture
def quota() -> Iterator[tuple[object, ...]]:
    """Words for the worker, that give it one processor."""
    group = make_group()
    print("quota by cgroup" if group else "no cgroup can be made: by affinity")
    yield ("--group", group / "cgroup.procs") if group else ("--one-cpu",)
    if group:
        group.rmdir()


def test_a_quota_of_one_processor(
    digits_bundle: Path, wanted: str, quota: tuple[object, ...]
) -> None:
    found = result(run(sys.executable, "-W", "error", WORKER, digits_bundle, *quota))
    assert found["threads"] == 1
    assert found["sha256"] == wanted


def test_affinity_to_one_processor(digits_bundle: Path, wanted: str) -> None:
    found = result(run(sys.executable, "-W", "error", WORKER, digits_bundle, "--one-cpu"))
    assert found["threads"] == 1
    assert found["sha256"] == wanted
