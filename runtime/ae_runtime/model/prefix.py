"""Prefixes of ordered latents: cut a code to its first k latents, and fill it up again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Latent
from ae_runtime.errors import DataError
from ae_runtime.model.arrays import as_array


def check_keep(latent: Latent, keep: int) -> None:
    """Raise DataError unless codes may be cut to their first `keep` latents."""
    if not latent.ordered:
        raise DataError(
            f"keep = {keep} cuts latents, and those of this bundle are not ordered (bottleneck "
            f"{latent.bottleneck}): the first ones are no code; train with --bottleneck ordered"
        )
    if not 1 <= keep <= latent.dim:
        raise DataError(f"keep is {keep}, the bundle has {latent.dim} latents; keep 1 to all")


def prefix(latent: Latent, z: NDArray[np.float32], keep: int | None) -> NDArray[np.float32]:
    """The first `keep` latents of each code, (B, keep), contiguous; all of them for None.

    Raises DataError for latents that are not ordered, or fewer.
    """
    if keep is None:
        return z
    check_keep(latent, keep)
    return np.ascontiguousarray(z[:, :keep])


def whole(latent: Latent, z: Any) -> Any:
    """Fill up prefixes of codes to (B, K), as the decoder takes them, with 0 for what was cut.

    The decoder of ordered latents tells a prefix's length from the zeros. An array that is no
    prefix comes back as it is, for the caller to judge.
    """
    if not latent.ordered:
        return z
    z = as_array(z, "z")
    if z.ndim != 2 or not 1 <= z.shape[1] < latent.dim or z.dtype.kind not in "biuf":
        return z
    return np.pad(z, ((0, 0), (0, latent.dim - z.shape[1])))
