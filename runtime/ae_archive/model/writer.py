"""A bundle made ready to write with: how rows are cut, latents stepped, and errors allowed for."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.components import windows_of
from ae_archive.header import MAX_LATENT_DIM, MAX_VALUES, Model, Probe
from ae_archive.model.decoder import Decoder, digest
from ae_archive.model.margin import Moved, margin_of
from ae_archive.promise import Promise
from ae_runtime.autoencoder import Autoencoder
from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import DataError

Array = NDArray[Any]
Floats = NDArray[np.float64]
_LOOKED_AT = 256  # samples
_NUDGE = 0.5  # of a latent's deviation


class Writer:
    """Latents of rows (R, D), and the decoder that the archive's readers will use."""

    def __init__(self, ae: Autoencoder, first: Array, promise: Promise, inside: bool) -> None:
        """first: rows (n, *row_shape) that are like the others. Raises DataError, BundleRefused."""
        self._ae = ae
        self._window = window_of(ae.manifest, first.shape[1:])
        self._shape = ae.input_shape
        self.graph = ae.bundle.files["decoder.onnx"]
        windows = windows_of(
            _some(first.reshape(len(first), -1), self._window or 1), self._window or 1
        )
        usual = ~np.isinf(windows).any(axis=1)  # the others are no measure of these
        z = self._encode(windows[usual if usual.any() else ~usual][:_LOOKED_AT])
        blank = Model(
            id=ae.model_id,
            sha256=digest(self.graph),
            dtype=_dtype(ae.manifest),
            steps=[0] * ae.latent_dim,
            middle=[0] * ae.latent_dim,
            margin=[1.0],
            probe=Probe(1, [], 1.0),
            window=self._window,
            inside=inside,
        )
        decoder = Decoder(blank, self.graph, first.shape[1:])
        steps = _rounded(_steps(z, decoder, promise.bound_at(1.0, prod(first.shape[1:]))))
        jumps = _jumps(ae.manifest, first.shape[1:])
        x_hat = decoder.decode(z)
        margin = margin_of(self.graph, x_hat, z, jumps)
        model = msgspec.structs.replace(blank, steps=steps, margin=margin)
        middle = np.clip(np.rint(np.median(z, axis=0) / model.step), -(1 << 40), 1 << 40)
        model = msgspec.structs.replace(model, middle=middle.astype(np.int64).tolist())
        decoder.close()
        decoder = Decoder(model, self.graph, first.shape[1:])
        self.model = msgspec.structs.replace(model, probe=_probe(z, decoder, bool(jumps.any())))
        decoder.close()
        self.decoder = Decoder(self.model, self.graph, first.shape[1:])
        self.moved = Moved(self.model, self.graph, first.shape[1:], jumps)

    def close(self) -> None:
        """Give the sessions back."""
        self.decoder.close()
        self.moved.close()

    def encode(self, x: Array) -> NDArray[np.float32]:
        """The latents (W, K) of rows x (R, D), the last window filled up with the last row."""
        return self._encode(windows_of(x, self._window or 1))

    def _encode(self, windows: Array) -> NDArray[np.float32]:
        wanted = np.dtype(self._ae.manifest.inputs[0].dtype)
        if windows.dtype.kind in "iu" and wanted.kind == "f":
            # Rounded where it is large: what latents do not tell is stored beside them.
            windows = windows.astype(wanted)
        return self._ae.encode(windows.reshape(len(windows), *self._shape))


def window_of(manifest: Manifest, row_shape: tuple[int, ...]) -> int | None:
    """Rows that go through the model together, None where each row is a sample.

    Raises DataError for rows, or a model, that an archive cannot use.
    """
    why = _unfit(manifest)
    if why:
        raise DataError(f"the bundle's model cannot be used for an archive: {why}")
    shape = manifest.inputs[0].row_shape
    if row_shape == shape:
        return None
    if manifest.kind == "series" and row_shape == shape[1:] and prod(shape) <= MAX_VALUES:
        return shape[0]
    raise DataError(
        f"the rows have shape {row_shape}, the bundle's model takes {shape}; "
        "choose the bundle of this data, or write without a model"
    )


