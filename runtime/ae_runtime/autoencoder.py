"""The object that an application holds: encode, decode and reconstruct rows with a bundle."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.arrays import checked, converter
from ae_runtime.bundle import Bundle, open_bundle
from ae_runtime.devices import Device, check_device
from ae_runtime.engine import Engine
from ae_runtime.manifest import Manifest


def load(
    location: str | PathLike[str],
    *,
    device: Device = "auto",
    threads: int | None = None,
    tile: int | None = None,
) -> Autoencoder:
    """The autoencoder of the bundle in the folder `location`, every check of loading passed.

    device: "auto" or "cpu"; this version computes on the CPU, so both mean the same.
    threads: rows are spread over so many threads; None: the processors this process may use.
    tile: rows in one call of onnxruntime; None: 256. Results depend on neither.
    Raises BundleNotFound, BundleCorrupt, BundleTooNew, BundleRefused, DeviceUnavailable, or
    MissingExtra where onnxruntime is not installed (when rows are first computed).
    """
    check_device(device)
    for name, value in (("threads", threads), ("tile", tile)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    return Autoencoder(open_bundle(location), threads=threads, tile=tile)


class Autoencoder:
    """A loaded bundle. Safe to call from many threads; pickles; survives fork and spawn.

    Its file was read once: the folder may change or vanish afterwards.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, tile: int | None = None
    ) -> None:
        self.bundle = bundle
        self._options = {"threads": threads, "tile": tile}
        self._engine = Engine(
            {name: bundle.files[f"{name}.onnx"] for name in ("encoder", "decoder")},
            threads,
            tile,
        )
        self._x, self._x_hat = bundle.manifest.inputs[0], bundle.manifest.outputs[0]
        self._z = bundle.manifest.latent.port

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def model_id(self) -> str:
        """SHA-256 of the trained weights and the schema."""
        return self.manifest.model_id

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        return self._x.row_shape

    @property
    def latent_dim(self) -> int:
        """K, the numbers that stand for one sample."""
        return self.manifest.latent.dim

    @property
    def threads(self) -> int:
        """Threads that rows are spread over."""
        return self._engine.threads

    def encode(self, x: ArrayLike) -> NDArray[np.float32]:
        """Latents z of a batch, (B, latent_dim).

        x: (B, *input_shape) in data units, since scaling is inside the graph; any real dtype that
        converts to the graph's (float64 to float32 rounds). NaN counts as missing and is filled
        with the training median; an infinity is taken as a value 1e6 deviations away. B may be 0.
        Deterministic: n rows at once give the same bits as n calls with one row.
        Raises ShapeMismatch or DtypeMismatch.
        """
        x = checked(x, self._x)
        z = np.empty((len(x), self.latent_dim), np.float32)
        return self._engine.run("encoder", "x", x, converter(x, self._x), "z", z)

    def decode(self, z: ArrayLike) -> NDArray[Any]:
        """Reconstructions x_hat of latents, (B, *input_shape), in the dtype and units of x.

        z: (B, latent_dim), converted to float32. Integers come back rounded, and clipped to
        their dtype's range. Raises ShapeMismatch or DtypeMismatch.
        """
        z = checked(z, self._z, "z")
        x_hat = np.empty((len(z), *self._x_hat.row_shape), self._x_hat.dtype)
        return self._engine.run("decoder", "z", z, converter(z, self._z), "x_hat", x_hat)

    def reconstruct(self, x: ArrayLike) -> NDArray[Any]:
        """decode(encode(x)): what the model keeps of x, in x's shape, dtype and units."""
        return self.decode(self.encode(x))

    def __repr__(self) -> str:
        return f"<Autoencoder {self.input_shape} -> {self.latent_dim}, {self.model_id[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The files travel, the sessions are opened again where the pickle is loaded.
        return _revive, (self.bundle, self._options)


def _revive(bundle: Bundle, options: dict[str, Any]) -> Autoencoder:
    return Autoencoder(bundle, **options)
