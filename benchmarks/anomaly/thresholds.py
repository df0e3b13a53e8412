"""Whether the share of fresh ordinary rows that is flagged lies where a bundle says, in one run.

python benchmarks/anomaly/thresholds.py [FOLDER] [--tables N] [--series N]

Tables: normal, log-normal, counts, categories and mixed ones of 50 to 5,000 rows, each learned for
two epochs; fresh rows are 20,000 more of the same distribution. Series: autocorrelated noise, with
20,000 fresh steps; ETTh1 and streams of NAB of which every fifth block of ten windows is left out
of training, without its last window: what is left out is fresh, and ordinary where it has no label.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch

from ae_runtime.bundle.manifest import Score
from ae_runtime.model.tails import alarms_between, exceeded_by
from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.scores.measured import measure
from ae_train.scores.scoring import four_scores
from ae_train.training import train

Array = np.ndarray[Any, Any]
RATES = 0.01, 0.02, 0.05
KINDS = "normal", "lognormal", "counts", "categories", "mixed"
ROWS = 50, 150, 500, 1500, 5000
WINDOW, LONG_WINDOW, BLOCK = 16, 48, 10  # steps, those of ETTh1; windows


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--tables", default=200, show_default=True)
@click.option("--series", default=20, show_default=True, help="Of autocorrelated noise.")
@click.option("--seed", default=1000, show_default=True, help="Of the first; the next one is +1.")
def main(folder: Path, tables: int, series: int, seed: int) -> None:
    """Print for each kind the shares that were flagged, and how many lay where they should."""
    torch.set_num_threads(1)
    for title, found in (
        ("tables", tables_of(range(seed, seed + tables))),
        ("noise", noises(range(seed, seed + series))),
        ("real series", real(folder / "series")),
    ):
        rows = [told(*one) for one in found]
        for kind in dict.fromkeys(row.kind for row in rows):
            mine = [row for row in rows if row.kind == kind]
            fits, flagged = sum(row.fits for row in mine), np.mean([row.flagged for row in mine])
            print(f"  {kind:<12} {fits} of {len(mine)} as stated, {flagged:.2%} flagged on average")
        if not rows:
            continue
        fits, rising = sum(row.fits for row in rows), sum(row.rising for row in rows)
        word = "met" if fits >= 0.95 * len(rows) and rising == len(rows) else "MISSED"
        print(f"  {word:<7} {title}: {fits} of {len(rows)} as stated at 1 %, {rising} rising")


class Told(NamedTuple):
    """What share was flagged at the first rate, whether as stated, and whether rates go up."""

    kind: str
    flagged: float
    fits: bool
    rising: bool


def told(name: str, score: Score, fresh: Array) -> Told:
    shares = [float((fresh > exceeded_by(score, rate)).mean()) for rate in RATES]
    ends = [alarms_between(score, rate) or (0.0, 0.0) for rate in RATES]
    fits = [low <= share <= high for share, (low, high) in zip(shares, ends, strict=True)]
    words = ", ".join(
        f"{100 * share:.2f} ({100 * low:.2g} to {100 * high:.2g}){'' if fit else ' !'}"
        for share, (low, high), fit in zip(shares, ends, fits, strict=True)
    )
    print(f"{name:<36} {words} %", flush=True)
    return Told(name.split(",")[0], shares[0], fits[0], sorted(shares) == shares)


def learned(data: Any, kind: str = "table") -> Run:
    """A small network: what is looked at is whether its scores are as it says."""
    fields = {"latent_dim": 2, "arch": {"width": 32, "depth": 1}, "fit": {"epochs": 2}}
    return train(data, make_recipe({**fields, "data": {"kind": kind}}))


def tables_of(seeds: range) -> Iterator[tuple[str, Score, Array]]:
    for seed in seeds:
        kind, rows = KINDS[seed % len(KINDS)], ROWS[seed // len(KINDS) % len(ROWS)]
        random = np.random.default_rng(seed)
        both = drawn(kind, rows + 20_000, random)
        known = {name: values[:rows] for name, values in both.items()}
        run = learned(known if kind in ("categories", "mixed") else plain(known))
        yield f"{kind}, {rows} rows", first(run), scored_table(run, both, rows)


def drawn(kind: str, rows: int, random: np.random.Generator) -> dict[str, Array]:
    base = random.standard_normal((rows, 2)) @ random.standard_normal((2, 4))
    base = base + 0.3 * random.standard_normal(base.shape)
    rate = np.exp(0.5 * base)
    word = random.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])
    other = np.where(random.random(rows) < 0.97, word, random.choice(["a", "b", "c"], rows))
    words = {"plan": word.astype(object), "region": other.astype(object)}
    numbers = {
        "normal": base,
        "lognormal": np.exp(0.8 * base),
        "counts": random.poisson(rate).astype(float),
        "mixed": base,
    }.get(kind, np.empty((rows, 0)))
    columns = {f"x{at}": column for at, column in enumerate(numbers.T)}
    return columns | (words if kind in ("categories", "mixed") else {})


def plain(table: dict[str, Array]) -> Array:
    return np.column_stack(list(table.values()))


def first(run: Run) -> Score:
    assert run.schema.scores is not None
    return run.schema.scores[0]


def scored_table(run: Run, table: dict[str, Array], known: int) -> Array:
    """The default score of the rows past the known ones."""
    from ae_runtime.tables.columns import to_arrays

    columns = run.schema.columns or []
    rest = {name: values[known:] for name, values in table.items()}
    x = to_arrays(rest, columns) if run.schema.levels else (plain(rest),)
    parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in x]
    with torch.no_grad():
        z = run.model.encode(*parts)
        back = run.model.decode(z)
        assert run.scorer is not None
        score, *_ = run.scorer(*parts, z, *(back if isinstance(back, tuple) else (back,)))
    return np.asarray(score.numpy())


def noises(seeds: range) -> Iterator[tuple[str, Score, Array]]:
    for seed in seeds:
        random, length = np.random.default_rng(seed), (1500, 5000)[seed % 2]
        e = random.standard_normal((length + 20_000, 2))
        for at in range(1, len(e)):
            e[at] += 0.8 * e[at - 1]
        data = make_dataset(Windows.cut([e[:length]], WINDOW, 1), "series")
        run = learned(data, "series")
        yield f"noise, {length} steps", first_step(run), steps_of(run, data, e[length:])


def real(folder: Path) -> Iterator[tuple[str, Score, Array]]:
    """ETTh1 and NAB, with blocks left out."""
    for path in sorted([*folder.glob("ett/*.csv"), *folder.glob("nab/data/**/*.csv")]):
        with path.open() as file:
            _, *lines = csv.reader(file)
        values = np.array([line[1:] for line in lines], float)
        strange = labelled(folder / "nab", path, [line[0] for line in lines])
        window = LONG_WINDOW if "ett" in path.parts else WINDOW
        block = np.arange(len(values)) // (BLOCK * window)
        out = block % 5 == 4
        edges = np.flatnonzero(np.diff(out.astype(int))) + 1
        pieces = [p for p in np.split(np.arange(len(values)), edges) if len(p) > 2 * window]
        known = [values[p] for p in pieces if not out[p[0]]]
        data = make_dataset(Windows.cut(known, window, 1), "series")
        run = learned(data, "series")
        fresh = [steps_of(run, data, values[p])[~strange[p]] for p in pieces if out[p[0]]]
        yield f"real, {path.stem}", first_step(run), np.concatenate(fresh)


def labelled(nab: Path, path: Path, times: list[str]) -> Array:
    """Which steps lie in a window of anomalies."""
    found = np.zeros(len(times), bool)
    for name, windows in json.loads((nab / "labels/combined_windows.json").read_text()).items():
        for start, end in windows if Path(name).name == path.name else ():
            found |= np.array([start[:19] <= time <= end[:19] for time in times])
    return found


def first_step(run: Run) -> Score:
    assert run.schema.step_scores is not None
    return run.schema.step_scores[0]


def steps_of(run: Run, data: Dataset, values: Array) -> Array:
    """Scores of time steps, as `ae-run score` gives them. data: what the run was trained on."""
    assert run.scorer is not None
    known = data.parts[0]
    windows = Windows.cut([values], known.window, 1)
    fresh = replace(data, parts=(windows,))
    four = four_scores(run.scorer, measure(run.model, fresh, np.arange(len(windows))))
    sums, counts = np.zeros(len(values)), np.zeros(len(values))
    for at in range(known.window):
        sums[at : at + len(windows)] += four[:, 0]
        counts[at : at + len(windows)] += 1
    return sums / counts


if __name__ == "__main__":
    main()
