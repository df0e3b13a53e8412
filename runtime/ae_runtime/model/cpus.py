"""How many processors this process may use: its affinity, and the quota of its cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator

CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"


def available_cpus() -> int:
    """Processors that this process may use: its affinity, or its cgroup's quota if that is less.

    onnxruntime and torch look at the host instead, and start too many threads in a container. Of
    a quota of 2.5 processors 2 are used: a thread more would wait for its turn most of the time.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cpus, int(cgroup_quota() or cpus)))


def cgroup_quota() -> float | None:
    """Processors that the cgroups of this process may use together, None without a limit."""
    quotas = [quota for folder in _folders() if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _folders() -> Iterator[str]:
    """Yield the folders of this process's cgroups, versions 1 and 2, and of those above them."""
    yield CGROUPS  # what a container sees of its own, whatever /proc says
    for line in _read(OWN_CGROUPS).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = f"{CGROUPS}/{controllers}" if controllers else CGROUPS  # version 1, version 2
        while path not in ("", "/"):
            yield root + path
            path = path.rpartition("/")[0]
        yield root


def _quota_of(folder: str) -> float | None:
    """The quota set in one cgroup, in processors; None where none is set, or can be read."""
    words = _read(f"{folder}/cpu.max").split()  # version 2: "max 100000", "150000 100000"
    if not words:
        words = [_read(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = (int(word) for word in words[:2])
        return quota / period if quota > 0 and period > 0 else None  # version 1: -1 is no limit
    except ValueError:
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