def _unfit(manifest: Manifest) -> str | None:
    if manifest.is_mixed:
        return "its rows hold words, which it gives back as likely ones; write without a model"
    if manifest.precision != "fp32":
        return "its int8 arithmetic jumps between machines; export it with --precision fp32"
    if manifest.latent.bottleneck == "quantized":
        return "its decoder jumps between its words; train it with another bottleneck"
    if manifest.latent.dim > MAX_LATENT_DIM:
        return f"it has {manifest.latent.dim:,} latents, {MAX_LATENT_DIM:,} are the most"
    return None


def _dtype(manifest: Manifest) -> Any:
    return manifest.outputs[0].dtype


def _some(rows: Array, window: int) -> Array:
    """Whole windows from all over the rows, at least one."""
    count = max(1, len(rows) // window)
    if count <= _LOOKED_AT:
        return rows[: count * window]
    begins = np.linspace(0, count - 1, _LOOKED_AT).astype(int) * window
    return rows[(begins[:, None] + np.arange(window)).reshape(-1)]


def _rounded(steps: Floats) -> list[int]:
    """The next smaller steps that a header can name."""
    fraction, octave = np.frexp(steps)  # fraction in [1/2, 1)
    n = 4 * (octave - 1) + np.floor(8 * fraction - 4)
    return [int(one) for one in np.clip(n, -400, 400)]


def _jumps(manifest: Manifest, row_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Values of a row that the decoder rounds to whole numbers, (D,)."""
    if manifest.columns is not None and manifest.outputs[0].dtype != "uint8":
        return np.array([column.integer for column in manifest.columns])
    return np.full(prod(row_shape), manifest.outputs[0].dtype == "uint8")


def _steps(z: NDArray[np.float32], decoder: Decoder, bound: Floats) -> Floats:
    """Steps (K,) that are felt alike: each costs a root mean square of 1 / sqrt(K) bounds."""
    base = decoder.decode(z).astype(np.float64).reshape(-1, len(bound))
    # Nothing is felt in columns of which the decoder has no number, as of one that was empty in
    # training, or that no decoder tells this well, as of one that is to be kept exactly.
    largest = np.abs(base).max(axis=0)
    told = np.isfinite(largest) & (bound > largest * 2.0**-24)
    # Half of what lies between the outer sixths, a deviation of normal numbers: outliers, as rows
    # with an infinite value have, are no measure of the others.
    deviation = np.diff(np.quantile(z.astype(np.float64), (0.16, 0.84), axis=0), axis=0)[0] / 2
    steps = np.empty(len(deviation))
    for latent, width in enumerate(deviation):
        nudge = max(_NUDGE * float(width), 1e-6)
        moved = z.copy()
        moved[:, latent] += np.float32(nudge)
        off = decoder.decode(moved).astype(np.float64).reshape(base.shape) - base
        off = off[:, told] / bound[told]
        felt = sqrt(float(np.sum(np.square(off))) / (len(off) * len(bound))) / nudge
        # A latent that is not felt keeps its middle.
        steps[latent] = sqrt(12 / len(steps)) / max(felt, 1e-9 / max(nudge, 1e-6))
    return np.clip(steps, 1e-30, 1e30)


def _probe(z: NDArray[np.float32], decoder: Decoder, jumps: bool) -> Probe:
    off = np.abs(z.astype(np.float64) - decoder.middle) / decoder.step
    spread = int(np.clip(np.ceil(np.median(off) / 4), 1, 1 << 20))
    values, _ = decoder.probed(spread)
    return Probe(
        spread, [float(str(value)) for value in np.nan_to_num(values)], 1.0 if jumps else 0.25
    )
