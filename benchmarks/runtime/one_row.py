"""One row: encode(x1) against a bare session.run opened with the same options, call by call.

python benchmarks/runtime/one_row.py [--calls N]
"""

from __future__ import annotations

import functools
import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import models
import onnxruntime
from report import columns, load, target

import ae_runtime

ROOT = models.HERE.parent.parent
BUNDLES = {
    "dense": models.FOLDER / "dense",
    "conv": models.FOLDER / "conv",
    "digits": ROOT / "models" / "digits",
    "table": ROOT / "tests" / "golden" / "v1" / "table",
}
# What is given where the graph's dtype is another: rows as they often come.
OTHER = {"float32": np.float64, "float64": np.float32, "uint8": np.int64}
FACTOR, MORE_US, MORE_CONVERTED_US = 1.25, 3.0, 5.0
WARM = 500


def bare(bundle: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        bundle / "encoder.onnx", options, providers=["CPUExecutionProvider"]
    )


def alternate(*called: Callable[[], object], calls: int) -> list[float]:
    """Median microseconds of a call of each, called in turn, each as often first as last."""
    clock = time.perf_counter_ns
    times: list[list[int]] = [[] for _ in called]
    pairs = list(zip(called, times, strict=True))
    for turn in range(WARM + calls):
        for call, taken in pairs[:: 1 if turn % 2 else -1]:
            started = clock()
            call()
            taken.append(clock() - started)
    return [statistics.median(taken[WARM:]) / 1e3 for taken in times]


def measure(name: str, calls: int) -> None:
    bundle = BUNDLES[name]
    ae, session = ae_runtime.load(bundle, threads=1), bare(bundle)
    (given,) = ae.manifest.inputs
    random = np.random.default_rng(0)
    x1 = random.integers(0, 17, (1, *ae.input_shape)).astype(given.dtype)
    for dtype in (given.dtype, np.dtype(OTHER[given.dtype]).name):
        x = x1.astype(dtype)
        assert np.array_equal(ae.encode(x), session.run(["z"], {"x": x1})[0])
        ours, theirs = alternate(
            functools.partial(ae.encode, x),
            functools.partial(session.run, ["z"], {"x": x1}),
            calls=calls,
        )
        columns((f"{name}, {dtype}", f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}",
                 f"{ours - theirs:+.2f}"))  # fmt: skip
        limit = MORE_US if dtype == given.dtype else MORE_CONVERTED_US
        target(f"{name}, {dtype}, times", ours / theirs, FACTOR, most=True)
        target(f"{name}, {dtype}, more", ours - theirs, limit, most=True, unit=" us")


@click.command()
@click.option("--calls", default=10_000, show_default=True, help="Calls of each, in turn.")
def main(calls: int) -> None:
    """Four bundles, rows of the graph's dtype and of another."""
    print(f"\n2. One row, median of {calls:,} calls in turn; {load()}")
    columns(("", "encode, us", "bare run, us", "times", "more, us"))
    gc.disable()  # of what this script keeps, which is none of theirs
    for name in BUNDLES:
        measure(name, calls)


if __name__ == "__main__":
    main()
