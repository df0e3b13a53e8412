"""Beside other work: rows/s with one of two cores busy, the cost of an idle model, memory of calls.

python benchmarks/runtime/neighbour.py [--rounds N]
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import click
import models
from report import columns, load, target
from turns import Contender, median_ratio

NAMES = "ours", "hand-tuned", "one session.run"  # the last with a thread pool inside of a call
BUSY, IDLE_SHARE, GROWTH_MB = 0.45, 0.01, 5.0
IDLE_S, CALLS = 10, 1_000_000
DIGITS = models.HERE.parent.parent / "models" / "digits"
BOTH = f"""
import json, sys, time
import numpy as np
import ae_runtime

def anonymous_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

ae = ae_runtime.load(sys.argv[1])
x = np.zeros((1, *ae.input_shape), ae.manifest.inputs[0].dtype)
ae.encode(np.repeat(x, 10_000, 0))  # threads are there, if there are any
busy = time.process_time()
time.sleep({IDLE_S})
idle = (time.process_time() - busy) / {IDLE_S}
for _ in range(1_000):
    ae.encode(x)
before, started = anonymous_mb(), time.perf_counter()
for _ in range({CALLS}):
    ae.encode(x)
seconds = time.perf_counter() - started
print(json.dumps({{"idle": idle, "growth": anonymous_mb() - before, "seconds": seconds}}))
"""


@contextlib.contextmanager
def busy_process(cpu: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes on one processor without end, stopped at first."""
    process = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"],
        preexec_fn=lambda: os.sched_setaffinity(0, [cpu]),
    )
    try:
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


def beside_busy(model: str, cpus: Sequence[int], rounds: int) -> None:
    """Each contender with its two processors for itself, and with one of them busy, in turn."""
    print(f"\n4. Another process busy on one of two processors: {models.TITLES[model]}")
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in NAMES}
    with contextlib.ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, model, cpus)) for name in NAMES]
        busy = stack.enter_context(busy_process(cpus[1]))
        for each in contenders * rounds:
            for at, word in enumerate((signal.SIGSTOP, signal.SIGCONT)):
                busy.send_signal(word)
                time.sleep(0.05)
                seconds[each.name][at].append(each.encode().seconds)
            busy.send_signal(signal.SIGSTOP)
    print(f"  rows/s, median of {rounds} passes in turn; {load()}")
    columns(("", "quiet", "busy", "share kept"))
    for name, (quiet, loud) in seconds.items():
        rates = (f"{models.ROWS / statistics.median(each):,.0f}" for each in (quiet, loud))
        columns((name, *rates, f"{median_ratio(quiet, loud):.2f}"))
    target(f"{model}, share of the quiet figure", median_ratio(*seconds["ours"]), BUSY)


def at_rest(name: str, bundle: object) -> None:
    """An open model that nobody calls, then a million calls of one row."""
    done = subprocess.run(
        [sys.executable, "-c", BOTH, str(bundle)], check=True, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(done.stdout)
    print(f"  {name}: {CALLS:,} calls of one row, {found['seconds'] / CALLS * 1e6:.1f} us each")
    target(f"{name}, share of a processor, idle", found["idle"], IDLE_SHARE, most=True)
    target(f"{name}, growth of RssAnon", found["growth"], GROWTH_MB, most=True, unit=" MiB")


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Passes of each contender, in turn.")
def main(rounds: int) -> None:
    """Both models beside a busy process; then models/digits and the dense one at rest."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise click.ClickException("two processors are needed")
    for model in models.TITLES:
        beside_busy(model, cpus, rounds)
    print("\n4. At rest, and called for one row again and again")
    for name, bundle in (("digits", DIGITS), ("dense", models.FOLDER / "dense")):
        at_rest(name, bundle)


if __name__ == "__main__":
    main()
