"""Random arrays to archives and back, each value held against what was promised of it.

    archives.py FIRST COUNT SMALLEST LARGEST [--spoiled] BUNDLE...

prints one JSON object: what was done, and what was wrong. A seed that failed is a case that can be
run again alone. SMALLEST, LARGEST: values of a case, about, whose logarithm is anywhere between;
with a model there are fewer. --spoiled: bounds are 1 % wider than what values are held against.

A value is right if |found - x| <= bound, where all three are float64: what rounding to the array's
own dtype adds to an error is part of it. float64 rounds the difference itself, too, which only
matters where it is the bound to the last bit: these are taken again as fractions.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from archive_arrays import Array, Floats, Random, array, leave_gaps
from numpy.typing import NDArray

import ae_runtime
from ae_archive import Archive, compress
from ae_archive.header import MAX_BOUND, MAX_VALUES

MODEL_VALUES = 40_000  # of a case at most: a dozen widths of steps are tried
EVERY = 7  # of so many cases one has a model
MAX_CHUNKS = 6


@dataclass(frozen=True)
class Case:
    """An array, and how it is stored. bound: of a row's shape, a number, or None: every bit."""

    signal: str
    x: Array
    bound: Floats | float | None
    chunk_rows: int | None
    model: ae_runtime.Autoencoder | None = None


@dataclass
class Found:
    """Values by what they were, and the first that were wrong, in words."""

    values: int = 0
    bounded: int = 0
    raw_bytes: int = 0
    bytes: int = 0
    nearest: float = 0.0  # the largest error, in bounds
    touching: int = 0  # whose error, as float64 has it, is the bound to the last bit
    dtypes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


Models = list[tuple[str, ae_runtime.Autoencoder]]


