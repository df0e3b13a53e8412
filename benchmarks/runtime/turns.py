"""Contenders in processes of their own, asked in turn, so that all see the same machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from models import PEERS

SCRIPT = Path(__file__).parent / "contenders.py"
IN_PEERS = "OpenVINO", "LiteRT"
# Some machines name the kernels of numpy's BLAS; numpy is timed with those it would choose.
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Done:
    """What a pass took: seconds, seconds of all its threads, and, of a process, peak RssAnon."""

    seconds: float
    cpu_s: float = 0.0
    peak_mb: float = 0.0


class NotInstalled(Exception):
    """A contender that cannot be started here, and why."""


class Contender:
    """A process that holds the rows in memory and encodes all of them when asked.

    versions: of its packages. z: the latents of its first rows. It idles between its turns.
    """

    def __init__(self, name: str, model: str, cpus: Sequence[int] | None = None) -> None:
        python = PEERS if name in IN_PEERS else Path(sys.executable)
        if not python.exists():
            raise NotInstalled(f"{python.parent.parent} does not exist")
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [python, SCRIPT, name, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in PINS},
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
        )
        try:
            ready = self._read()
        except BaseException:
            self.close()
            raise
        self.versions: dict[str, str] = ready["versions"]
        self.z = np.array(ready["z"])
        self.rows_mb = float(ready["rows_mb"])

    def encode(self, settings: Mapping[str, int] | None = None) -> Done:
        """What one pass over all rows takes, with these settings of the contender."""
        assert self.process.stdin
        print(json.dumps(settings or {}), file=self.process.stdin, flush=True)
        return Done(**self._read())

    @property
    def memory_mb(self) -> float:
        """RssAnon now, without the rows: what the packages, the model and its buffers hold."""
        return anonymous_mb(self.process.pid) - self.rows_mb

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file:
                file.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["no word of why"]
            raise NotInstalled(said[-1][:300])
        return json.loads(line)


def in_turn(
    contenders: Sequence[Contender], settings: Mapping[str, Mapping[str, int]], rounds: int
) -> dict[str, list[Done]]:
    """Passes of each contender, by name, round by round; none is asked first every time."""
    found: dict[str, list[Done]] = {each.name: [] for each in contenders}
    for turn in range(rounds):
        at = turn % len(contenders)
        for each in (*contenders[at:], *contenders[:at]):
            found[each.name].append(each.encode(settings.get(each.name)))
    return found


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def seconds_of(passes: Sequence[Done]) -> list[float]:
    return [each.seconds for each in passes]


def anonymous_mb(pid: int) -> float:
    """RssAnon of a process now: memory of its own, without pages of files; 0 once it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(at.split()[1]) / 1024 for at in lines if at.startswith("RssAnon")), 0.0)
