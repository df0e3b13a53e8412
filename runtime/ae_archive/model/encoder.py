"""Encoder of a bundle for writing: windows of rows, steps of latents, and the decoder error."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.components import windows_of
from ae_archive.error_bound import ErrorBound
from ae_archive.header import MAX_LATENT_DIM, MAX_VALUES, Model, Probe
from ae_archive.model.decoder import Decoder, digest
from ae_archive.model.decoder_error import Perturbed, decoder_error_of
from ae_runtime.autoencoder import Autoencoder
from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import DataError

Array = NDArray[Any]
Floats = NDArray[np.float64]
_LOOKED_AT = 256  # samples
_NUDGE = 0.5  # share of a latent's standard deviation


class Encoder:
    """Latents of rows (R, D), and the decoder that the archive's readers will use.

    model: for the header. graph: bytes of decoder.onnx. perturbed: copies of the decoder.
    """

    def __init__(self, ae: Autoencoder, first: Array, bound: ErrorBound, inside: bool) -> None:
        """first: rows (n, *row_shape) that are like the others. Raises DataError, BundleRefused."""
        self._ae = ae
        self._window = window_of(ae.manifest, first.shape[1:])
        self._shape = ae.input_shape
        self.graph = ae.bundle.files["decoder.onnx"]
        size = self._window or 1
        windows = windows_of(_spread_windows(first.reshape(len(first), -1), size), size)
        finite = ~np.isinf(windows).any(axis=1)  # windows with infinite values are not typical
        z = self._encode(windows[finite if finite.any() else ~finite][:_LOOKED_AT])
        blank = Model(
            id=ae.model_id,
            sha256=digest(self.graph),
            dtype=_dtype(ae.manifest),
            steps=[0] * ae.latent_dim,
            middle=[0] * ae.latent_dim,
            decoder_error=[1.0],
            probe=Probe(1, [], 1.0),
            window=self._window,
            inside=inside,
        )
        row_shape = first.shape[1:]
        decoder = Decoder(blank, self.graph, row_shape)
        steps = _rounded(_steps(z, decoder, bound.limits_at(1.0, prod(row_shape))))
        rounding = _rounding(ae.manifest, row_shape)
        error = decoder_error_of(self.graph, decoder.decode(z), z, rounding)
        model = msgspec.structs.replace(blank, steps=steps, decoder_error=error)
        middle = np.clip(np.rint(np.median(z, axis=0) / model.step), -(1 << 40), 1 << 40)
        model = msgspec.structs.replace(model, middle=middle.astype(np.int64).tolist())
        decoder.close()
        decoder = Decoder(model, self.graph, row_shape)
        self.model = msgspec.structs.replace(model, probe=_probe(z, decoder, bool(rounding.any())))
        decoder.close()
        self.decoder = Decoder(self.model, self.graph, row_shape)
        self.perturbed = Perturbed(self.model, self.graph, row_shape, rounding)

    def close(self) -> None:
        """Close the sessions."""
        self.decoder.close()
        self.perturbed.close()

    def latents(self, x: Array) -> NDArray[np.float32]:
        """Latents (W, K) of rows x (R, D), the last window filled up with the last row."""
        return self._encode(windows_of(x, self._window or 1))

    def _encode(self, windows: Array) -> NDArray[np.float32]:
        wanted = np.dtype(self._ae.manifest.inputs[0].dtype)
        if windows.dtype.kind in "iu" and wanted.kind == "f":
            # Large integers are rounded: residuals make up for what latents lose.
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
    """Why an archive cannot use the bundle's model; None if it can."""
    if manifest.is_mixed:
        return "its rows hold categories, which it gives back as likely ones; write without a model"
    if manifest.precision != "fp32":
        return "its int8 arithmetic jumps between machines; export it with --precision fp32"
    if manifest.latent.levels is not None:
        return "its decoder jumps between its words; train it with another bottleneck"
    if manifest.latent.dim > MAX_LATENT_DIM:
        return f"it has {manifest.latent.dim:,} latents, {MAX_LATENT_DIM:,} are the most"
    return None


def _dtype(manifest: Manifest) -> Any:
    return manifest.outputs[0].dtype


def _spread_windows(rows: Array, window: int) -> Array:
    """Rows of complete windows from all over the rows, at least one."""
    count = max(1, len(rows) // window)
    if count <= _LOOKED_AT:
        return rows[: count * window]
    begins = np.linspace(0, count - 1, _LOOKED_AT).astype(int) * window
    return rows[(begins[:, None] + np.arange(window)).reshape(-1)]


def _rounded(steps: Floats) -> list[int]:
    """Next smaller steps that a header can name."""
    fraction, octave = np.frexp(steps)  # fraction in [1/2, 1)
    n = 4 * (octave - 1) + np.floor(8 * fraction - 4)
    return [int(one) for one in np.clip(n, -400, 400)]


def _rounding(manifest: Manifest, row_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Values of a row that the decoder rounds to integers, (D,)."""
    if manifest.columns is not None and manifest.outputs[0].dtype != "uint8":
        return np.array([column.integer for column in manifest.columns])
    return np.full(prod(row_shape), manifest.outputs[0].dtype == "uint8")


def _steps(z: NDArray[np.float32], decoder: Decoder, limits: Floats) -> Floats:
    """Steps (K,) of equal effect: each costs a root mean square of 1 / sqrt(K) limits."""
    base = decoder.decode(z).astype(np.float64).reshape(-1, len(limits))
    # Columns do not count of which the decoder has no number, as one that was empty in training,
    # or that no decoder can reach this well, as one that is to be kept exactly.
    largest = np.abs(base).max(axis=0)
    counts = np.isfinite(largest) & (limits > largest * 2.0**-24)
    # Half of what lies between the outer sixths, a standard deviation of normal numbers: outliers,
    # as latents of rows with an infinite value, are no measure of the others.
    std = np.diff(np.quantile(z.astype(np.float64), (0.16, 0.84), axis=0), axis=0)[0] / 2
    steps = np.empty(len(std))
    for latent, width in enumerate(std):
        nudge = max(_NUDGE * float(width), 1e-6)
        moved = z.copy()
        moved[:, latent] += np.float32(nudge)
        off = decoder.decode(moved).astype(np.float64).reshape(base.shape) - base
        off = off[:, counts] / limits[counts]
        effect = sqrt(float(np.sum(np.square(off))) / (len(off) * len(limits))) / nudge
        # A latent without effect keeps its middle.
        steps[latent] = sqrt(12 / len(steps)) / max(effect, 1e-9 / max(nudge, 1e-6))
    return np.clip(steps, 1e-30, 1e30)


def _probe(z: NDArray[np.float32], decoder: Decoder, rounding: bool) -> Probe:
    off = np.abs(z.astype(np.float64) - decoder.middle) / decoder.step
    spread = int(np.clip(np.ceil(np.median(off) / 4), 1, 1 << 20))
    values, _ = decoder.probed(spread)
    x_hat = [float(str(value)) for value in np.nan_to_num(values)]
    return Probe(spread, x_hat, 1.0 if rounding else 0.25)
