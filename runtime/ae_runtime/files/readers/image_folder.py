"""A folder of images as one uint8 array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.extras import need
from ae_runtime.files.readers.image_file import read_image, said, some

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


def read_folder(
    folder: Path, size: tuple[int, int] | None = None, unreadable: Literal["stop", "skip"] = "stop"
) -> tuple[NDArray[np.uint8], str]:
    """(images, note): all images in a folder and its subfolders, in the order of their names.

    images: (N, H, W) uint8 if all are grey, else (N, H, W, 3). size: (H, W) in pixels to bring them
    to; None: all must have one size. unreadable: whether files that cannot be read are an error or
    are left out. note: lines that name what was left out or converted, or "". Raises DataError for
    a folder without images and for several sizes, MissingExtra without Pillow.
    """
    names = image_names(folder)
    images: list[NDArray[np.uint8]] = []
    failed = []
    remarks: dict[str, list[str]] = {}
    for name in names:
        try:
            picture = read_image(folder / name, size)
            images.append(picture.pixels)
            for remark in picture.remarks:
                remarks.setdefault(remark, []).append(name)
        except DataError as error:
            if unreadable == "stop":
                raise DataError(
                    f"{error}; remove it, or leave such files out with --set data.unreadable=skip"
                ) from None
            failed.append(name)
    if not images:
        raise DataError(f"{folder}: none of its {len(names)} images can be read")
    _check_sizes(folder, images)
    if any(image.ndim == 3 for image in images):
        images = [
            image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images
        ]
    notes = said(folder, remarks)
    if failed:
        notes.insert(0, f"{folder}: {len(failed)} unreadable images left out: {some(failed)}")
    return np.stack(images), "\n".join(notes)


def image_names(folder: Path) -> list[str]:
    """The paths, within a folder, of all images in it and its subfolders, in order.

    Raises DataError where there are none, MissingExtra without Pillow.
    """
    need("PIL.Image", "data")
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not names:
        raise DataError(
            f"{folder} holds no images (known types: {', '.join(sorted(SUFFIXES))}) and is no "
            "folder of Parquet or Arrow files; name files of other types themselves"
        )
    return names


def _check_sizes(folder: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        counts = [f"{height}x{width}: {count}" for (height, width), count in sizes.most_common(3)]
        more = ", ..." if len(sizes) > 3 else ""
        height, width = sizes.most_common(1)[0][0]
        raise DataError(
            f"{folder} holds images of {len(sizes)} sizes (height x width: {', '.join(counts)}"
            f"{more}); bring them to one, with --set data.resize=[{height},{width}]"
        )
