"""Encode and decode where there is little: no network, no disk to write to, few processors.

    poor_place.py BUNDLE [--one-cpu | --group FILE]

--one-cpu: affinity to a single processor. --group: a cgroup's list of processes, to be put on.
Prints one JSON object: what could be done here that should not, and what came of the rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

ASKED: list[str] = []  # for sockets, of Python


def block_sockets(event: str, _: Any) -> None:
    if event.startswith("socket."):
        ASKED.append(event)
        raise PermissionError(f"{event} in a test without sockets")


def has_network() -> bool:
    """Whether there is a way out of here."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("192.0.2.1", 9))  # reserved for documentation; sends nothing
    except OSError:
        return False
    return True


def writable(folders: list[Path]) -> list[str]:
    """The folders among these in which a file can get a byte."""
    found = []
    for folder in folders:
        place = folder / "written"
        with contextlib.suppress(OSError):
            place.write_bytes(b"1")
            found.append(str(folder))
        with contextlib.suppress(OSError):
            place.unlink()
    return found


def sockets_are_blocked() -> bool:
    try:
        socket.socket()
    except PermissionError:
        ASKED.clear()
        return True
    return False


def main() -> None:
    bundle, options = Path(sys.argv[1]), sys.argv[2:]
    if "--one-cpu" in options:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if "--group" in options:
        Path(options[1]).write_text(str(os.getpid()))
    places = [Path.cwd(), bundle, Path(__file__).parent, Path("/tmp"), Path("/dev/shm")]
    found = {"network": has_network(), "writable": writable(places)}
    sys.addaudithook(block_sockets)
    assert sockets_are_blocked()

    import numpy as np

    import ae_runtime
    from ae_runtime import cli  # what ae-run imports may ask for no more

    ae = ae_runtime.load(bundle)
    x = np.random.default_rng(0).integers(0, 17, (1000, *ae.input_shape), np.uint8)
    z = ae.encode(x)
    found["sha256"] = sha256(z.tobytes() + ae.decode(z).tobytes()).hexdigest()
    found |= {"threads": ae.threads, "asked": ASKED, "command": cli.ae_run.name}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
