"""The fewest bytes that each peer needs, in the environment that holds them: run by tables.py.

python benchmarks/compress/peers.py JOB OUT

JOB is a .npz with `x` (N, D), `height` (lines of an image, which
a row is; 0 for none), and `max_error` and `rmse`
(B, D), the bounds of each column. Columns are divided by their bound, so that one bound is all
columns' own. OUT becomes a JSON file: for each bound, by peer, bytes, how, and what the error is
as a share of what was allowed.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coders
import numpy as np
from coders import Coder
from layouts import Layout, layouts

Array = np.ndarray[Any, Any]
Error = Callable[[Array], float]
PEERS = {"SZ3": coders.sz3, "zfp": coders.zfp, "pcodec": coders.pcodec, "zlib": coders.deflate}
SLACK = 1e-2  # by which a bound may be broken: values in bounds are float32, and so is what is back
HALVINGS = 14  # of the search for the widest bound that keeps a mean error
_WHOLE = 2.0**-7  # that a bound of whole numbers stays below the half, to be rounded to them


def main() -> None:
    job, out = Path(sys.argv[1]), Path(sys.argv[2])
    found = {}
    with np.load(job) as file:
        x, height = file["x"], int(file["height"]) or None
        for bound in ("max_error", "rmse"):
            found[bound] = [smallest(x, height, each, bound == "rmse") for each in file[bound]]
    out.write_text(json.dumps(found))


def smallest(x: Array, height: int | None, bound: Array, mean: bool) -> dict[str, Any]:
    """By peer, the smallest of what its coders and all layouts come to, and how."""
    known = np.isfinite(x)
    extra = 0 if known.all() else len(zlib.compress(np.packbits(known).tobytes(), 9))
    if x.dtype.kind != "f" and not mean:
        bound = np.floor(bound) + 0.5 - _WHOLE
    scaled = (filled(x, known) / bound).astype(np.float32)

    def error(found: Array) -> float:
        back = found.astype(np.float64) * bound
        limit = bound
        if x.dtype.kind != "f":
            back = np.rint(back)
            limit = bound if mean else np.maximum(np.floor(bound), _WHOLE)
        off = np.abs(back - x)[known] / np.broadcast_to(limit, x.shape)[known]
        return float(np.sqrt(np.mean(off**2)) if mean else off.max())

    best: dict[str, Any] = {}
    for name, make in PEERS.items():
        tries = [
            attempt
            for coder in make()
            for layout in layouts(scaled, height)
            if (attempt := fitted(coder, layout, error, mean)) is not None
        ]
        # Of columns with hardly a range float32 itself is further off than a bound.
        kept = [attempt for attempt in tries if mean or attempt[2] <= 1 + SLACK]
        size, how, share = min(kept) if kept else min(tries, key=lambda one: one[2])
        best[name] = {"bytes": size + extra, "how": how, "error": share}
    return best


def fitted(coder: Coder, layout: Layout, error: Error, mean: bool) -> tuple[int, str, float] | None:
    """(bytes, how, error) at the widest bound that is kept, None where there is none."""
    how = f"{layout.name}, {coder.name}"
    if not mean:
        size, share = packed(coder, layout, 1.0, error)
        return size, how, share
    best = None
    low, high = -3.0, 5.0  # powers of two; a mean error of 1 has a bound of about its root of 3
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        size, share = packed(coder, layout, 2.0**middle, error)
        if share <= 1:
            low = middle
            best = min(best or (size, how, share), (size, how, share))
        else:
            high = middle
    return best


def packed(coder: Coder, layout: Layout, bound: float, error: Error) -> tuple[int, float]:
    """(bytes, error of what comes back)."""
    raw = [coder.pack(a, bound) for a in layout.arrays]
    back = [coder.unpack(r, a.shape, bound) for r, a in zip(raw, layout.arrays, strict=True)]
    return sum(map(len, raw)), error(layout.join(back))


def filled(x: Array, known: Array) -> Array:
    """The rows, each gap with the value before it, which costs a coder least."""
    place = np.where(known, np.arange(x.size).reshape(x.shape), 0).reshape(-1)
    first = int(np.argmax(known.reshape(-1)))
    return x.reshape(-1)[np.maximum(np.maximum.accumulate(place), first)].reshape(x.shape)


if __name__ == "__main__":
    main()
