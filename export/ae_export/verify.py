"""Verify graphs against the model in float64, row by row, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_export.export_source import ExportSource, Graphs
from ae_export.reference import TOLERANCE, Bounds, Parts
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import VerificationFailed
from ae_runtime.machine.golden import last_place
from ae_runtime.model.devices import compute, open_session

Array = NDArray[Any]
BATCHES = (1, 2, 7, 64)
# Share of the model's reconstruction error by which that of the graphs may differ.
ERROR_CHANGE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """Errors of graphs against the model, over held-out rows.

    encoder, decoder: largest differences, in std of a column. error_change: of the
    reconstruction error, as a share of the model's.
    """

    encoder: float
    decoder: float
    error_change: float


class Pair:
    """Sessions of an encoder and a decoder, run in batches of any size."""

    def __init__(self, source: ExportSource, graphs: Graphs, *, optimised: bool = True) -> None:
        self._encoder, self._decoder = (open_session(g, optimised=optimised) for g in graphs)
        self._inputs, self._outputs = _names(source.inputs), _names(source.outputs)

    def encode(self, parts: Parts, batch: int) -> Array:
        """Z of rows, (B, K) float32."""
        feeds = dict(zip(self._inputs, parts, strict=True))
        return in_batches(self._encoder, ["z"], feeds, batch)[0]

    def decode(self, z: Array, batch: int) -> list[Array]:
        """Each output for latents."""
        return in_batches(self._decoder, self._outputs, {"z": z}, batch)


def verify(source: ExportSource, graphs: Graphs) -> Agreement:
    """The errors of the graphs against the source's modules in float64.

    Measured on held-out rows and on edge rows, in batches of 1, 2, 7 and 64, with onnxruntime's
    optimisations and without. Allowed for each value is 1e-5 of its column's std plus one
    unit in the last place of the output; where sums in float32 are less exact than that, four times
    what the modules err in that row themselves, at most 1e-4 and eight such units. Integers, and
    latents that are chosen or rounded, must be what the model gives within that. The reconstruction
    error of the held-out rows may be off by a thousandth. Raises VerificationFailed that names the
    output, row and error.
    """
    worst = {"z": 0.0, "x_hat": 0.0}
    for which, parts in (("held-out", source.held_out), ("edge", source.edge)):
        far = source.reference.distance_factor(parts)
        expected_z = source.reference.encode(parts)
        for z, x_hat, how in _runs(source, graphs, parts):
            bounds = source.reference.decode(z, far)
            outputs = [("z", z, expected_z)]
            outputs += zip(_names(source.outputs), x_hat, bounds, strict=True)
            for name, values, bound in outputs:
                largest = _check(name, values, bound, f"{which} row", how)
                if which == "held-out":
                    key = "z" if name == "z" else "x_hat"
                    worst[key] = max(worst[key], largest)
    return Agreement(worst["z"], worst["x_hat"], _error_change(source, graphs))


def _runs(
    source: ExportSource, graphs: Graphs, parts: Parts
) -> Iterator[tuple[Array, list[Array], str]]:
    """(z, outputs, settings in words) for each batch size, optimised and not."""
    for optimised in (True, False):
        pair = Pair(source, graphs, optimised=optimised)
        for batch in BATCHES:
            z = pair.encode(parts, batch)
            how = f"batch {batch}" + ("" if optimised else ", optimisation off")
            yield z, pair.decode(z, batch), how


def _check(name: str, output: Array, bounds: Bounds, row: str, how: str) -> float:
    """Largest difference in std. Raises VerificationFailed for one past what is allowed."""
    if output.shape != bounds.expected.shape:
        raise VerificationFailed(
            f"the graph gives output {name} in shape {output.shape}, the model in "
            f"{bounds.expected.shape}; nothing was written"
        )
    unit = last_place(output) if output.dtype.kind == "f" else 0
    value = output.astype(np.float64)
    missing = np.isnan(bounds.expected)
    inside = (value >= bounds.low - unit) & (value <= bounds.high + unit)
    inside = np.where(missing, np.isnan(value), inside)
    if not inside.all():
        at = tuple(int(i) for i in np.argwhere(~inside)[0])
        column = int(np.ravel_multi_index(at[1:], output.shape[1:]))
        raise VerificationFailed(
            f"the graph disagrees with the model: output {name}, {row} {at[0]}, column {column}, "
            f"{how}: {value[at]:.9g} instead of {bounds.expected[at]:.9g}; nothing was written"
        )
    difference = np.where(missing | bounds.jumps, 0, np.abs(value - bounds.expected))
    scale = np.where(bounds.std > 0, bounds.std, 1)
    return float((difference / scale).max(initial=0))


def _error_change(source: ExportSource, graphs: Graphs) -> float:
    reference, parts = source.reference, source.held_out
    z = reference.encode(parts).expected
    expected = reference.decode(z, reference.distance_factor(parts))
    of_model = reference.error(parts, [bounds.rounded for bounds in expected])
    of_graphs = reconstruction_error(source, graphs)
    if abs(of_graphs - of_model) > ERROR_CHANGE * of_model + TOLERANCE**2:
        raise VerificationFailed(
            f"the graphs' reconstruction error on held-out rows is {of_graphs:.6g}, the model's "
            f"{of_model:.6g}; nothing was written"
        )
    return abs(of_graphs - of_model) / of_model if of_model > 0 else of_graphs


def reconstruction_error(source: ExportSource, graphs: Graphs) -> float:
    """Mean squared error of the held-out rows, in std, through both graphs."""
    pair = Pair(source, graphs)
    x_hat = pair.decode(pair.encode(source.held_out, BATCHES[-1]), BATCHES[-1])
    return source.reference.error(source.held_out, x_hat)


def in_all_ways(
    graph: bytes, fetches: Sequence[str], feeds: dict[str, Array]
) -> Iterator[tuple[list[Array], int]]:
    """(outputs, batch) of a graph for all rows, in each of BATCHES, optimised and not."""
    for optimised in (True, False):
        session = open_session(graph, optimised=optimised)
        for batch in BATCHES:
            yield in_batches(session, fetches, feeds, batch), batch


def in_batches(
    session: Any, fetches: Sequence[str], feeds: dict[str, Array], batch: int
) -> list[Array]:
    """The outputs of a session for all rows, computed `batch` at a time."""
    rows = len(next(iter(feeds.values())))
    parts = [
        compute(session, fetches, {k: v[start : start + batch] for k, v in feeds.items()})
        for start in range(0, rows, batch)
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _names(ports: Sequence[Port]) -> list[str]:
    return [port.name for port in ports]
