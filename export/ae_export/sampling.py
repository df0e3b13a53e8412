"""The graph of a sampler, and the proof that it computes what the module does in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_export.graph import trace
from ae_export.reference import TOLERANCE
from ae_export.verify import in_all_ways
from ae_runtime.bundle.manifest import SAMPLER, Manifest
from ae_runtime.errors import VerificationFailed
from ae_train.network.sampler import Sampler

Array = NDArray[Any]
ROWS, GOLDEN_ROWS = 256, 32
# Share of latents, where these are rounded or chosen, that a rounding error may make jump.
JUMPS = 0.01


def sampler_graph(sampler: Sampler, seed: int, manifest: Manifest) -> bytes:
    """The graph of a sampler, held against the module in float64 on noise of that seed.

    In batches of 1, 2, 7 and 64, each latent may be off by 1e-5 of the largest one; where latents
    are rounded or chosen, one in a hundred may be off by more. Raises VerificationFailed.
    """
    noise = draw(sampler, seed, ROWS)
    examples = [torch.from_numpy(noise[:2])]
    raw = trace(SAMPLER, sampler, examples, manifest.sampler_feeds, [manifest.latent.port])
    expected = latents(sampler, noise)
    allowed = TOLERANCE * max(float(np.abs(expected).max()), 1.0)
    for (z,), batch in in_all_ways(raw, ["z"], {"noise": noise}):
        off = ~(np.abs(z - expected) <= allowed)
        if off.mean() > (0 if sampler.bottleneck.is_identity else JUMPS):
            raise VerificationFailed(
                f"the graph disagrees with the sampler: row {int(np.argwhere(off)[0][0])}, "
                f"batch {batch}; nothing was written"
            )
    return raw


def golden_samples(sampler: Sampler, seed: int) -> dict[str, Array]:
    """Arrays of golden.npz for a sampler: rows of noise that cannot jump, and their latents."""
    noise = draw(sampler, seed, 4 * GOLDEN_ROWS)
    z, nudged = latents(sampler, noise), latents(sampler, noise, TOLERANCE)
    still = np.flatnonzero((np.abs(z - nudged) <= 0.1 * np.abs(z).max()).all(axis=1))[:GOLDEN_ROWS]
    unit = np.full(z.shape[1], max(float(np.abs(z).max()), 1.0))
    return {"noise": noise[still], "noise_z": z[still], "noise_z_deviation": unit}


def draw(sampler: Sampler, seed: int, rows: int) -> Array:
    """Uniform noise in [0, 1), (rows, noise_dim) float32."""
    return np.random.default_rng(seed).random((rows, sampler.noise_dim), np.float32)


def latents(sampler: Sampler, noise: Array, shift: float = 0.0) -> Array:
    """Latents of noise, computed in float64, as float32. shift: added to the bottleneck's input."""
    exact = copy.deepcopy(sampler).double()
    with torch.no_grad():
        h = exact.codes(torch.from_numpy(noise)) + shift
        return exact.bottleneck.encode(h.float()).numpy()
