"""Decoder of an archive: quantised latents to rows, after a check of this machine."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.integers import Integers
from ae_archive.header import PROBED, PROBED_VALUES, Model
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import ArchiveError, BundleError
from ae_runtime.graphs import admission
from ae_runtime.model.engine import Engine, Feed
from ae_runtime.model.plan import make_plan

Array = NDArray[Any]
_PROVIDER = "CPUExecutionProvider"  # a GPU rounds products of float32 to fewer digits


def digest(graph: bytes) -> str:
    """Identity of a decoder.onnx in a header: half of its SHA-256, enough against accidents."""
    return hashlib.sha256(graph).hexdigest()[:32]


class Decoder:
    """Rows (R, D) of latents, by onnxruntime on the CPU; safe from many threads.

    model: of the header. graph: the bytes of decoder.onnx. row_shape: of the archive.
    """

    def __init__(self, model: Model, graph: bytes, row_shape: tuple[int, ...]) -> None:
        """Raises ArchiveError for a graph that is not the archive's, or that may not be run."""
        if digest(graph) != model.sha256:
            raise ArchiveError(
                f"the decoder is not the one that the archive was written with; "
                f"give the bundle {model.id[:12]}, as it was then"
            )
        self.model = model
        shape = row_shape if model.window is None else (model.window, *row_shape)
        self._feed = Port("z", "float32", [None, len(model.steps)])
        self._fetch = Port("x_hat", model.dtype, [None, *shape])
        try:
            needs = admission.admit("decoder.onnx", graph, [self._feed], [self._fetch])
        except BundleError as error:
            raise ArchiveError(f"the archive's model cannot be used: {error}") from None
        self._engine = Engine(
            {"decoder": graph},
            lambda provider: make_plan([needs], len(graph), provider),
            _PROVIDER,
        )
        self.step = model.step
        self.middle = np.array(model.middle, np.float64) * self.step
        each = np.array(model.decoder_error, np.float64)
        self.error = each if len(each) == 1 else each.reshape(row_shape)
        self._lock = threading.Lock()
        self._probed = False

    def latents(self, q: Integers, factor: float) -> NDArray[np.float32]:
        """Latents (W, K) of integers: two products and a sum of float64, rounded to float32."""
        return (q * (factor * self.step) + self.middle).astype(np.float32)

    def rows(self, q: Integers, factor: float) -> Array:
        """x_hat (W, ...) of latents in steps, (W, K). Raises ArchiveError if the probe fails."""
        with self._lock:
            if not self._probed:
                self._probe()
                self._probed = True
        return self.decode(self.latents(q, factor))

    def decode(self, z: NDArray[np.float32]) -> Array:
        """x_hat (W, ...) of latents (W, K)."""
        x_hat = np.empty((len(z), *self._fetch.row_shape), self.model.dtype)
        self._engine.run("decoder", [Feed("z", z, np.ascontiguousarray)], {"x_hat": x_hat})
        return x_hat

    def close(self) -> None:
        """Close the session."""
        self._engine.close()

    def _probe(self) -> None:
        probe = self.model.probe
        x_hat, error = self.probed(probe.spread)
        # A column that was empty in training has no number.
        expected = np.array(probe.x_hat, x_hat.dtype).astype(np.float64)
        off = np.abs(np.nan_to_num(x_hat.astype(np.float64)) - expected)
        allowed = probe.share * error
        if not (off <= allowed).all():
            worst = int(np.argmax(off - allowed))
            raise ArchiveError(
                f"this machine's arithmetic is off by {off[worst]:.2g} in the archive's probe, "
                f"where {allowed[worst]:.2g} is allowed; read it with another onnxruntime, or on "
                "another machine"
            )

    def probed(self, spread: int) -> tuple[Array, NDArray[np.float64]]:
        """Values of the probe's samples, and the decoder error of their columns.

        The latents of sample b are q[k] = spread * (h mod 15 - 7), where h is the upper half of
        (b * K + k + 1) * 2654435761 mod 2^32 (Knuth's multiplicative hash). Value i of it is that
        at 7919 * (4 * b + i) mod the size of a sample, in C order.
        """
        latent_dim = len(self.model.steps)
        hashed = (np.arange(1, PROBED * latent_dim + 1) * 2654435761 % (1 << 32)) >> 16
        q = spread * (hashed % 15 - 7).reshape(PROBED, latent_dim)
        x_hat = self.decode(self.latents(q, 1.0))
        error = np.broadcast_to(self.error, x_hat.shape).reshape(PROBED, -1)
        values = x_hat.reshape(PROBED, -1)
        sample = np.repeat(np.arange(PROBED), PROBED_VALUES)
        place = 7919 * np.arange(PROBED * PROBED_VALUES) % values.shape[1]
        return values[sample, place], error[sample, place]
