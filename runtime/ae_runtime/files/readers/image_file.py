"""An image file as a uint8 array of exactly its values, or an error."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.extras import need

# The mode that each of Pillow's modes is converted to, None where three channels of 8 bits would
# not hold its pixels.
MODES: dict[str, str | None] = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "La": "LA",  # which undoes the multiplication with alpha
    "P": "RGB",
    "PA": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGBA",
    "RGBX": None,
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
    "I": None,
    "I;16": None,
    "I;16L": None,
    "I;16B": None,
    "I;16N": None,
    "F": None,
}
# Formats for which what Pillow would cut silently is checked. Others are not opened: their 16 bits
# would come as 8.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_REMARKABLE = {
    "CMYK": "{0} of CMYK inks {1} turned into RGB",
    "LAB": "{0} of LAB {1} turned into RGB",
}
_TRANSPARENT = "{0} with transparent pixels {1} read without their transparency"
_MOVING = "{0} of several frames {1} read up to the first"
# Tags of TIFF 6.0, and the bits of SubfileType of a picture that only belongs to another.
_BITS, _COMPRESSION, _COLOURS, _SAMPLES, _MAP, _EXTRA, _NUMBERS, _SUBSAMPLING = (
    *(258, 259, 262, 277, 320, 338, 339, 530),
)
_SUBFILE, _SMALLER_OR_MASK = 254, 1 | 4
_WITH_PALETTE, _YCBCR = 3, 6
_TO_8_BITS = "scale them to 0..255 by the range of their values"


class Picture(NamedTuple):
    """An image. pixels: (H, W) or (H, W, 3). remarks: what was left out or converted."""

    pixels: NDArray[np.uint8]
    remarks: tuple[str, ...]


def read_image(path: Path, size: tuple[int, int] | None = None) -> Picture:
    """The image in path, turned as its camera says. Raises DataError that names it.

    size: (H, W) in pixels to bring it to. An animation gives its first frame and transparency is
    left out, both with a remark. More than 8 bits a channel, and channels that are neither grey nor
    colours, are errors: the values would be others.
    """
    image_module, turned = need("PIL.Image", "data"), need("PIL.ImageOps", "data").exif_transpose
    try:
        with warnings.catch_warnings(), image_module.open(path) as file:
            # Pillow warns of enormous images and damaged metadata, which are errors here.
            warnings.simplefilter("error")
            _check(file, path)
            remarks = [_MOVING] if _moves(file) else []
            remarks += [_REMARKABLE[file.mode]] if file.mode in _REMARKABLE else []
            image: Any = turned(file)
            remarks += [_TRANSPARENT] if _is_transparent(image) else []
            while (wanted := MODES[image.mode]) != image.mode:
                image = image.convert(wanted)
            if size is not None:
                image = image.resize((size[1], size[0]), image_module.Resampling.LANCZOS)
            return Picture(np.asarray(image, np.uint8), tuple(remarks))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as an image ({reason})") from None


def said(folder: Path, remarks: dict[str, list[str]]) -> list[str]:
    """A line for each remark on images of a folder. remarks: the names of images by remark."""
    lines = []
    for remark, names in remarks.items():
        count = f"{len(names):,} image{'s' if len(names) > 1 else ''}"
        text = remark.format(count, "are" if len(names) > 1 else "is")
        lines.append(f"{folder}: {text}: {some(names)}")
    return lines


def some(names: list[str]) -> str:
    """The first names of a list, with commas."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _check(file: Any, path: Path) -> None:
    """Raise ValueError for pixels that Pillow would silently give as others."""
    if file.format not in FORMATS:
        raise ValueError(f"a {file.format} file; known are {', '.join(FORMATS)}")
    if MODES.get(file.mode) is None:
        raise ValueError(f"its pixels are {file.mode}, not 8 bits a channel: {_TO_8_BITS}")
    if file.format == "TIFF":
        _check_tiff(file)
    elif file.format in ("PNG", "PPM"):
        with path.open("rb") as raw:
            head = raw.read(4096)
        bits = head[24] if file.format == "PNG" else _bits_of_ppm(head)
        _check_bits(file.mode, bits)


def _check_bits(mode: str, bits: int) -> None:
    if bits > 8:
        raise ValueError(f"its pixels are {mode} of {bits} bits a channel, not 8: {_TO_8_BITS}")


def _bits_of_ppm(head: bytes) -> int:
    """Bits a channel in a file of the PPM family, by the largest value of its header."""
    kind, *rest = re.sub(rb"#[^\r\n]*", b"", head).split(maxsplit=4)
    return 1 if kind in (b"P1", b"P4") else int(rest[2]).bit_length()


def _check_tiff(file: Any) -> None:
    tags = file.tag_v2
    _check_bits(file.mode, max(tags.get(_BITS, (1,))))
    if set(tags.get(_NUMBERS, (1,))) != {1}:
        raise ValueError("its numbers are signed, images are 0..255: add 128, or bring an array")
    bands = file.getbands()
    colours = len(bands) - (bands[-1] in "Aa")
    extra = tags.get(_EXTRA, ())
    # 0 is a channel without a meaning in the file; alpha is 1 or 2.
    if 0 in extra or tags.get(_SAMPLES, 1) > colours + len(extra):
        raise ValueError(
            f"{tags.get(_SAMPLES, 1)} channels, which are not all grey, colours or transparency: "
            "bring an array (N, H, W, C)"
        )
    _check_stored(tags)
    if _pages(file) != [0]:
        raise ValueError("it holds several pictures: write each into a file of its own")


def _check_stored(tags: Any) -> None:
    """Raise ValueError for palettes and half-sized colours that would come as other colours."""
    if tags.get(_COLOURS) == _WITH_PALETTE and any(
        value % 256 and value % 257 for value in tags.get(_MAP, ())
    ):
        raise ValueError("the colours of its palette have 16 bits a channel: convert it to RGB")
    raw = tags.get(_COMPRESSION, 1) == 1
    if raw and tags.get(_COLOURS) == _YCBCR and tags.get(_SUBSAMPLING, (2, 2)) != (1, 1):
        raise ValueError("YCbCr with fewer colours than pixels: convert it to RGB")


def _pages(file: Any) -> list[int]:
    """The first two places of pictures in a TIFF, without smaller copies and masks."""
    pages: list[int] = []
    for at in range(file.n_frames):
        file.seek(at)
        if not file.tag_v2.get(_SUBFILE, 0) & _SMALLER_OR_MASK:
            pages.append(at)
        if len(pages) > 1:
            break
    file.seek(0)
    return pages


def _moves(file: Any) -> bool:
    """Whether it is an animation; the other pictures of a camera's MPO do not count."""
    return file.format in ("GIF", "PNG", "WEBP") and bool(getattr(file, "is_animated", False))


def _is_transparent(image: Any) -> bool:
    """Whether any pixel is not fully opaque."""
    if not image.has_transparency_data:
        return False
    if image.mode in ("La", "RGBa"):
        image = image.convert(MODES[image.mode])
    return bool(image.convert("RGBA").getchannel("A").getextrema()[0] < 255)
