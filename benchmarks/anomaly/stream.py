"""Samples a second that a stream scores on one core, beside the three graphs in bare onnxruntime.

python benchmarks/anomaly/stream.py

8 channels, windows of 64, the default network; one sample at a time, and in blocks. Bare are three
calls of session.run for each window, with nothing kept, checked or settled. Medians of turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import ae_runtime
from ae_export import export
from ae_runtime.model.engine import Engine
from ae_train.data.loading import load
from ae_train.recipe import make_recipe
from ae_train.training import train

CHANNELS, WINDOW, STEPS, TURNS = 8, 64, 2000, 7
BLOCKS = 1, 16, 256
WANTED = 10_000
Array = np.ndarray[Any, Any]


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        ae = ae_runtime.load(bundle(Path(folder)), threads=1)
    x = series(WINDOW + STEPS)
    print(f"{CHANNELS} channels, windows of {WINDOW}, one core; samples a second")
    for block in BLOCKS:
        ours, theirs = turns(lambda b=block: pushed(ae, x, b), lambda b=block: bare(ae, x, b))
        word = "met" if ours >= WANTED else "MISSED"
        print(f"  {word:<7} {block:>4} at a time {ours:>8,.0f}, bare {theirs:>8,.0f} "
              f"(ratio {ours / theirs:.2f}; at least {WANTED:,})", flush=True)  # fmt: skip


def series(steps: int) -> Array:
    """(steps, CHANNELS) float32: waves of several lengths with noise."""
    random = np.random.default_rng(0)
    waves = np.sin(np.arange(steps)[:, None] * np.arange(1, CHANNELS + 1) / 20)
    return (waves + 0.1 * random.standard_normal(waves.shape)).astype(np.float32)


def bundle(folder: Path) -> Path:
    np.save(folder / "x.npy", series(6000))
    recipe = make_recipe({"data": {"kind": "series", "window": WINDOW}, "fit": {"epochs": 10}})
    return export(train(load([str(folder / "x.npy")], recipe), recipe), folder / "b").location


def turns(*each: Callable[[], float]) -> list[float]:
    """Medians of what each gives, called in turn."""
    found = [[call() for call in each] for _ in range(TURNS)]
    return [median(column) for column in zip(*found, strict=True)]


def pushed(ae: ae_runtime.Autoencoder, x: Array, block: int) -> float:
    stream = ae_runtime.Stream(ae)
    stream.push(x[: WINDOW - 1])
    start = time.perf_counter()
    for at in range(WINDOW - 1, WINDOW - 1 + STEPS, block):
        stream.push(x[at : at + block])
    return STEPS / (time.perf_counter() - start)


def bare(ae: ae_runtime.Autoencoder, x: Array, block: int) -> float:
    engine: Engine = ae.model.engine
    encoder, decoder, scorer = (engine.session(name) for name in ("encoder", "decoder", "scorer"))
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0).transpose(0, 2, 1)
    start = time.perf_counter()
    for at in range(0, STEPS, block):
        some = np.ascontiguousarray(windows[at : at + block])
        (z,) = encoder.run(["z"], {"x": some})
        (x_hat,) = decoder.run(["x_hat"], {"z": z})
        scorer.run(["scores", "parts"], {"x": some, "z": z, "x_hat": x_hat})
    return STEPS / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
