"""Other ways to store the same rows under the same promise, where they are installed."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.integers import by_pcodec
from ae_archive.modes.latents import rounded
from ae_archive.promise import Promise

Array = NDArray[Any]
# (bytes, what comes back) of rows, under a bound that is one number for all values
Lossy = Callable[[Array, float], tuple[int, Array]]
# No extra brings these: they are to compare with, where someone has them.
PEERS: dict[str, Callable[[], Any]] = {
    "pcodec": lambda: importlib.import_module("pcodec"),
    "pysz": lambda: importlib.import_module("pysz"),
    "zfpy": lambda: importlib.import_module("zfpy"),
}


class Stored(NamedTuple):
    """Rows in one way. model: of `bytes`, those of a model beside the rows."""

    name: str
    bytes: int
    found: Array
    model: int = 0


class Peers(NamedTuple):
    """Rows in each way that could be had, and a line for each that could not."""

    stored: list[Stored]
    missing: list[str]


def peers(x: Array, promise: Promise) -> Peers:
    """The rows x (R, D) by zlib, by PCA with float32 codes, and by what else is installed."""
    done, missing = [Stored("zlib", len(zlib.compress(x.tobytes())), x)], []
    raw = by_pcodec(x.reshape(-1)) if _installed("pcodec") and x.dtype.itemsize > 1 else None
    if raw is not None:
        done.append(Stored("pcodec", len(raw), x))
    missing += [f"{package} is not installed" for package in PEERS if not _installed(package)]
    why = _unfit(x, promise)
    if why:
        return Peers(done, [*missing, f"PCA, SZ3 and zfp are left out: {why}"])
    # A column of one number is a number, in any way.
    varies = (x != x[:1]).any(axis=0)
    part = np.ascontiguousarray(x[:, varies])
    its = replace(promise, bound=promise.bound[varies])

    def add(name: str, size: int, found: Array) -> None:
        whole = x.copy()
        whole[:, varies] = found
        done.append(Stored(name, size + int((~varies).sum()) * x.itemsize, whole))

    for name, size, found in _pca(part, its):
        add(name, size, found)
    for name, package, make in (("SZ3", "pysz", _sz3), ("zfp", "zfpy", _zfp)):
        module = _installed(package)
        best = None if module is None else _at_promise(part, its, make(module))
        if best is not None:
            add(name, *best)
        elif module is not None:
            missing.append(f"{name} did not keep the promise at any bound")
    return Peers(done, missing)


def _installed(package: str) -> Any | None:
    try:
        return PEERS[package]()
    except ImportError:
        return None


def _unfit(x: Array, promise: Promise) -> str | None:
    if not np.isfinite(x).all():
        return "some values are no numbers"
    if x.dtype.kind != "f" and x.dtype.itemsize > 2:
        return f"they are of floats, these are {x.dtype}"
    if promise.exact[(x != x[:1]).any(axis=0)].any():
        return "some columns are to be kept exactly"
    return None


def _at_promise(x: Array, promise: Promise, way: Lossy) -> tuple[int, Array] | None:
    """(bytes, what comes back) at the widest bound that keeps the promise.

    All values are put in bounds first: these libraries take one bound for all of them.
    """
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    bound = np.where(promise.exact, 1.0, promise.bound)  # of constant columns any will do
    if x.dtype.kind != "f" and not promise.mean:
        bound = np.floor(bound) + 0.499  # is rounded to the whole numbers that are allowed
    scaled = np.ascontiguousarray((x / bound).astype(dtype))

    def at(factor: float) -> tuple[int, Array]:
        size, found = way(scaled, factor)
        return size, rounded(found.astype(np.float64) * bound, x.dtype)

    if not promise.mean:
        # What the division and the product round is not theirs to answer for: a little less.
        for factor in (1.0, 0.999, 0.99, 0.9):
            size, found = at(factor)
            if promise.keeps(found, x):
                return size, found
        return None
    kept = promise.widest(at, x)
    return None if kept is None else (kept.told, kept.values)


def _sz3(module: Any) -> Lossy:
    def way(x: Array, bound: float) -> tuple[int, Array]:
        config = module.szConfig()
        config.errorBoundMode = module.szErrorBoundMode.ABS
        config.absErrorBound = bound
        raw, _ = module.sz.compress(x, config)
        found = module.sz.decompress(raw, x.dtype, x.shape)
        return raw.nbytes, found[0] if isinstance(found, tuple) else found

    return way


def _zfp(module: Any) -> Lossy:
    def way(x: Array, bound: float) -> tuple[int, Array]:
        raw = module.compress_numpy(x, tolerance=bound)
        return len(raw), module.decompress_numpy(raw)

    return way


def _pca(x: Array, promise: Promise) -> Iterator[tuple[str, int, Array]]:
    """Float32 codes, directions and means: of the fewest directions that keep the promise."""
    if not x.shape[1]:
        return
    scaled = x / promise.bound
    mean = scaled.mean(axis=0)
    products = (scaled - mean).T @ (scaled - mean)
    directions = np.linalg.eigh(products)[1][:, ::-1]
    codes = ((scaled - mean) @ directions).astype(np.float32)
    directions = directions.astype(np.float32)

    def by(count: int) -> Array:
        told = codes[:, :count].astype(np.float64) @ directions[:, :count].T + mean
        return rounded(told * promise.bound, x.dtype)

    low, high = 0, x.shape[1] + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if promise.keeps(by(middle), x) else (middle + 1, high)
    if low <= x.shape[1]:
        yield f"PCA {low}", 4 * (low * (len(x) + x.shape[1]) + x.shape[1]), by(low)
