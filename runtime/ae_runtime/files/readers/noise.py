"""The noise that samples are drawn from, as an input that is read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ae_runtime.bundle.manifest import Manifest
from ae_runtime.files.readers.blocks import Block, Stream
from ae_runtime.model.sampling import noise_of


class NoiseReader(Stream):
    """Rows of uniform noise in [0, 1); it cannot be gone on with."""

    path = Path("noise")
    id_name = series = None
    fingerprint, memory = "", 0

    def __init__(self, manifest: Manifest, rows: int, seed: int | None) -> None:
        """seed: None for other rows at each call. Raises DataError without a sampler."""
        self._noise = noise_of(manifest, seed)
        (port,) = manifest.sampler_feeds
        self._width = port.row_shape
        self.rows: int | None = rows
        self.notes: list[str] = []

    def blocks(self, size: int, first: int = 0, position: Any = 0) -> Iterator[Block]:
        """Blocks of float32: together what one draw of all rows gives."""
        assert self.rows is not None
        for start in range(first, self.rows, size):
            rows = min(size, self.rows - start)
            yield Block(
                start, (self._noise.random((rows, *self._width), np.float32),), start + rows
            )

    def close(self) -> None:
        """Nothing is open."""
