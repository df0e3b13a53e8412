"""PCA as a peer of the mean error: components of windows of the training rows, in even steps.

Its components are not counted, as the bytes of a model outside are not. The number of components,
the length of the windows, and the packer of the coefficients are those of the fewest bytes.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from pcodec import ChunkConfig, standalone
from sets import Set
from steps import narrow

Array = np.ndarray[Any, Any]
HALVINGS = 14
MOST_VALUES = 1024  # of a window
WINDOWS = (8, 24, 48, 96, 192)
_MOST_WINDOWS = 8192  # of training


def fewest(train: Array, rest: Array, ranges: Array, share: float, chosen: Set) -> int:
    """Bytes of the smallest coefficients that keep the mean error."""
    scale = ranges.reshape(-1)
    a, x = (rows.reshape(len(rows), -1) / scale for rows in (train, rest))
    lengths = WINDOWS if chosen.window else (1,)
    found = [
        size
        for window in lengths
        if window * x.shape[1] <= MOST_VALUES and (size := _of(a, x, window, share)) is not None
    ]
    return min(found)


def _of(a: Array, x: Array, window: int, share: float) -> int | None:
    begins = np.linspace(0, len(a) - window, min(_MOST_WINDOWS, len(a) - window + 1)).astype(int)
    known = a[begins[:, None] + np.arange(window)].reshape(len(begins), -1)
    filled = np.concatenate([x, np.repeat(x[-1:], -len(x) % window, axis=0)])
    rows = filled.reshape(len(filled) // window, -1)
    middle = known.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(known.T))
    codes, sizes = (rows - middle) @ vectors[:, ::-1], []

    def error(q: Array, step: float) -> float:
        found = q * step @ vectors[:, ::-1][:, : q.shape[1]].T + middle
        return float(np.sqrt(np.mean((found - rows).reshape(filled.shape)[: len(x)] ** 2)))

    for count in sorted({int(n) for n in np.geomspace(1, codes.shape[1], 16)}):
        low, high = -14.0, 4.0
        if error(np.rint(codes[:, :count] / 2**low), 2**low) > share:
            continue
        for _ in range(HALVINGS):
            step = (low + high) / 2
            kept = error(np.rint(codes[:, :count] / 2**step), 2**step) <= share
            low, high = (step, high) if kept else (low, step)
        sizes.append(_packed(np.rint(codes[:, :count] / 2**low).astype(np.int32)))
    return min(sizes, default=None)


def _packed(q: Array) -> int:
    """By pcodec or zlib, row after row or column after column, or each column alone by pcodec."""
    sizes = [len(zlib.compress(narrow(turned).tobytes(), 9)) for turned in (q, q.T)]
    turns = [np.ascontiguousarray(turned).reshape(-1) for turned in (q, q.T)]
    sizes += [len(standalone.simple_compress(flat, ChunkConfig())) for flat in turns]
    columns = np.ascontiguousarray(q.T)
    sizes.append(sum(len(standalone.simple_compress(c, ChunkConfig())) for c in columns))
    return min(sizes)
