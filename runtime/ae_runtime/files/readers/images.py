"""A folder of images, decoded block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.readers.blocks import Block, SeriesCut, Stream
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.image_file import read_image, said
from ae_runtime.files.readers.image_folder import image_names
from ae_runtime.files.readers.raw_bytes import fingerprint


class ImageStream(Stream):
    """The images of a folder in the order of their names, which are their ids."""

    series: SeriesCut | None = None
    memory = 4 << 20
    id_name: str | None = "file"

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self.path = folder
        self.notes: list[str] = []
        self._shape = wanted.port.row_shape
        if wanted.port.dtype != "uint8" or self._channels not in (None, 1, 3):
            raise DataError(
                f"{folder}: a folder gives uint8 images (B, H, W) or (B, H, W, 3), the bundle "
                f"takes {wanted.port.dtype} {self._shape}; bring an array"
            )
        self._size = (self._shape[0], self._shape[1]) if wanted.resized else None
        self._names = image_names(folder)
        self.rows: int | None = len(self._names)
        self.fingerprint = _fingerprint(folder, self._names)

    @property
    def _channels(self) -> int | None:
        """The channels of an image of the bundle, None without an axis of channels."""
        return self._shape[2] if len(self._shape) == 3 else None

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks of `size` images; remarks become notes when all are read."""
        remarks: dict[str, list[str]] = {}
        for low in range(first, len(self._names), size):
            names = self._names[low : low + size]
            x = np.zeros((len(names), *self._shape), np.uint8)
            bad: dict[int, str] = {}
            for at, name in enumerate(names):
                try:
                    picture = read_image(self.path / name, self._size)
                    x[at] = self._fitting(picture.pixels)
                    for remark in picture.remarks:
                        remarks.setdefault(remark, []).append(name)
                except DataError as error:
                    reason = str(error).removeprefix(f"{self.path / name} ")
                    bad[at] = f"row {low + at + 1}, {name!r} {reason}"
            yield Block(low, (x,), 0, np.array(names, object), bad)
        self.notes += said(self.path, remarks)

    def _fitting(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image in the bundle's shape. Raises DataError for another size, or for colours."""
        size, wanted = image.shape[:2], self._shape[:2]
        if size != wanted:
            raise DataError(
                f"has {size[0]} x {size[1]} pixels (height x width), the bundle takes "
                f"{wanted[0]} x {wanted[1]}; bring it to that size"
            )
        if self._channels == 3:
            return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        if image.ndim == 3:
            raise DataError("is in colour, the bundle takes grey images; convert it")
        return image if self._channels is None else image[..., None]

    def close(self) -> None:
        pass


def _fingerprint(folder: Path, names: list[str]) -> str:
    known = hashlib.sha256()
    for name in names:
        known.update(f"{name}\0{fingerprint(folder / name)}\0".encode(errors="surrogateescape"))
    return f"{len(names)}-{known.hexdigest()}"
