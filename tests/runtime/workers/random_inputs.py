"""Random valid inputs of bundles, held against the numpy reference.

    random_inputs.py FIRST COUNT [--spoiled] BUNDLE...

prints one JSON object: how much was compared, and what was wrong. A seed that failed is a case that
can be run again alone. --spoiled: the reference has weights that are off by 2 in 1,000.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from bounds import Value, exact
from numpy_graphs import Reference
from onnx_wire import Array
from random_arrays import Random, hurting, laid_out, length, near

import ae_runtime

THREADS = (1, 2, 3, 5)
TILES = (None, None, 1, 2, 7, 64, 255, 256, 1000)
UNKNOWN = "no such word"


class Subject:
    """A bundle, as the runtime has it and as the reference does."""

    def __init__(self, folder: Path, spoiled: bool) -> None:
        self.folder = folder
        self.encoder, self.decoder = (
            Reference((folder / f"{name}.onnx").read_bytes()) for name in ("encoder", "decoder")
        )
        if spoiled:
            for graph in (self.encoder, self.decoder):
                spoil(graph)
        self.fields: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        golden = np.load(folder / "golden.npz")
        self.rows = [golden[port["name"]] for port in self.fields["inputs"]]
        self.z = golden["z"]
        self.loaded: dict[tuple[int, int | None], ae_runtime.Autoencoder] = {}

    def open(self, random: Random) -> ae_runtime.Autoencoder:
        """The bundle loaded with some threads and tile, mostly once for all cases."""
        options = THREADS[random.integers(len(THREADS))], TILES[random.integers(len(TILES))]
        if options not in self.loaded or random.random() < 0.01:
            threads, tile = options
            self.loaded[options] = ae_runtime.load(self.folder, threads=threads, tile=tile)
        return self.loaded[options]


def spoil(graph: Reference) -> None:
    name = next(name for name, value in graph.model.constants.items() if value.ndim == 2)
    graph.model.constants[name] = graph.model.constants[name] * np.float32(1.002)


class Tally:
    """What was compared, and what did not fit."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.widths: list[float] = []  # of each comparison: median radius / deviation of the values
        self.wrong: list[str] = []

    def compare(self, case: str, found: Array, wanted: Value, kept: Array | slice) -> None:
        """Hold rows `kept` of what the runtime gave against where it must lie."""
        if found.shape != wanted.centre.shape or found.dtype != wanted.dtype:
            shape = f"{found.dtype} {found.shape}, not {wanted.dtype} {wanted.centre.shape}"
            self.wrong.append(f"{case}: {shape}")
            return
        centre, radius, found = wanted.centre[kept], wanted.radius[kept], found[kept]
        with np.errstate(all="ignore"):
            low, high = centre - radius, centre + radius
            if found.dtype.kind == "f":  # past its range it is infinite
                low, high = low.astype(found.dtype), high.astype(found.dtype)
            fits = (low <= found) & (found <= high) | (np.isnan(centre) & np.isnan(found))
            finite = found[np.isfinite(centre)].astype(np.float64)
        self.seen["values"] += fits.size
        self.seen["exact"] += int((radius == 0).sum())
        if finite.size > 8 and 0 < finite.std() < 1e5:
            self.widths.append(float(np.median(radius) / finite.std()))
        if not fits.all():
            at = tuple(np.argwhere(~fits)[0].tolist())
            self.wrong.append(
                f"{case}: {(~fits).sum()} of {fits.size}, at {at} {found[at]}, "
                f"not {centre[at]} +- {radius[at]}"
            )


def check(subject: Subject, seed: int, tally: Tally) -> None:
    """One case: some rows through encode, decode or reconstruct."""
    random = np.random.default_rng(seed)
    ae = subject.open(random)
    n, verb = length(random), str(random.choice(["encode", "decode", "reconstruct"]))
    kept: Array | slice = slice(None)
    if verb == "decode":
        z = laid_out(random, hurting(random, near(random, subject.z, n), np.dtype("f4")))
        given: Any = (z,)
        taken = as_taken(z, np.dtype("f4"))
        # Past float32's range no order of sums is safe: such rows are only not to touch others.
        kept = (np.abs(taken) < 1e30).all(1)
        wanted = subject.decoder(exact(taken))
    else:
        given, blocks = inputs(subject, random, n)
        wanted = subject.encoder(*map(exact, blocks))
        if verb == "reconstruct":
            wanted = subject.decoder(*wanted)
    found = result(subject, ae, verb, given, bool(random.random() < 0.5))
    case = f"seed {seed}, {subject.folder.name}, {verb}, {n} rows, {ae.threads} threads"
    for at, array in enumerate(found):
        tally.compare(f"{case}, output {at}", array, wanted[at], kept)


