"""How far a decoder may be off on another machine, told by copies of it with moved weights."""

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
# Of 112 decoders, in other orders of sums and in float64, 101 were off by at most a quarter of the
# margin that this gives, as the probe allows; those of the longest sums by at most 0.72 of it (make
# bench-margins).
_SAFETY = 32
# A sum of float32 in any order is the exact sum of products that are each changed a little (Higham,
# Accuracy and Stability, 2002, ch. 3), and moved weights are such (cf. Parker, Monte Carlo
# Arithmetic, 1997). Neighbours that are moved apart show large terms that cancel each other, and
# those that are moved alike large partial sums: of each there is a copy.
_STRETCHES = (1, 4, 32, 256)
_SHARE = 0.25


def margin_of(
    graph: bytes, x_hat: Array, z: NDArray[np.float32], jumps: NDArray[np.bool_]
) -> list[float]:
    """What another machine may be off in each column of x_hat, which the graph gives for z.

    jumps: (D,), columns of whole numbers, that may be off by 1.
    """
    columns = len(jumps)
    if jumps.all():
        return [1.0] * columns
    here = x_hat.astype(np.float64).reshape(-1, columns)
    off = np.abs(here).max(axis=0) * 2.0**-24
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite values
        for other in (graph, *moved(graph)):
            off = np.maximum(off, np.abs(_alone(other, z).reshape(here.shape) - here).max(axis=0))
        off = np.fmin(_SAFETY * off, MAX_BOUND / 2)  # which NaN becomes: it has no number there
    return [
        1.0 if jump else float(f"{value * 1.05:.2g}")
        for jump, value in zip(jumps, off, strict=True)
    ]


class Moved:
    """The copies of a decoder, by which chunks are found that its margin is not for."""

    def __init__(
        self, model: Model, graph: bytes, row_shape: tuple[int, ...], jumps: NDArray[np.bool_]
    ) -> None:
        """model, graph, row_shape: as of the decoder. jumps: as of margin_of."""
        self._decoders = [
            Decoder(replace(model, sha256=digest(copy)), copy, row_shape) for copy in moved(graph)
        ]
        self._allowed = np.where(jumps, 1.0, _SHARE * np.array(model.margin))

    def bear(self, z: NDArray[np.float32], x_hat: Array) -> NDArray[np.bool_]:
        """Whether x_hat (W, ...) of latents z (W, K) is steady enough for its margin, (D,).

        It may move by _SHARE of that, which is several times what the first rows moved by.
        """
        columns = len(self._allowed)
        here, found = x_hat.astype(np.float64).reshape(-1, columns), np.ones(columns, np.bool_)
        for decoder in self._decoders:
            with np.errstate(invalid="ignore"):  # of infinite values
                off = np.abs(decoder.decode(z).reshape(here.shape) - here)
            found &= (off <= self._allowed).all(axis=0)
        return found

    def close(self) -> None:
        """Give the sessions back."""
        for decoder in self._decoders:
            decoder.close()


def _alone(graph: bytes, z: NDArray[np.float32]) -> Floats:
    """x_hat by the graph as it stands, a row at a time, which may add in another order."""
    session = open_session(graph, optimised=False)
    rows = [compute(session, ["x_hat"], {"z": row[None]})[0] for row in z]
    return np.concatenate(rows).astype(np.float64)


def moved(graph: bytes) -> Iterator[bytes]:
    """Copies of the graph with every weight of float32 a unit in the last place larger or smaller.

    Those of float64 stay: in another order of sums they are as good as exact.
    """
    rng = np.random.default_rng(0)
    for stretch in _STRETCHES:
        copy = bytearray(graph)
        read = read_graph(copy)
        # Of another factor the shape is another, and another power of a negative number is none.
        kept = {
            name for node in read.nodes if node.op in ("Resize", "Pow") for name in node.inputs[1:]
        }
        named = [(tensor.name, tensor) for tensor in read.initializers]
        named += [(node.outputs[0], tensor) for node in read.nodes for tensor in node.tensors]
        for name, tensor in named:
            if tensor.dtype == FLOAT and name not in kept:
                w = np.frombuffer(tensor.raw, "<f4").reshape(tensor.dims)
                units = np.where(np.isfinite(w) & (w != 0), _signs(w.shape, stretch, rng), 0)
                w.view("<i4")[...] += units  # the next number is the next whole number of its bits
        yield bytes(copy)


def _signs(shape: tuple[int, ...], stretch: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """1 and -1, along each axis the same for `stretch` places: a graph may sum over any axis."""
    both = np.array([-1, 1], np.int32)
    signs: NDArray[np.int32] = rng.choice(both, ())
    for size in shape:
        along = rng.choice(both, size // stretch + 1).repeat(stretch)[:size]
        signs = np.multiply.outer(signs, along)
    return signs
