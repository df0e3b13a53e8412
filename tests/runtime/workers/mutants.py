"""Load mutated bundles and run those that load; what each came to goes to a log.

    mutants.py LOG FIRST COUNT BUNDLE...

The log has one line of JSON for a mutant that begins and one for what came of it, so that whoever
started this knows at which one it ended. Ends by itself at a mutant that takes too long.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mutations import Files, mutant

import ae_runtime
from ae_runtime.errors import AeError
from ae_runtime.model.scoring import score_arrays

SECONDS = 20.0  # for one mutant, most of which take a hundredth of one
ADDRESSES = 4 << 30  # bytes: memory that is asked for and not touched is seen to, too
ROWS = (1, 300)


def peak_mb() -> int:
    """The most memory that this process had since it last forgot, as VmHWM."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def forget_peak() -> None:
    with contextlib.suppress(OSError):  # then the peak is that of all mutants so far
        Path("/proc/self/clear_refs").write_text("5")


def rows_for(ae: ae_runtime.Autoencoder, n: int) -> list[np.ndarray]:
    """Rows of zeros for the inputs that the manifest names, of no memory of their own."""
    return [
        np.broadcast_to(np.zeros((), port.dtype), (n, *port.row_shape))
        for port in ae.manifest.inputs
    ]


def use(place: Path | bytes) -> str:
    """Load, and use some rows and one in all ways: how far it came, or the error on the way."""
    step = "load"
    try:
        ae = ae_runtime.load(place, threads=2)
        for n in ROWS:
            step = "encode"
            z = ae.model.encode(*rows_for(ae, n))
            step = "decode"
            ae.model.decode(z)
            step = "score"
            if ae.manifest.scores:
                score_arrays(ae.model, *rows_for(ae, n))
            step = "sample"
            if ae.manifest.sampler:
                ae.sample(n, seed=0)
        return "whole"
    except AeError as error:
        text = str(error)
        if not text or not text.isprintable() or len(text) > 2000:  # one line, for any terminal
            return f"message {text!r}"
        return step
    except BaseException as error:
        return f"{step} raised {error!r}"


class Log:
    """Lines of JSON that are in the file when whoever wrote them is gone."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, **words: Any) -> None:
        os.write(self._file, json.dumps(words).encode() + b"\n")


def put(changed: Files | bytes, where: Path) -> Path:
    """The mutant on disk."""
    if isinstance(changed, bytes):
        where.write_bytes(changed)
        return where
    where.mkdir()
    for name, raw in changed.items():
        (where / name).write_bytes(raw)
    return where


def remove(where: Path) -> None:
    if where.is_dir():
        shutil.rmtree(where)
    else:
        where.unlink(missing_ok=True)


def main() -> None:
    log, first, count = Log(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    bundles = [
        {file.name: file.read_bytes() for file in Path(word).iterdir() if file.suffix != ".md"}
        for word in sys.argv[4:]
    ]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    where = Path(sys.argv[1]).with_suffix("")
    for seed in range(first, first + count):
        random = np.random.default_rng(seed)
        changed, done = mutant(random, bundles[seed % len(bundles)])
        log.say(seed=seed, done=done)
        remove(where)  # the one before, or that of a process that ended at it
        # Every other archive is loaded from its bytes.
        in_memory = isinstance(changed, bytes) and seed % 2
        place = changed if in_memory else put(changed, where)
        forget_peak()
        # A thread of C, which no work of others can keep from ending the process.
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        came = use(place)
        faulthandler.cancel_dump_traceback_later()
        log.say(seed=seed, came=came, peak_mb=peak_mb())
    remove(where)


if __name__ == "__main__":
    main()
