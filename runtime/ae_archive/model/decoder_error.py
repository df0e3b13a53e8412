"""Decoder error: how far x_hat may be off on another machine, measured by perturbed copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ae_archive.header import MAX_BOUND, Model
from ae_archive.model.decoder import Decoder, digest
from ae_runtime.graphs.graph import read_graph
from ae_runtime.graphs.values import FLOAT
from ae_runtime.model.devices import compute, open_session

Array = NDArray[Any]
Floats = NDArray[np.float64]
# Times the largest difference. 101 of 112 decoders, in other orders of sums and in float64, were
# off by at most a quarter of this, as the probe allows; those of the longest sums by at most 0.72
# of it (make bench-margins).
_SAFETY = 32
# A sum of float32 in any order is the exact sum of products that are each changed a little (Higham,
# Accuracy and Stability, 2002, ch. 3), and perturbed weights are such (cf. Parker, Monte Carlo
# Arithmetic, 1997). Neighbours that are moved apart show large terms that cancel each other, and
# those that are moved alike large partial sums: there is a copy for each of these runs of weights.
_RUNS = (1, 4, 32, 256)
_SHARE = 0.25  # share of the decoder error, by which perturbed copies may be off in a chunk


def decoder_error_of(
    graph: bytes, x_hat: Array, z: NDArray[np.float32], rounding: NDArray[np.bool_]
) -> list[float]:
    """Decoder error of each column of x_hat, which the graph gives for z.

    rounding: (D,), columns of integers, that may be off by 1.
    """
    columns = len(rounding)
    if rounding.all():
        return [1.0] * columns
    here = x_hat.astype(np.float64).reshape(-1, columns)
    off = np.abs(here).max(axis=0) * 2.0**-24
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite values
        for other in (graph, *perturbed_graphs(graph)):
            one = _one_at_a_time(other, z).reshape(here.shape)
            off = np.maximum(off, np.abs(one - here).max(axis=0))
        off = np.fmin(_SAFETY * off, MAX_BOUND / 2)  # which NaN becomes: it has no number there
    return [
        1.0 if rounds else float(f"{value * 1.05:.2g}")
        for rounds, value in zip(rounding, off, strict=True)
    ]


class Perturbed:
    """Perturbed copies of a decoder, which show the chunks that its error is not measured for."""

    def __init__(
        self, model: Model, graph: bytes, row_shape: tuple[int, ...], rounding: NDArray[np.bool_]
    ) -> None:
        """model, graph, row_shape: as of the decoder. rounding: as of decoder_error_of."""
        self._decoders = [
            Decoder(replace(model, sha256=digest(copy)), copy, row_shape)
            for copy in perturbed_graphs(graph)
        ]
        self._allowed = np.where(rounding, 1.0, _SHARE * np.array(model.decoder_error))

    def steady(self, z: NDArray[np.float32], x_hat: Array) -> NDArray[np.bool_]:
        """Columns (D,) in which x_hat (W, ...) of latents z (W, K) hardly changes in the copies.

        By at most _SHARE of the decoder error, which is several times what the first rows do.
        """
        columns = len(self._allowed)
        here, steady = x_hat.astype(np.float64).reshape(-1, columns), np.ones(columns, np.bool_)
        for decoder in self._decoders:
            with np.errstate(invalid="ignore"):  # of infinite values
                off = np.abs(decoder.decode(z).reshape(here.shape) - here)
            steady &= (off <= self._allowed).all(axis=0)
        return steady

    def close(self) -> None:
        """Close the sessions."""
        for decoder in self._decoders:
            decoder.close()


def _one_at_a_time(graph: bytes, z: NDArray[np.float32]) -> Floats:
    """x_hat by the graph without optimisations, a row at a time, which may add in another order."""
    session = open_session(graph, optimised=False)
    rows = [compute(session, ["x_hat"], {"z": row[None]})[0] for row in z]
    return np.concatenate(rows).astype(np.float64)


def perturbed_graphs(graph: bytes) -> Iterator[bytes]:
    """Copies of the graph with every weight of float32 a unit in the last place larger or smaller.

    Those of float64 stay: in another order of sums they are as good as exact.
    """
    rng = np.random.default_rng(0)
    for run in _RUNS:
        copy = bytearray(graph)
        read = read_graph(copy)
        # Another factor has another shape, and another power of a negative number does not exist.
        fixed = {
            name for node in read.nodes if node.op in ("Resize", "Pow") for name in node.inputs[1:]
        }
        named = [(tensor.name, tensor) for tensor in read.initializers]
        named += [(node.outputs[0], tensor) for node in read.nodes for tensor in node.tensors]
        for name, tensor in named:
            if tensor.dtype == FLOAT and name not in fixed:
                w = np.frombuffer(tensor.raw, "<f4").reshape(tensor.dims)
                units = np.where(np.isfinite(w) & (w != 0), _signs(w.shape, run, rng), 0)
                w.view("<i4")[...] += units  # the next number is the next integer of its bits
        yield bytes(copy)


def _signs(shape: tuple[int, ...], run: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Signs 1 and -1, along each axis alike for `run` places: a graph may sum over any axis."""
    both = np.array([-1, 1], np.int32)
    signs: NDArray[np.int32] = rng.choice(both, ())
    for size in shape:
        along = rng.choice(both, size // run + 1).repeat(run)[:size]
        signs = np.multiply.outer(signs, along)
    return signs
