"""No more threads than this process may run: its affinity, and the quotas of cgroups above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ae_runtime.model import cpus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an affinity of 6 processors and an empty folder of cgroups."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)  # the host, which is not asked
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(cpus, "CGROUPS", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cpus, "OWN_CGROUPS", str(tmp_path / "own"))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpu_max", "found"),
    [
        ("max 100000\n", 6),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 6),
        ("", 6),
        ("nonsense 100000\n", 6),
        ("100000 0\n", 6),
        ("\xff\xfe", 6),
        (None, 6),
    ],
)
def test_the_quota_of_a_container(machine: Path, cpu_max: str | None, found: int) -> None:
    if cpu_max is not None:
        write(machine / "cgroup" / "cpu.max", cpu_max)
    assert cpus.available_cpus() == found


def test_the_least_quota_above_a_process_counts(machine: Path) -> None:
    write(machine / "own", "0::/user.slice/job/task\n")
    write(machine / "cgroup/user.slice/job/task/cpu.max", "max 100000\n")
    assert cpus.available_cpus() == 6
    write(machine / "cgroup/user.slice/cpu.max", "500000 100000\n")
    assert cpus.available_cpus() == 5
    write(machine / "cgroup/user.slice/job/cpu.max", "150000 50000\n")
    assert cpus.available_cpus() == 3
    assert cpus.cgroup_quota() == 3.0


def test_version_1(machine: Path) -> None:
    write(machine / "own", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    folder = machine / "cgroup/cpu,cpuacct/docker/abc"
    write(folder / "cpu.cfs_quota_us", "-1\n")
    write(folder / "cpu.cfs_period_us", "100000\n")
    assert cpus.available_cpus() == 6
    write(folder / "cpu.cfs_quota_us", "250000\n")
    assert cpus.available_cpus() == 2
    write(machine / "cgroup/memory/x/cpu.cfs_quota_us", "100000\n")  # of another controller
    assert cpus.available_cpus() == 2


@pytest.mark.parametrize("own", ["", "nonsense", "1:cpu", ":::", "0::\n\n"])
def test_a_list_of_cgroups_that_says_nothing(machine: Path, own: str) -> None:
    write(machine / "own", own)
    assert cpus.available_cpus() == 6


def test_processors_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS and Windows
    monkeypatch.setattr(cpus, "cgroup_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert cpus.available_cpus() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.available_cpus() == 1
