"""What int8 costs and saves: error, time and size of bundles in fp32, int8 and by `auto`.

python benchmarks/precision.py [FOLDER] [--only NAME,NAME]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from sets import MIXED, NUMERIC, Set
from torch import nn

import ae_runtime
from ae_export import Exported, export, export_modules
from ae_runtime.model.devices import open_session
from ae_train import train
from ae_train.recipe import make_recipe

Array = np.ndarray[Any, Any]
SIZES = 784, 2048, 1024, 32
EPOCHS = 20  # of the dense network
BATCH, ROUNDS = 256, 31
# Sets of the quality benchmark at their defaults, but for what would only take long here.
SETS: dict[str, dict[str, Any]] = {
    "mnist_k16": {"fit": {"epochs": 6}},
    "isolet": {},
    "cells": {},
    "digits": {"arch": {"name": "conv"}},
}


@dataclass(frozen=True)
class Bundles:
    """Two bundles of one model, and test rows for them. error: of (x, x_hat), a number."""

    fp32: Path
    int8: Path
    x: Array
    error: Callable[[Array, Array], float]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--only", help="Names of models, separated by commas.")
def main(folder: Path, only: str | None) -> None:
    """Train, export three times and compare, with one thread and 256 rows a call."""
    chosen = only.split(",") if only else ["dense", *SETS]
    sets = {each.name: each for each in (*NUMERIC, *MIXED)}
    print(f"{'model':<11}{'fp32 MSE':>10}{'int8':>10}{'rise':>8}  {'encoder':>8}{'decoder':>8}"
          f"{'bytes':>7}  auto takes")  # fmt: skip
    for name in chosen:
        with tempfile.TemporaryDirectory() as work:
            if name == "dense":
                show(name, *dense(folder / sets["mnist_k32"].path, Path(work)))
            else:
                show(name, *trained(sets[name], folder, Path(work)))


def dense(path: Path, work: Path) -> tuple[Bundles, str]:
    """The network 784-2048-1024-32 and its mirror on MNIST, as brought from elsewhere."""
    stored = np.load(path)
    pixels = stored[stored.files[0]].reshape(-1, 784).astype(np.float32) / 255
    rows, test = pixels[:50_000], pixels[50_000:]
    torch.manual_seed(0)
    encoder, decoder = perceptron(SIZES), perceptron(SIZES[::-1])
    fit(encoder, decoder, torch.from_numpy(rows))
    example = rows[np.random.default_rng(0).permutation(len(rows))[:1024]]

    def write(precision: Any) -> Exported:
        out = work / precision
        return export_modules(encoder, decoder, example, out, precision=precision, budget=1.0)

    auto = export_modules(encoder, decoder, example, work / "auto", precision="auto")
    both = [write(precision).location for precision in ("fp32", "int8")]
    return Bundles(*both, test, mean_square), auto.precision


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    layers = [[nn.Linear(a, b), nn.SiLU()] for a, b in pairwise(sizes)]
    return nn.Sequential(*[layer for pair in layers for layer in pair][:-1])


def fit(encoder: nn.Module, decoder: nn.Module, rows: torch.Tensor) -> None:
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, fused=True)
    steps = EPOCHS * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    torch.set_float32_matmul_precision("medium")
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH)[: len(rows) // BATCH]:
            x = rows[batch]
            loss = nn.functional.mse_loss(decoder(encoder(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def mean_square(x: Array, x_hat: Array) -> float:
    return float(np.mean((x_hat.astype(np.float64) - x) ** 2))


def trained(each: Set, folder: Path, work: Path) -> tuple[Bundles, str]:
    """A set of the quality benchmark."""
    if not (folder / each.path).exists():
        raise click.ClickException(f"not found: {folder / each.path}")
    data = each.load(folder / each.path)
    run = train(data, make_recipe({"latent_dim": each.latent_dim, **SETS[each.name]}))
    auto = export(run, work / "auto", precision="auto")
    both = [
        export(run, work / precision, precision=precision, budget=1.0).location
        for precision in ("fp32", "int8")
    ]
    deviation = np.array(run.schema.x_std)
    unit = np.where(deviation > 0, deviation, np.inf)

    def error(x: Array, x_hat: Array) -> float:
        return float(np.nanmean(((x_hat.astype(np.float64) - x) / unit) ** 2))

    return Bundles(*both, data.take(run.split.test)[0], error), auto.precision


def show(name: str, bundles: Bundles, auto: str) -> None:
    """Print a line. Fails if rows influence each other."""
    folders = bundles.fp32, bundles.int8
    errors = []
    for folder in folders:
        ae = ae_runtime.load(folder)
        errors.append(bundles.error(bundles.x, ae.reconstruct(bundles.x)))
        x = bundles.x[:300]
        one_by_one = np.concatenate([ae.encode(row[None]) for row in x])
        assert ae.encode(x).tobytes() == one_by_one.tobytes(), f"{folder}: rows are not alone"
    faster = [speedup(folders, graph, bundles.x) for graph in ("encoder.onnx", "decoder.onnx")]
    sizes = [sum((f / g).stat().st_size for g in ("encoder.onnx", "decoder.onnx")) for f in folders]
    print(f"{name:<11}{errors[0]:>10.5f}{errors[1]:>10.5f}{errors[1] / errors[0] - 1:>8.2%}  "
          f"{faster[0]:>7.2f}x{faster[1]:>7.2f}x{sizes[1] / sizes[0]:>7.2f}  {auto}",
          flush=True)  # fmt: skip


def speedup(folders: tuple[Path, Path], graph: str, x: Array) -> float:
    """Time of fp32 in that of int8, the median of rounds in which both take their turn."""
    sessions = [open_session((folder / graph).read_bytes()) for folder in folders]
    rows = np.resize(x, (BATCH, *x.shape[1:]))
    if graph == "decoder.onnx":
        rows = ae_runtime.load(folders[0]).encode(rows)
    feed = {sessions[0].get_inputs()[0].name: rows}
    times = [[seconds(session, feed) for session in sessions] for _ in range(ROUNDS)]
    return median(a / b for a, b in times[1:])


def seconds(session: Any, feed: dict[str, Array]) -> float:
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
