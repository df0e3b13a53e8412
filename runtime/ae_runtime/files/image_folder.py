"""A folder of images to uint8 arrays."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.extras import need

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def read_folder(
    folder: Path, size: tuple[int, int] | None = None, unreadable: Literal["stop", "skip"] = "stop"
) -> tuple[NDArray[np.uint8], list[str], str]:
    """(images, names, note): all images in a folder and those below it, in the order of names.

    images: (N, H, W) uint8 if all are grey, else (N, H, W, 3); turned as their camera says, the
    first frame of what moves, transparency left out. size: (H, W) in pixels to bring them to;
    None: all must have one size. names: paths within the folder. note: names what was left out,
    or "". Raises DataError for a folder without images, files that cannot be read (or "skip" leaves
    them out), and several sizes; MissingExtra without Pillow.
    """
    names = image_names(folder)
    images: list[NDArray[np.uint8]] = []
    kept, failed = [], []
    for name in names:
        try:
            images.append(read_image(folder / name, size))
            kept.append(name)
        except DataError as error:
            if unreadable == "stop":
                raise DataError(
                    f"{error}; remove it, or leave such files out with --set data.unreadable=skip"
                ) from None
            failed.append(name)
    if not kept:
        raise DataError(f"{folder}: none of its {len(names)} images can be read")
    _check_sizes(folder, images)
    if any(image.ndim == 3 for image in images):
        images = [
            image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images
        ]
    note = f"{folder}: {len(failed)} unreadable images left out: {_some(failed)}" if failed else ""
    return np.stack(images), kept, note


def image_names(folder: Path) -> list[str]:
    """The paths of all images in a folder and those below it, within the folder, in order.

    Raises DataError where there are none, MissingExtra without Pillow.
    """
    need("PIL.Image", "data")
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not names:
        raise DataError(f"{folder} holds no images (known types: {', '.join(sorted(SUFFIXES))})")
    return names


def read_image(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The image in path, (H, W) or (H, W, 3). Raises DataError that names it."""
    image_module, turned = need("PIL.Image", "data"), need("PIL.ImageOps", "data").exif_transpose
    try:
        with warnings.catch_warnings(), image_module.open(path) as file:
            # What Pillow warns of (an enormous image, damaged metadata) is what a user should see.
            warnings.simplefilter("error")
            image: Any = turned(file)
            if image.mode not in _GREY + _COLOUR:
                raise ValueError(f"its pixels are {image.mode}, not 8 bits a channel")
            image = image.convert("L" if image.mode in _GREY else "RGB")
            if size is not None:
                image = image.resize((size[1], size[0]), image_module.Resampling.LANCZOS)
            return np.asarray(image, np.uint8)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as an image ({reason})") from None


def _check_sizes(folder: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        found = [f"{height}x{width}: {count}" for (height, width), count in sizes.most_common(3)]
        more = ", ..." if len(sizes) > 3 else ""
        height, width = sizes.most_common(1)[0][0]
        raise DataError(
            f"{folder} holds images of {len(sizes)} sizes (height x width: {', '.join(found)}"
            f"{more}); bring them to one, with --set data.resize=[{height},{width}]"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
