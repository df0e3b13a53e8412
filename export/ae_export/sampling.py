"""The graph of a sampler, and the proof that it computes what the module does in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_export.export_source import Subject
from ae_export.graph import trace
from ae_export.reference import TOLERANCE
from ae_export.verify import BATCHES, in_batches
from ae_runtime.bundle.manifest import SAMPLER, Manifest
from ae_runtime.errors import BundleRefused, VerificationFailed
from ae_runtime.graphs.admission import ANY_BYTES, admit
from ae_runtime.model.devices import open_session
from ae_train.network.sampler import Sampler

Array = NDArray[Any]
ROWS, GOLDEN_ROWS = 256, 32
# Codes that jump may fall to the other side of where they do for this share of the numbers.
JUMPS = 0.01


def sampler_graph(subject: Subject, manifest: Manifest) -> bytes:
    """The graph of the subject's sampler, held against the module in float64.

    In batches of 1, 2, 7 and 64, each latent may be off by 1e-5 of the latents' deviation, and
    those of codes that jump at all for one in a hundred. Raises VerificationFailed.
    """
    sampler = subject.sampler
    assert sampler is not None
    feeds, z = manifest.sampler_feeds, [manifest.latent.port]
    noise = draw(subject, sampler, ROWS)
    raw = trace(sampler, [torch.from_numpy(noise[:2])], feeds, z)
    try:
        admit(SAMPLER, raw, feeds, z, ANY_BYTES)
    except BundleRefused as error:
        raise VerificationFailed(f"{error}; nothing was written") from None
    expected = latents(sampler, noise)
    allowed = TOLERANCE * max(float(np.abs(expected).max()), 1.0)
    for optimised in (True, False):
        session = open_session(raw, optimised=optimised)
        for batch in BATCHES:
            found = in_batches(session, ["z"], {"noise": noise}, batch)[0]
            off = ~(np.abs(found - expected) <= allowed)
            if off.mean() > (0 if sampler.bottleneck.is_identity else JUMPS):
                raise VerificationFailed(
                    f"the graph disagrees with the sampler: row {int(np.argwhere(off)[0][0])}, "
                    f"batch {batch}; nothing was written"
                )
    return raw


def golden_samples(subject: Subject, manifest: Manifest) -> dict[str, Array]:
    """What golden.npz holds of the sampler: noise, and the latents of it that cannot jump."""
    sampler = subject.sampler
    assert sampler is not None
    noise = draw(subject, sampler, 4 * GOLDEN_ROWS)
    z, nudged = latents(sampler, noise), latents(sampler, noise, TOLERANCE)
    still = np.flatnonzero((np.abs(z - nudged) <= 0.1 * np.abs(z).max()).all(axis=1))[:GOLDEN_ROWS]
    unit = np.full(z.shape[1], max(float(np.abs(z).max()), 1.0))
    return {"noise": noise[still], "noise_z": z[still], "noise_z_deviation": unit}


def draw(subject: Subject, sampler: Sampler, rows: int) -> Array:
    """Uniform noise in [0, 1), (rows, noise_dim) float32."""
    return np.random.default_rng(subject.seed).random((rows, sampler.noise_dim), np.float32)


def latents(sampler: Sampler, noise: Array, shift: float = 0.0) -> Array:
    """What the module gives in float64, as float32. shift: added to what the bottleneck takes."""
    exact = copy.deepcopy(sampler).double()
    with torch.no_grad():
        h = exact.codes(torch.from_numpy(noise)) + shift
        return exact.bottleneck.encode(h.float()).numpy()