def result(
    subject: Subject, ae: ae_runtime.Autoencoder, verb: str, given: Any, as_rows: bool
) -> tuple[Array, ...]:
    """What the runtime makes of it, as arrays; as_rows: by the Autoencoder."""
    if verb == "decode":
        return arrays_of(subject, ae.decode(*given)) if as_rows else ae.model.decode(*given)
    if isinstance(given, dict):
        if verb == "encode":
            return (ae.encode(given),)
        return arrays_of(subject, ae.reconstruct(given))
    if verb == "encode":
        return (ae.encode(*given) if len(given) == 1 else ae.model.encode(*given),)
    if len(given) == 1:
        return (ae.reconstruct(*given),)
    return ae.model.decode(ae.model.encode(*given))


def arrays_of(subject: Subject, x_hat: Any) -> tuple[Array, ...]:
    """Decoded rows as the arrays that they are, or that their columns stand for."""
    if isinstance(x_hat, np.ndarray):
        return (x_hat,)
    described = subject.fields["columns"]
    assert list(x_hat) == [column["name"] for column in described]
    numbers = [x_hat[column["name"]] for column in described if not column.get("levels")]
    codes = [
        [column["levels"].index(word) for word in x_hat[column["name"]]]
        for column in described
        if column.get("levels")
    ]
    return np.stack(numbers, 1), np.array(codes, np.int32).reshape(len(codes), -1).T


def as_taken(x: Any, wanted: np.dtype[Any]) -> Array:
    """What the graph is to get, by numpy's own conversion."""
    with np.errstate(over="ignore"):
        return np.array(np.asarray(x), wanted)


def inputs(subject: Subject, random: Random, n: int) -> tuple[Any, list[Array]]:
    """What the runtime is given, and the arrays that this is to the graph."""
    if len(subject.rows) == 1:
        wanted = np.dtype(subject.fields["inputs"][0]["dtype"])
        x = laid_out(random, hurting(random, near(random, subject.rows[0], n), wanted))
        return (x,), [as_taken(x, wanted)]
    if random.random() < 0.5:
        return columns(subject, random, n)
    levels = [len(c["levels"]) for c in subject.fields["columns"] if c.get("levels")]
    codes = random.integers(-1, levels, (n, len(levels))).astype(random.choice(["b", "i", ">q"]))
    numbers = hurting(random, near(random, subject.rows[0], n), np.dtype("f8"))
    given = (laid_out(random, numbers), laid_out(random, codes))
    return given, [as_taken(x, dtype) for x, dtype in zip(given, ("f8", "i4"), strict=True)]


def columns(subject: Subject, random: Random, n: int) -> tuple[dict[str, Any], list[Array]]:
    """A dict of columns in any order, one of them unknown, and the arrays that it stands for."""
    numbers, codes, given = [], [], {}
    near_rows = near(random, subject.rows[0], n)
    for column in subject.fields["columns"]:
        words = column.get("levels")
        if words:
            known = {word: at for at, word in enumerate(words)} | {None: -1}
            known[UNKNOWN] = known.get("other", -1) if column["type"] == "category" else -1
            values = [list(known)[at] for at in random.integers(len(known), size=n)]
            codes.append([known[value] for value in values])
            given[column["name"]] = values if random.random() < 0.5 else np.array(values, object)
        else:
            x = hurting(random, near_rows[:, len(numbers)], np.dtype("f8"))
            if x.dtype == bool:  # a column of them is one of words
                x = x.astype(np.int8)
            numbers.append(as_taken(x, np.dtype("f8")))
            given[column["name"]] = x[::-1].copy()[::-1]
    given["left aside"] = np.zeros(n)
    order = random.permutation(list(given))
    blocks = [np.stack(numbers, 1), np.array(codes, np.int32).reshape(len(codes), n).T]
    return {str(name): given[str(name)] for name in order}, blocks


def main() -> None:
    # Tables bring columns and words that the model has not, which is said.
    warnings.simplefilter("ignore", ae_runtime.DataWarning)
    words = [word for word in sys.argv[1:] if word != "--spoiled"]
    first, count = map(int, words[:2])
    subjects = [Subject(Path(word), "--spoiled" in sys.argv) for word in words[2:]]
    tally = Tally()
    for seed in range(first, first + count):
        try:
            check(subjects[seed % len(subjects)], seed, tally)
        except Exception as error:  # of valid input, any is wrong
            tally.wrong.append(f"seed {seed}: {error!r}")
        tally.seen["cases"] += 1
    widths = sorted(tally.widths)
    print(
        json.dumps(
            {
                **tally.seen,
                "width": widths[int(0.95 * len(widths))],
                "wrong": len(tally.wrong),
                "first_wrong": tally.wrong[:20],
            }
        )
    )


if __name__ == "__main__":
    main()
