"""A bundle's graphs over arrays: latents, rows, scores and samples; no verb, no table, no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Manifest, Port
from ae_runtime.bundle.opening import Bundle
from ae_runtime.errors import ShapeMismatch
from ae_runtime.model.arrays import checked, conversion
from ae_runtime.model.devices import provider_of, resolve
from ae_runtime.model.engine import Engine, Feed
from ae_runtime.model.plan import Plan, block_rows, make_plan, memory_of
from ae_runtime.model.prefix import whole

Array = NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Model:
    """The graphs of a bundle, for the arrays that they take and give.

    Safe to call from many threads; pickles; survives fork and spawn.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        threads: int | None = None,
        tile: int | None = None,
        max_memory: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        """device, threads, tile, max_memory: as in autoencoder.load.

        block_rows: how many rows of a file are read, computed and written at a time; None: as many
        as the bytes of a row allow. Results do not depend on it.
        """
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self.options: dict[str, Any] = {
            "device": device,
            "threads": threads,
            "tile": tile,
            "max_memory": max_memory,
            "block_rows": block_rows,
        }
        graphs = {name: bundle.files[f"{name}.onnx"] for name in bundle.needs}
        plan_for = partial(
            make_plan,
            bundle.needs.values(),
            sum(map(len, graphs.values())),
            threads=threads,
            tile=tile,
            max_memory=max_memory,
        )
        self.engine = Engine(graphs, plan_for, resolve(device))
        self.inputs, self.outputs = self.manifest.inputs, self.manifest.outputs
        self.z = self.manifest.latent.port
        self.latent_dim = self.manifest.latent.dim

    @property
    def plan(self) -> Plan:
        """Rows in one call of onnxruntime, and calls at the same time."""
        return self.engine.plan

    def planned(self, plan: Plan) -> Model:
        """Compute by `plan` from now on; returns the model itself."""
        self.engine.plan = plan
        return self

    @property
    def provider(self) -> str:
        """The provider of onnxruntime that runs the graphs; opens the encoder to know it."""
        return provider_of(self.engine.session("encoder"))

    def open(self, graph: str) -> None:
        """Open a graph's session. With device "auto" the plan is known only then."""
        self.engine.session(graph)

    def close(self) -> None:
        """Give threads and memory back. A later call takes them again."""
        self.engine.close()

    def rows(self, arrays: Sequence[ArrayLike]) -> list[Array]:
        """Check that arrays are rows that the encoder's graph takes; returns them uncopied.

        Raises ShapeMismatch, DtypeMismatch or DataError.
        """
        pairs = zip(arrays, self.inputs, strict=True)
        return [checked(array, port, port.name) for array, port in pairs]

    def encode(self, *arrays: ArrayLike, alone: bool = False) -> NDArray[np.float32]:
        """Latents z (B, latent_dim) of rows.

        arrays: x; for a mixed table x_num (B, P) float64, NaN where missing, and x_cat (B, Q)
        int32, each category's place in its column's levels, -1 where missing. alone: in this thread
        only, for callers with threads of their own. Raises ShapeMismatch or DtypeMismatch.
        """
        rows = self.rows(arrays)
        if any(len(each) != len(rows[0]) for each in rows):
            pairs = zip(rows, self.inputs, strict=True)
            lengths = " and ".join(f"{len(each)} of {port.name}" for each, port in pairs)
            raise ShapeMismatch(f"the arrays must have as many rows as each other, found {lengths}")
        z = np.empty((len(rows[0]), self.latent_dim), np.float32)
        self.engine.run("encoder", _feeds(rows, self.inputs), {"z": z}, alone=alone)
        return z

    def decode(self, z: ArrayLike, *, alone: bool = False) -> tuple[Array, ...]:
        """Rows decoded from latents, as the arrays that the decoder's graph gives.

        z: (B, K), or a prefix of ordered latents. Returns (x_hat,); for a mixed table (x_hat_num
        (B, P) float64, x_hat_cat (B, Q) int32, x_hat_prob (B, all levels) float32: the probability
        of each word, column after column). Raises ShapeMismatch or DtypeMismatch.
        """
        codes = checked(whole(self.manifest.latent, z), self.z, "z")
        return tuple(self._run("decoder", [codes], [self.z], self.outputs, alone).values())

    def score_rows(self, arrays: Sequence[Array], *, alone: bool = False) -> dict[str, Array]:
        """Run the scorer's graph; returns its outputs by name.

        arrays: one for each of manifest.scorer_feeds, in that order.
        """
        manifest = self.manifest
        return self._run("scorer", arrays, manifest.scorer_feeds, manifest.scorer_fetches, alone)

    def latents_of(self, noise: NDArray[np.float32], *, alone: bool = False) -> NDArray[np.float32]:
        """Latents (B, latent_dim) that the sampler makes of uniform noise in [0, 1).

        noise: (B, manifest.sampler.noise_dim) float32.
        """
        (port,) = self.manifest.sampler_feeds
        rows = checked(noise, port, port.name)
        z: NDArray[np.float32] = self._run("sampler", [rows], [port], [self.z], alone)["z"]
        return z

    def _run(
        self,
        graph: str,
        arrays: Sequence[Array],
        feeds: Sequence[Port],
        fetches: Sequence[Port],
        alone: bool,
    ) -> dict[str, Array]:
        count = len(arrays[0])
        outs = {port.name: np.empty((count, *port.row_shape), port.dtype) for port in fetches}
        self.engine.run(graph, _feeds(arrays, feeds), outs, alone=alone)
        return outs

    def in_order(
        self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
    ) -> Iterator[Result]:
        """Yield work(item) of each item, in order, by this model's threads; see Engine.in_order."""
        return self.engine.in_order(work, items, ahead)

    def block_rows(self, row_bytes: int) -> int:
        """Number of rows in a block of a file: one tile or less, or several whole tiles.

        row_bytes: bytes read and bytes written for one row, added.
        """
        asked: int | None = self.options["block_rows"]
        return asked or block_rows(row_bytes, self.plan, self.options["max_memory"])

    def spare_memory(self, row_bytes: int) -> int | None:
        """Bytes that max_memory leaves for reading a file, beside the model and blocks of rows.

        row_bytes: as in block_rows. Returns None without max_memory.
        """
        most, plan = self.options["max_memory"], self.plan
        if most is None:
            return None
        graph_bytes = sum(map(len, self.engine.graphs.values()))
        blocks = (plan.threads + 4) * self.block_rows(row_bytes) * row_bytes
        return int(most - memory_of(plan, self.bundle.needs.values(), graph_bytes) - blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        # The files travel, the sessions are opened again where the pickle is loaded.
        return partial(Model, **self.options), (self.bundle,)


def row_bytes(ports: Iterable[Port]) -> int:
    """Bytes of one row of these inputs or outputs together."""
    return sum(np.dtype(port.dtype).itemsize * prod(port.row_shape) for port in ports)


def _feeds(arrays: Sequence[Array], ports: Sequence[Port]) -> list[Feed]:
    return [
        Feed(port.name, rows, conversion(rows.dtype, np.dtype(port.dtype)).convert)
        for rows, port in zip(arrays, ports, strict=True)
    ]
