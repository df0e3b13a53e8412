"""Choose the precision of a bundle: fp32 or int8, by what each costs in error and in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ae_export.export_source import ExportSource, Graphs
from ae_export.quantize import quantize
from ae_export.reference import Parts
from ae_export.verify import Pair, reconstruction_error
from ae_runtime.errors import RunError, VerificationFailed
from ae_runtime.graphs.admission import ANY_BYTES, admit
from ae_runtime.model.plan import MAX_TILE

Array = NDArray[Any]
Precision = Literal["fp32", "int8", "auto"]
BUDGET = 0.02
# Share of fp32's time that int8 may take to count as faster: a smaller gain is noise.
FASTER = 0.95
ROUNDS = 15


@dataclass(frozen=True)
class Weighed:
    """int8 beside fp32, on this machine and the held-out rows.

    speedup: time of fp32 divided by that of int8, both graphs, one thread, batch 256. rise: of the
    reconstruction error, as a share of that of fp32. taken: whether the bundle is int8.
    """

    speedup: float
    rise: float
    taken: bool


def check_calibration(source: ExportSource, precision: Precision) -> None:
    """Raise RunError if int8 may be wanted and there are no rows to find its ranges with."""
    if precision != "fp32" and not source.calibration:
        raise RunError(
            "this run holds no training rows to find the ranges of int8 with, since an earlier "
            "version made it; train again, or export as fp32"
        )


def choose(
    source: ExportSource,
    fp32: Graphs,
    precision: Precision,
    budget: float,
    say: Callable[[str], None],
) -> tuple[Graphs, Weighed | None]:
    """(graphs to write, fp32 and int8 compared); None where there are no graphs in int8.

    int8: they are int8. auto: they are if that is faster on this machine and raises the
    reconstruction error by no more than the budget. Raises VerificationFailed where int8 was asked
    for and is past the budget or impossible.
    """
    rows = len(source.calibration[0])
    say(f"quantizing with the ranges of {rows:,} training rows ...")
    try:
        int8 = _quantized(source, fp32)
        _check_batches(source, int8)
    except VerificationFailed as error:
        if precision == "int8":
            raise
        say(f"fp32 taken: {str(error).partition(';')[0]}")
        return fp32, None
    before, after = (reconstruction_error(source, graphs) for graphs in (fp32, int8))
    rise = after / before - 1 if before > 0 else after
    if precision == "int8" and rise > budget:
        raise VerificationFailed(
            f"int8 raises the reconstruction error by {100 * rise:.2f} %, the budget is "
            f"{100 * budget:g} %; allow more, or export as fp32; nothing was written"
        )
    speedup = _speedup(source, fp32, int8)
    taken = precision == "int8" or (rise <= budget and speedup * FASTER > 1)
    say(
        f"{'int8' if taken else 'fp32'} taken: int8 is {speedup:.2f} times as fast as fp32 here, "
        f"and its reconstruction error {100 * rise:+.2f} % ({100 * budget:g} % allowed)"
    )
    return (int8 if taken else fp32), Weighed(speedup, rise, taken)


def _quantized(source: ExportSource, fp32: Graphs) -> Graphs:
    feeds = dict(zip([port.name for port in source.inputs], source.calibration, strict=True))
    encoder = quantize(fp32.encoder, feeds)
    # The decoder's ranges are taken over the int8 encoder's latents, which it will get.
    z = Pair(source, Graphs(encoder, fp32.decoder)).encode(source.calibration, MAX_TILE)
    graphs = Graphs(encoder, quantize(fp32.decoder, {"z": z}))
    ports = [source.latent.port]
    admit("encoder.onnx", graphs.encoder, source.inputs, ports, ANY_BYTES)
    admit("decoder.onnx", graphs.decoder, ports, source.outputs, ANY_BYTES)
    return graphs


def _check_batches(source: ExportSource, int8: Graphs) -> None:
    """Raise VerificationFailed if rows influence each other."""
    pair = Pair(source, int8)
    outputs = []
    for batch in (1, 7, MAX_TILE):
        z = pair.encode(source.held_out, batch)
        outputs.append([z, *pair.decode(z, batch)])
    for other in outputs[1:]:
        if any(a.tobytes() != b.tobytes() for a, b in zip(outputs[0], other, strict=True)):
            raise VerificationFailed(
                "the int8 graphs give other numbers for other batch sizes; export as fp32; "
                "nothing was written"
            )


def _speedup(source: ExportSource, fp32: Graphs, int8: Graphs) -> float:
    """Time of fp32 divided by that of int8, the median of rounds that run both in turn."""
    x = tuple(np.resize(part, (MAX_TILE, *part.shape[1:])) for part in source.held_out)
    pairs = [Pair(source, graphs) for graphs in (fp32, int8)]
    z = pairs[0].encode(x, MAX_TILE)
    times = [[_time(pair, x, z) for pair in pairs] for _ in range(ROUNDS)]
    return median(first / second for first, second in times[1:])  # the first one warms up


def _time(pair: Pair, x: Parts, z: Array) -> float:
    started = time.perf_counter()
    pair.encode(x, MAX_TILE)
    pair.decode(z, MAX_TILE)
    return time.perf_counter() - started
