"""Megabytes a second of archives, in and out, on one processor, beside SZ3, pcodec and zlib.

python benchmarks/compress/speed.py DATA

Eight random walks of a million float32 each, and bounds of 1 %, .1 % and .01 % of their ranges.
All run on one processor, one after another, and so again: the faster time counts. Then archives
alone, of rows that other ways of storing are for, and of sets of DATA, forth and back until there
are as many values; with these shares as the most that a value may be off, then as mean errors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEERS = Path("build/compress-peers/bin/python")
ROWS, COLUMNS = 1_000_000, 8
SHARES = (0.01, 0.001, 0.0001)
KINDS = ("max_error", "rmse")
TIMES = 2
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main(data: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{ROWS:,} x {COLUMNS} float32, MB/s on one processor: in, out, times smaller")
    with tempfile.TemporaryDirectory() as name:
        ours = _run(sys.executable, "ours", name, data)
        found = {"archive": ours["max_error"]["walks"]} | _run(str(PEERS), "peers")
    print(f"{'bound':10}" + "".join(f"{name:>26}" for name in found))
    for at, share in enumerate(SHARES):
        line = "".join(
            f"{into:>10.1f}{out:>8.1f}{ratio:>8.1f}"
            for into, out, ratio in (speeds[at] for speeds in found.values())
        )
        print(f"{100 * share:<8g} %" + line)
    for kind in KINDS:
        print(f"\n{kind:10}" + "".join(f"{f'{100 * share:g} %':>26}" for share in SHARES))
        for name, speeds in ours[kind].items():
            line = "".join(f"{into:>10.1f}{out:>8.1f}{ratio:>8.1f}" for into, out, ratio in speeds)
            print(f"{name:10}" + line)


def _run(python: str, *words: str) -> Any:
    command = [python, __file__, *words]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE
    )
    return json.loads(done.stdout)


def walks() -> Any:
    import numpy as np

    random = np.random.default_rng(0)
    return np.cumsum(random.standard_normal((ROWS, COLUMNS)), axis=0).astype(np.float32)


def timed(pack: Any, unpack: Any, megabytes: float) -> tuple[float, float, float]:
    """(MB/s in, MB/s out, times smaller) of the faster of some times."""
    into, out = [], []
    for _ in range(TIMES):
        begun = time.perf_counter()
        packed, size = pack()
        middle = time.perf_counter()
        unpack(packed)
        into.append(middle - begun)
        out.append(time.perf_counter() - middle)
    return megabytes / min(into), megabytes / min(out), megabytes * 1e6 / size


def signals() -> dict[str, Any]:
    """Rows of which most is told by neighbours, the past, other columns, or few sources."""
    import numpy as np

    random = np.random.default_rng(1)
    noise = random.standard_normal((ROWS, COLUMNS))
    time = np.arange(ROWS)[:, None]
    wide = random.standard_normal((ROWS // 16, 4)) @ random.standard_normal((4, 16 * COLUMNS))
    return {
        "walks": walks(),
        "waves": (np.sin(time / np.arange(5, 5 + COLUMNS)) + 0.02 * noise).astype(np.float32),
        "mixed": (noise @ random.standard_normal((COLUMNS, COLUMNS)) + walks() / 10).astype("f4"),
        "wide": (wide + 0.01 * random.standard_normal(wide.shape)).astype(np.float32),
    }


def real(data: Path) -> dict[str, Any]:
    """Sets that archives are measured on, forth and back, as many values as the others have."""
    import numpy as np
    import sets

    found = {}
    for name in ("ETTh1", "SKAB", "ECG"):
        x = sets.SETS[name].load(data)
        if x is None:
            print(f"{data} does not have {name}", file=sys.stderr)
            continue
        both = np.concatenate([x, x[::-1]])
        rows = ROWS * COLUMNS // x.shape[1]
        found[name] = np.tile(both, (-(-rows // len(both)), 1))[:rows]
    return found


def ours(folder: str, data: str) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Speeds and ratio at each share, by kind of bound and rows."""
    from ae_archive import Archive, compress

    path = Path(folder) / "x.aez"

    def pack(x: Any, kind: str, bound: Any) -> tuple[Path, int]:
        return path, compress(x, path, **{kind: bound}, overwrite=True).bytes

    def unpack(path: Path) -> Any:
        with Archive(path) as archive:
            return archive[:]

    def speed(x: Any, kind: str, share: float) -> tuple[float, float, float]:
        bound = share * (x.max(axis=0) - x.min(axis=0))
        return timed(lambda: pack(x, kind, bound), unpack, x.nbytes / 1e6)

    rows = signals() | real(Path(data))
    return {
        kind: {name: [speed(x, kind, share) for share in SHARES] for name, x in rows.items()}
        for kind in KINDS
    }


def peers() -> dict[str, list[tuple[float, float, float]]]:
    import coders
    import numpy as np

    x = walks()
    names = {
        "SZ3": coders.sz3()[0],
        "pcodec": coders.pcodec()[0],
        "zlib": coders.deflate()[0],
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for share in SHARES:
        # One column after another: of that SZ3 makes least.
        scaled = (x / (share * np.ptp(x, axis=0))).T.astype(np.float32).reshape(-1)
        for name, coder in names.items():

            def pack(coder: Any = coder, scaled: Any = scaled) -> tuple[bytes, int]:
                raw = coder.pack(scaled, 1.0)
                return raw, len(raw)

            found[name].append(
                timed(
                    pack,
                    lambda raw, coder=coder: coder.unpack(raw, (COLUMNS * ROWS,), 1.0),
                    x.nbytes / 1e6,
                )
            )
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["peers"]:
        print(json.dumps(peers()))
    elif sys.argv[1:2] == ["ours"]:
        print(json.dumps(ours(*sys.argv[2:])))
    else:
        main(*sys.argv[1:])
