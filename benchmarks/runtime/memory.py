"""Rows/s in memory beside a hand-tuned loop, one big run, torch, numpy, OpenVINO and LiteRT.

python benchmarks/runtime/memory.py [--rounds N] [--model dense|conv]
"""

from __future__ import annotations

import contextlib
import itertools
import statistics

import click
import models
import numpy as np
from contenders import CONTENDERS
from report import columns, load, target
from turns import Contender, NotInstalled, in_turn, median_ratio, seconds_of

TILES = 32, 64, 128, 256, 512, 1024, 4096
THREADS = INTRA_OP = (1, 2)
SWEEP_ROUNDS = 3
PEER_TILES = {"numpy": (256, 1024, 4096), "OpenVINO": (64, 256, 1024)}
TARGETS = {"hand-tuned": 0.95, "one session.run": 1.4, "torch DataLoader": 2.0}
SAME = 1e-3  # of a latent's deviation: contenders whose latents differ by more do other work
Settings = dict[str, int]


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Passes of each contender, in turn.")
@click.option("--model", type=click.Choice([*models.TITLES]), multiple=True)
def main(rounds: int, model: tuple[str, ...]) -> None:
    """Both models, 100,000 rows."""
    for name in model or models.TITLES:
        measure(name, rounds)


def measure(model: str, rounds: int) -> None:
    print(f"\n1. In memory: {models.TITLES[model]}; {models.ROWS:,} rows")
    with contextlib.ExitStack() as stack:
        contenders = [each for name in CONTENDERS if (each := start(stack, name, model))]
        for each in contenders[1:]:
            check_same(contenders[0], each)
        settings = {each.name: best_settings(each) for each in contenders}
        found = in_turn(contenders, settings, rounds)
        memory_mb = {each.name: each.memory_mb for each in contenders}
    seconds = {name: seconds_of(passes) for name, passes in found.items()}
    print(f"  median of {rounds} passes in turn; RssAnon without the rows; {load()}")
    columns(("", "rows/s", "ours / its", "of bests", "CPU us/row", "RssAnon, MiB", "with"))
    for each in contenders:
        told = {**each.versions, **settings[each.name]}
        rate = models.ROWS / statistics.median(seconds[each.name])
        ratio = median_ratio(seconds[each.name], seconds["ours"])
        best = min(seconds[each.name]) / min(seconds["ours"])
        cpu_us = statistics.median(done.cpu_s for done in found[each.name]) / models.ROWS * 1e6
        words = "   " + ", ".join(f"{key} {value}" for key, value in told.items())
        figures = f"{rate:,.0f}", f"{ratio:.2f}", f"{best:.2f}", f"{cpu_us:.2f}"
        columns((each.name, *figures, f"{memory_mb[each.name]:,.0f}", words))
    for name, limit in TARGETS.items():
        target(f"{model}, ours / {name}", median_ratio(seconds[name], seconds["ours"]), limit)


def start(stack: contextlib.ExitStack, name: str, model: str) -> Contender | None:
    """The contender, warmed up; None, and a line about it, where it cannot be started."""
    if name == "numpy" and model != "dense":
        return None
    try:
        return stack.enter_context(Contender(name, model))
    except NotInstalled as why:
        if name in ("ours", *TARGETS):
            raise click.ClickException(f"{name}: {why}") from None
        print(f"  NOT INSTALLED, so not measured: {name}: {why}")
        return None


def check_same(ours: Contender, other: Contender) -> None:
    error = np.abs(ours.z - other.z).max() / ours.z.std()
    if not error <= SAME:
        raise click.ClickException(f"{other.name} gives other latents: by {error:.1e} deviations")


def best_settings(contender: Contender) -> Settings:
    """The fastest settings of a contender that has any; the sweep of the loop is printed."""
    if contender.name in PEER_TILES:
        found = sweep(contender, [{"tile": tile} for tile in PEER_TILES[contender.name]])
    elif contender.name == "LiteRT":
        found = sweep(contender, [{"threads": 2, "per_call": 1}, {"threads": 1, "per_call": 2}])
    elif contender.name == "hand-tuned":
        names = "tile", "threads", "intra_op"
        grid = itertools.product(TILES, THREADS, INTRA_OP)
        found = sweep(contender, [dict(zip(names, values, strict=True)) for values in grid])
        show(found)
    else:
        return {}
    return max(found, key=lambda each: each[1])[0]


def sweep(contender: Contender, grid: list[Settings]) -> list[tuple[Settings, float]]:
    """Rows/s of each settings, the best of a few passes in turn: what disturbs only slows down."""
    passes = [
        [contender.encode(settings).seconds for settings in grid] for _ in range(SWEEP_ROUNDS)
    ]
    best = [models.ROWS / min(seconds) for seconds in zip(*passes, strict=True)]
    return list(zip(grid, best, strict=True))


def show(found: list[tuple[Settings, float]]) -> None:
    rates = {tuple(settings.values()): rate for settings, rate in found}
    heads = list(itertools.product(THREADS, INTRA_OP))
    print(f"  sweep of the hand-tuned loop, rows/s, best of {SWEEP_ROUNDS}")
    columns(("tile", *(f"threads {threads}" for threads, _ in heads)))
    columns(("", *(f"intra_op {intra_op}" for _, intra_op in heads)))
    for tile in TILES:
        columns((tile, *(f"{rates[(tile, *head)]:,.0f}" for head in heads)))


if __name__ == "__main__":
    main()