def drawn(seed: int, sizes: tuple[int, int], models: Models) -> Case:
    rng = np.random.default_rng(seed)
    values = int(np.exp(rng.uniform(*np.log(sizes))))
    model = None
    if models and seed % EVERY == EVERY - 1:
        name, model = models[rng.integers(len(models))]
        signal, x = f"like {name}", like(rng, model, min(values, MODEL_VALUES))
    else:
        signal, x = array(rng, seed, values)
    chunk_rows = None
    if rng.random() < 0.5:
        rows = int(rng.integers(-(-len(x) // MAX_CHUNKS), len(x) + 2))
        chunk_rows = min(rows, MAX_VALUES // x[:1].size)
    return Case(signal, x, bound_of(rng, x, model is not None), chunk_rows, model)


def like(rng: Random, ae: ae_runtime.Autoencoder, values: int) -> Array:
    """Rows that the model tells more or less well, as it takes them or as time steps."""
    size = int(np.prod(ae.input_shape))
    z = rng.standard_normal((max(1, values // size), ae.latent_dim)) * 10.0 ** rng.uniform(-1, 0.5)
    x = ae.decode(z.astype(np.float32))
    spread = np.nan_to_num(x.astype(np.float64)).std(axis=0)
    moved = x + rng.standard_normal(x.shape) * spread * 10.0 ** rng.uniform(-5, -1)
    if x.dtype == np.uint8:
        x = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    else:
        x = moved.astype(rng.choice([x.dtype.name, "float32", "float64"]))
        if rng.random() < 0.3:
            leave_gaps(rng, x.reshape(len(x), -1))
    if ae.manifest.kind == "series" and rng.random() < 0.6:
        x = x.reshape(-1, x.shape[-1])[: rng.integers(1, 12) - 12]
    return x


def bound_of(rng: Random, x: Array, has_model: bool) -> Floats | float | None:
    """From a millionth to ten times the spread: of a row's shape, a number, or None."""
    kind = rng.random()
    if kind < 0.1 and not has_model:
        return None
    with np.errstate(invalid="ignore"):  # a NaN of random bits
        flat = x.reshape(len(x), -1).astype(np.float64)
    flat = np.where(np.isfinite(flat), flat, 0)
    largest = np.maximum(np.abs(flat).max(axis=0), 1e-300)
    spread = (flat / largest).std(axis=0) * largest  # its square may be more than a float holds
    spread = np.minimum(np.where(spread > 0, spread, 1.0), MAX_BOUND)
    if kind < 0.6:
        spread = np.median(spread, keepdims=True)
    # Of whole numbers most bounds would be less than 1, and no value could move.
    fewest = np.full_like(spread, -6) if x.dtype.kind == "f" else -np.log10(2 * spread)
    most = 0 if has_model else 1  # beyond the spread no model pays
    share = 10.0 ** rng.uniform(np.clip(fewest, -6, most), most)
    bound = np.minimum(spread * share, MAX_BOUND)
    if kind < 0.6:
        return float(bound[0])
    if kind > 0.9:
        bound[rng.random(bound.shape) < 0.3] = 0
    return bound.reshape(x.shape[1:])


def pieces(x: Array, rng: Random) -> Iterator[Array]:
    while len(x):
        taken = int(rng.integers(1, len(x) + 1))
        yield x[:taken]
        x = x[taken:]


def run(seed: int, case: Case, path: Path, slack: float, found: Found) -> None:
    """Compress, read, and hold against the error bound."""
    rng = np.random.default_rng([seed, 1])
    x, bound = case.x, case.bound
    written = compress(
        x if rng.random() < 0.5 else pieces(x, rng),
        path,
        max_error=None if bound is None else np.multiply(bound, 1 + slack),
        model=case.model,
        include_model=case.model is not None and rng.random() < 0.3,
        chunk_rows=case.chunk_rows,
        overwrite=True,
    )
    told = (
        f"seed {seed}: {case.signal}, {x.dtype} {x.shape}, "
        f"bound {'of each value' if isinstance(bound, np.ndarray) else bound}"
    )
    count = 0
    with Archive(path, case.model) as archive:
        if (archive.shape, archive.dtype, archive.notes) != (x.shape, x.dtype, []):
            found.wrong.append(f"{told}: {archive.shape} {archive.dtype} {archive.notes}")
        for chunk, (first, rows) in zip(archive.chunks, archive.blocks(), strict=True):
            true = x[first : first + len(rows)]
            bad = held(rows, true, bound, found)
            if bad.any():
                at = tuple(int(axis[0]) for axis in np.nonzero(bad))
                found.wrong.append(
                    f"{told}: {bad.sum():,} of chunk {chunk.number} ({chunk.mode}), the first in "
                    f"row {first + at[0]}, {at[1:]}: {true[at]!r} came back as {rows[at]!r}"
                )
            found.modes[chunk.mode] += true.size
            count += len(rows)
    if count != len(x):
        found.wrong.append(f"{told}: {count} rows came back")
    found.values += x.size
    found.bounded += x.size if bound is not None else 0
    found.raw_bytes += x.nbytes
    found.bytes += written.bytes
    found.dtypes[x.dtype.name] += x.size
    found.signals[case.signal] += x.size


def held(rows: Array, x: Array, bound: Floats | float | None, found: Found) -> NDArray[np.bool_]:
    """Which values of rows are not what was promised of x."""
    if rows.shape != x.shape or rows.dtype != x.dtype:
        return np.ones(x.shape, np.bool_)
    bits = f"u{x.itemsize}"
    other: NDArray[np.bool_] = np.ascontiguousarray(rows).view(bits) != np.ascontiguousarray(
        x
    ).view(bits)
    if bound is None or (x.dtype.kind != "f" and x.itemsize == 8):
        return other
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(rows.astype(np.float64) - x.astype(np.float64))
        near = off <= bound
    limit = np.broadcast_to(bound, x.shape)
    bad = other & ~(near & (limit > 0))
    if x.dtype.kind == "f":
        for at in zip(*np.nonzero(other & (off == limit)), strict=True):
            found.touching += 1
            exact = abs(Fraction(float(rows[at])) - Fraction(float(x[at])))
            bad[at] |= exact > Fraction(float(limit[at]))
    moved = near & other & (limit > 0)
    if moved.any():
        found.nearest = max(found.nearest, float((off[moved] / limit[moved]).max()))
    return bad


def main(first: int, count: int, sizes: tuple[int, int], options: list[str]) -> None:
    slack = 0.01 if "--spoiled" in options else 0.0
    folders = [Path(word) for word in options if not word.startswith("--")]
    models = [(folder.name, ae_runtime.load(folder, threads=1)) for folder in folders]
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            case = drawn(seed, sizes, models)
            try:
                run(seed, case, Path(folder) / "x.aez", slack, found)
            except Exception as error:  # of which the seed is what one wants to know
                found.wrong.append(f"seed {seed}: {case.signal}: {error!r}")
    print(json.dumps({"cases": count, **vars(found)}, default=str))


if __name__ == "__main__":
    warnings.simplefilter("error")
    first, count, smallest, largest = map(int, sys.argv[1:5])
    main(first, count, (smallest, largest), sys.argv[5:])
