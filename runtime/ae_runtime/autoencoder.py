"""The object that an application holds: encode, decode and reconstruct rows with a bundle."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.arrays import checked, converter
from ae_runtime.bundle import Bundle, open_bundle
from ae_runtime.devices import Device, check_device
from ae_runtime.engine import Engine, Feed
from ae_runtime.errors import ShapeMismatch
from ae_runtime.manifest import Manifest


def load(
    location: str | PathLike[str] | bytes,
    *,
    device: Device = "auto",
    threads: int | None = None,
    tile: int | None = None,
) -> Autoencoder:
    """The autoencoder of the bundle `location`, every check of loading passed.

    location: the bundle's folder, a .zip that holds its files at the root, or the bytes of one.
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
        self._inputs, self._outputs = bundle.manifest.inputs, bundle.manifest.outputs
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
        """The shape of one sample, without the batch axis; of a mixed table, its numbers."""
        return self._inputs[0].row_shape

    @property
    def latent_dim(self) -> int:
        """K, the numbers that stand for one sample."""
        return self.manifest.latent.dim

    @property
    def threads(self) -> int:
        """Threads that rows are spread over."""
        return self._engine.threads

    def encode(self, x: Any) -> NDArray[np.float32]:
        """Latents z of a batch, (B, latent_dim).

        x: (B, *input_shape) in data units, since scaling is inside the graph; any real dtype that
        converts to the graph's (float64 to float32 rounds). NaN counts as missing and is filled
        with the training median; an infinity is taken as a value 1e6 deviations away. B may be 0.
        For a mixed table a dict of 1-d columns, or anything with the Arrow C stream (pandas,
        polars, pyarrow), see columns.to_arrays.
        Deterministic: n rows at once give the same bits as n calls with one row.
        Raises ShapeMismatch, DtypeMismatch or DataError.
        """
        return self.encode_arrays(*self._arrays_of(x))

    def decode(self, z: ArrayLike) -> Any:
        """Reconstructions x_hat of latents, (B, *input_shape), in the dtype and units of x.

        z: (B, latent_dim), converted to float32. Integers come back rounded, and clipped to
        their dtype's range. Mixed tables come back as a dict of columns: float64 numbers, and
        words as objects. Raises ShapeMismatch or DtypeMismatch.
        """
        return self._rows_of(self.decode_arrays(z))

    def reconstruct(self, x: Any) -> Any:
        """decode(encode(x)): what the model keeps of x, in x's shape, dtype and units."""
        return self.decode(self.encode(x))

    def encode_arrays(self, *arrays: ArrayLike) -> NDArray[np.float32]:
        """Like encode, for the arrays that the graph takes.

        arrays: x; of a mixed table x_num (B, P) float64, NaN where missing, and x_cat (B, Q)
        int32, the place of a word in its column's levels and -1 where missing.
        Raises ShapeMismatch or DtypeMismatch.
        """
        feeds = []
        for array, port in zip(arrays, self._inputs, strict=True):
            rows = checked(array, port, port.name)
            feeds.append(Feed(port.name, rows, converter(rows, port)))
        count = len(feeds[0].rows)
        if any(len(feed.rows) != count for feed in feeds):
            lengths = " and ".join(f"{len(feed.rows)} of {feed.name}" for feed in feeds)
            raise ShapeMismatch(f"the arrays must have as many rows as each other, found {lengths}")
        z = np.empty((count, self.latent_dim), np.float32)
        self._engine.run("encoder", feeds, {"z": z})
        return z

    def decode_arrays(self, z: ArrayLike) -> tuple[NDArray[Any], ...]:
        """Like decode, as the arrays that the graph gives.

        (x_hat,); of a mixed table (x_hat_num (B, P) float64, x_hat_cat (B, Q) int32, x_hat_prob
        (B, all levels) float32: the probability of each word, column after column).
        Raises ShapeMismatch or DtypeMismatch.
        """
        z = checked(z, self._z, "z")
        outs = {
            port.name: np.empty((len(z), *port.row_shape), port.dtype) for port in self._outputs
        }
        self._engine.run("decoder", [Feed("z", z, converter(z, self._z))], outs)
        return tuple(outs.values())

    def _arrays_of(self, x: Any) -> tuple[Any, ...]:
        if not self.manifest.is_mixed:
            return (x,)
        from ae_runtime.columns import to_arrays  # words and dates: not for arrays of numbers

        return to_arrays(x, self.manifest.columns or ())

    def _rows_of(self, arrays: tuple[NDArray[Any], ...]) -> Any:
        if not self.manifest.is_mixed:
            return arrays[0]
        from ae_runtime.table import from_blocks

        return from_blocks(arrays[0], arrays[1], self.manifest.columns or ())

    def __repr__(self) -> str:
        return f"<Autoencoder {self.input_shape} -> {self.latent_dim}, {self.model_id[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The files travel, the sessions are opened again where the pickle is loaded.
        return _revive, (self.bundle, self._options)


def _revive(bundle: Bundle, options: dict[str, Any]) -> Autoencoder:
    return Autoencoder(bundle, **options)
