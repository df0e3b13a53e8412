"""One loaded bundle in 32 threads and 8 processes, while others load and discard it.

    many_at_once.py BUNDLE ROUNDS

Half of the processes are forked while the threads are at work, half are spawned and get the object
in a pickle. Prints one JSON object: how many results were right to the bit, and what else happened.
"""

from __future__ import annotations

# Before any thread: a process that forks while another of its threads imports this for the first
# time has its hooks for forks only half called, and Python says so on stderr ("release unlocked
# lock", 3.11.7; nothing is lost).
import concurrent.futures.thread  # noqa: F401
import json
import multiprocessing
import sys
import threading
import warnings
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ae_runtime

THREADS, LOADING, PROCESSES = 32, 3, 8
IN_A_PROCESS = 3  # threads
LENGTHS = (0, 1, 2, 7, 100, 256, 257, 700)
PATIENCE = 60.0  # seconds: a process that waits for a lock of its parent's threads never ends


class Work(NamedTuple):
    """Blocks of rows, the bits that each must become, and how often to try all of them."""

    blocks: list[tuple[Any, ...]]
    wanted: list[str]
    rounds: int


def blocks_of(bundle: Path) -> list[tuple[Any, ...]]:
    """Golden rows in blocks of several lengths, in another order in each."""
    inputs = json.loads((bundle / "manifest.json").read_bytes())["inputs"]
    golden = np.load(bundle / "golden.npz")
    random = np.random.default_rng(0)
    places = [random.integers(len(golden["z"]), size=n) for n in LENGTHS]
    return [tuple(golden[port["name"]][at] for port in inputs) for at in places]


def bits(ae: ae_runtime.Autoencoder, block: tuple[Any, ...]) -> str:
    """Of a block's latents and reconstructions."""
    z = ae.model.encode(*block)
    return sha256(b"".join(array.tobytes() for array in (z, *ae.model.decode(z)))).hexdigest()


def compute(ae: ae_runtime.Autoencoder, work: Work, first: int, found: Counter[str]) -> None:
    """All blocks once, begun with block `first`; an error is counted by what it says."""
    for at in range(first, first + len(work.blocks)):
        at %= len(work.blocks)
        try:
            right = bits(ae, work.blocks[at]) == work.wanted[at]
            found["right" if right else "wrong"] += 1
        except Exception as error:
            found[repr(error)] += 1


def in_threads(targets: list[Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def process(ae: ae_runtime.Autoencoder, work: Work, first: int) -> None:
    """What a process does; it ends with exit code 1 if anything was wrong."""
    found = [Counter[str]() for _ in range(IN_A_PROCESS)]

    def loop(at: int) -> None:
        for _ in range(work.rounds):
            compute(ae, work, first + at, found[at])

    for thread in in_threads([lambda at=at: loop(at) for at in range(IN_A_PROCESS)]):
        thread.join()
    total = sum(found, Counter())
    assert total == {"right": IN_A_PROCESS * work.rounds * len(work.blocks)}, total


def ended(started: list[Any]) -> list[int | None]:
    """Exit codes of processes; None for one that had to be killed."""
    codes = []
    for one in started:
        one.join(PATIENCE)
        codes.append(one.exitcode)
        one.kill()
    return codes


def main() -> None:
    bundle, rounds = Path(sys.argv[1]), int(sys.argv[2])
    blocks = blocks_of(bundle)
    alone = ae_runtime.load(bundle, threads=1)
    work = Work(blocks, [bits(alone, block) for block in blocks], rounds)
    ae = ae_runtime.load(bundle, threads=2, tile=50)
    found, discarded = [Counter[str]() for _ in range(THREADS)], Counter[str]()
    stop = threading.Event()

    def loop(at: int) -> None:
        done = 0
        while done < rounds or not stop.is_set():
            compute(ae, work, at, found[at])
            done += 1

    def load_and_discard() -> None:
        while not stop.is_set():
            compute(ae_runtime.load(bundle, threads=2, tile=30), work, 0, discarded)

    threads = in_threads([lambda at=at: loop(at) for at in range(THREADS)])
    threads += in_threads([load_and_discard] * LOADING)
    with warnings.catch_warnings():
        # From 3.12 on Python warns of any fork beside threads; that it goes well is the claim.
        warnings.filterwarnings("ignore", "This process", DeprecationWarning)
        started = []
        for at in range(PROCESSES):
            method = multiprocessing.get_context(("fork", "spawn")[at % 2])
            started.append(method.Process(target=process, args=(ae, work, at)))
            started[-1].start()
    codes = ended(started)
    stop.set()
    for thread in threads:
        thread.join()
    total = sum(found, Counter())
    print(json.dumps({"threads": total, "loaded": discarded, "exit_codes": codes}))


if __name__ == "__main__":
    main()
