"""Samples, whose latents sampler.onnx makes from noise, and interpolation between two rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import DataError
from ae_runtime.model.model import Model

Array = NDArray[Any]


def noise_of(manifest: Manifest, seed: int | None) -> np.random.Generator:
    """The generator of the noise that samples are drawn from.

    seed: None for another one at each call. Raises DataError for a bundle without a sampler.
    """
    if manifest.sampler is None:
        raise DataError(
            "the bundle draws no samples; train with this version of ae-toolkit and export again"
        )
    # The generator's bits and their way to [0, 1) are fixed by numpy's promise for PCG64.
    return np.random.Generator(np.random.PCG64(seed))


def draw(model: Model, count: int, seed: int | None) -> NDArray[np.float32]:
    """Latents of samples, (count, latent_dim): for a seed the same on every machine, to 1e-5.

    Raises DataError for a bundle without a sampler.
    """
    random = noise_of(model.manifest, seed)
    if count < 0:
        raise ValueError(f"n is {count}; it must be at least 0")
    (port,) = model.manifest.sampler_feeds
    return model.latents_of(random.random((count, *port.row_shape), np.float32))


def within_range(manifest: Manifest, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Clip the numbers that a decoder gave to each column's range over the training rows."""
    numbers = [column for column in manifest.columns or () if not column.levels]
    if not numbers:
        return arrays
    ends = [(column.min, column.max) for column in numbers]
    low, high = (
        np.array([np.nan if end is None else end for end in side], arrays[0].dtype)
        for side in zip(*ends, strict=True)
    )
    return (np.fmin(np.fmax(arrays[0], low), high), *arrays[1:])


def between(manifest: Manifest, ends: Sequence[Array], steps: int) -> NDArray[np.float32]:
    """Latents on the straight line from one to another, both included, (steps, latent_dim).

    ends: two latents (latent_dim,). Quantized latents are rounded to the nearest of their levels.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}; it must be at least 2, the two ends")
    share = np.linspace(0, 1, steps)[:, None]
    z = np.asarray((1 - share) * ends[0] + share * ends[1])
    if manifest.latent.levels:
        levels = np.array(manifest.latent.levels)
        z = (2 * np.clip(np.rint((levels * (z + 1) - 1) / 2), 0, levels - 1) + 1) / levels - 1
    return z.astype(np.float32)
