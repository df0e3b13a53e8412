"""Lines of the report: the machine that was measured on, and targets, met or missed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path


def machine() -> str:
    """The processor's name, how many of them may be used, the memory, the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpus = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cpus} processors, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def load() -> str:
    """How busy the machine was of late: figures taken beside other work are worth less."""
    return "load of 1, 5, 15 minutes: " + ", ".join(f"{each:.1f}" for each in os.getloadavg())


def target(what: str, found: float, limit: float, *, most: bool = False, unit: str = "") -> None:
    """Print a line with the figure, its target, and whether it is met; most: it is an upper one."""
    met = found <= limit if most else found >= limit
    asked = f"at {'most' if most else 'least'} {limit:g}{unit}"
    print(f"  {'met   ' if met else 'MISSED'}  {what}: {found:.3g}{unit} ({asked})", flush=True)


def columns(cells: Iterable[object], first: int = 26, width: int = 13) -> None:
    """Print one row of a table."""
    label, *rest = map(str, cells)
    print(f"  {label:<{first}}" + "".join(f"{cell:>{width}}" for cell in rest), flush=True)


if __name__ == "__main__":
    print(machine())
