"""Image files of every mode: the values that are in the file, or one line that says why not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import console as cmd
from ae_runtime.bundle.manifest import Golden, Latent, Manifest, Port
from ae_runtime.cli import ae_run
from ae_runtime.errors import DataError
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.image_file import FORMATS, MODES, read_image
from ae_runtime.files.readers.image_folder import image_names, read_folder
from ae_runtime.files.readers.opening import open_stream

Image = pytest.importorskip("PIL.Image", reason="the runtime's own environment has no Pillow")
H, W = 6, 5
DEEP = np.random.default_rng(0).integers(0, 1000, (H, W, 4), np.uint16)
SHALLOW = np.random.default_rng(1).integers(0, 256, (H, W, 4), np.uint8)
EXACT = ("BMP", "PNG", "PPM", "TIFF")  # formats that lose nothing
TO_8_BITS = "scale them to 0..255 by the range of their values"


def png(path: Path, pixels: np.ndarray) -> Path:
    """A PNG of pixels (H, W, C) of 8 or 16 bits: grey, grey and alpha, RGB, RGBA."""
    height, width, channels = pixels.shape
    bits, colours = 8 * pixels.itemsize, (0, 4, 2, 6)[channels - 1]
    raw = pixels.astype(pixels.dtype.newbyteorder(">"))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in raw))),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def tiff(path: Path, pixels: np.ndarray, colours: int = 1, **tags: list[int]) -> Path:
    """An uncompressed TIFF of pixels (H, W, C). colours: its photometric interpretation.

    tags: "t" and a number, 16-bit values.
    """
    height, width, channels = pixels.shape
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    entries: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 259: [1],
        262: [colours], 273: [8], 277: [channels], 278: [height], 279: [len(raw)],
    }  # fmt: skip
    entries |= {int(name[1:]): values for name, values in tags.items()}
    start = 8 + len(raw) + len(raw) % 2
    spare = start + 2 + 12 * len(entries) + 4  # where values stand that do not fit into an entry
    lines, far = b"", b""
    for tag, values in sorted(entries.items()):
        body = struct.pack(f"<{len(values)}H", *values)
        lines += struct.pack("<HHI", tag, 3, len(values))
        if len(body) > 4:
            body, far = struct.pack("<I", spare + len(far)), far + body
        lines += body.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", start) + raw.ljust(start - 8, b"\0")
    path.write_bytes(head + struct.pack("<H", len(entries)) + lines + b"\0\0\0\0" + far)
    return path


def ppm(path: Path, pixels: np.ndarray, largest: int, comment: str = "") -> Path:
    kind = b"P6" if pixels.shape[2] == 3 else b"P5"
    head = f"\n{comment}{pixels.shape[1]} {pixels.shape[0]}\n{largest}\n".encode()
    depth = ">u2" if largest > 255 else "u1"
    path.write_bytes(kind + head + pixels.astype(depth).tobytes())
    return path


def refused(path: Path) -> str:
    """Why the image is refused, in one line."""
    with pytest.raises(DataError) as error:
        read_image(path)
    start = f"{path} cannot be read as an image ("
    assert str(error.value).startswith(start)
    assert "\n" not in str(error.value)
    return str(error.value)[len(start) : -1]


def test_every_mode_of_pillow_is_decided() -> None:
    assert set(Image.MODES) <= set(MODES)
    assert {wanted for wanted in MODES.values() if wanted} <= set(MODES)


def in_mode(mode: str) -> Any:
    """A picture of a mode, of opaque pixels."""
    colour = Image.fromarray(SHALLOW[..., :3])
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (W, H), DEEP[..., 0].tobytes())
    if mode in ("I", "F"):
        return Image.fromarray(DEEP[..., 0].astype("i4" if mode == "I" else "f4"))
    before = {"La": "LA", "RGBa": "RGBA", "PA": "P", "HSV": "RGB"}.get(mode)
    return (colour.convert(before) if before else colour).convert(mode)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)


def expected(picture: Any) -> np.ndarray | None:
    """The grey or RGB values of a picture, by Pillow's single conversions; None without any."""
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if MODES[picture.mode] is None:
        return None
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_is_right_or_refused_in_every_format(mode: str, tmp_path: Path) -> None:
    picture = in_mode(mode)
    right = expected(picture)
    for form in EXACT:
        path = tmp_path / f"a.{form}"
        try:
            picture.save(path, form)
        except (OSError, KeyError, ValueError):
            continue  # Pillow writes no such file
        if right is None:
            assert "pixels are" in refused(path) or "channels" in refused(path)
        else:
            np.testing.assert_array_equal(as_rgb(read_image(path).pixels), right)


@pytest.mark.parametrize("channels", [2, 4])
def test_colours_multiplied_with_their_alpha_are_divided_again(
    channels: int, tmp_path: Path
) -> None:
    pixels = SHALLOW[..., -channels:].copy()
    pixels[..., -1] |= 128
    many = (pixels[..., :-1].astype(int) * pixels[..., -1:] / 255).round().astype(np.uint8)
    stored = np.concatenate([many, pixels[..., -1:]], -1)
    path = tiff(tmp_path / "a.tif", stored, 1 if channels == 2 else 2, t338=[1])
    picture = read_image(path)
    assert np.abs(as_rgb(picture.pixels).astype(int) - pixels[..., :-1]).max() <= 2  # by rounding
    assert len(picture.remarks) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_not_cut_to_the_upper_byte(channels: int, tmp_path: Path) -> None:
    pixels = DEEP[..., :channels]
    extra = {"t338": [2]} if channels in (2, 4) else {}
    deep = [
        png(tmp_path / "a.png", pixels),
        tiff(tmp_path / "a.tif", pixels, 1 if channels < 3 else 2, **extra),
        tiff(tmp_path / "ink.tif", DEEP, 5),
    ]
    if channels in (1, 3):
        deep += [ppm(tmp_path / "a.ppm", pixels, largest) for largest in (999, 65535)]
        deep.append(ppm(tmp_path / "b.ppm", pixels, 1000, "# 255 255\n"))
    for path in deep:
        why = refused(path)
        # Grey and alpha of 16 bits are unknown to Pillow as TIFF.
        assert TO_8_BITS in why or "cannot identify image file" in why
    if channels == 3:
        assert refused(tmp_path / "a.ppm") == (
            f"its pixels are RGB of 16 bits a channel, not 8: {TO_8_BITS}"
        )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_eight_bits_come_as_they_are(channels: int, tmp_path: Path) -> None:
    pixels = SHALLOW[..., :channels].copy()
    extra = {"t338": [2]} if channels in (2, 4) else {}
    if extra:
        pixels[..., -1] = 255
    right = pixels[..., 0] if channels < 3 else pixels[..., :3]
    files = [
        png(tmp_path / "a.png", pixels),
        tiff(tmp_path / "a.tif", pixels, 1 if channels < 3 else 2, **extra),
    ]
    files += [ppm(tmp_path / "a.ppm", pixels, 255, "# 65535\n")] if channels in (1, 3) else []
    for path in files:
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels, right)
        assert picture.remarks == ()


@pytest.mark.parametrize(
    ("channels", "colours", "tags"), [(2, 1, {"t338": [0]}), (4, 2, {"t338": [0]}), (4, 2, {})]
)
def test_channels_without_a_meaning_are_no_transparency(
    channels: int, colours: int, tags: dict[str, list[int]], tmp_path: Path
) -> None:
    path = tiff(tmp_path / "a.tif", SHALLOW[..., :channels], colours, **tags)
    assert refused(path) == (
        f"{channels} channels, which are not all grey, colours or transparency: bring an array "
        "(N, H, W, C)"
    )


def test_signed_numbers_are_not_taken_for_unsigned_ones(tmp_path: Path) -> None:
    assert refused(tiff(tmp_path / "a.tif", SHALLOW[..., :1], t339=[2])) == (
        "its numbers are signed, images are 0..255: add 128, or bring an array"
    )


@pytest.mark.parametrize(("step", "fine"), [(257, True), (256, True), (200, False), (1, False)])
def test_palettes_of_sixteen_bits(step: int, fine: bool, tmp_path: Path) -> None:
    palette = [step * value for _ in range(3) for value in range(256)]
    path = tiff(tmp_path / "a.tif", SHALLOW[..., :1], 3, t320=palette)
    if fine:
        np.testing.assert_array_equal(read_image(path).pixels, np.repeat(SHALLOW[..., :1], 3, 2))
    else:
        assert refused(path) == (
            "the colours of its palette have 16 bits a channel: convert it to RGB"
        )


def test_colours_for_several_pixels_are_refused(tmp_path: Path) -> None:
    whole = tiff(tmp_path / "a.tif", SHALLOW[..., :3], 6, t530=[1, 1])
    right = np.asarray(Image.fromarray(SHALLOW[..., :3], "YCbCr").convert("RGB"))
    np.testing.assert_array_equal(read_image(whole).pixels, right)
    halved = tiff(tmp_path / "b.tif", SHALLOW[..., :3], 6)  # 2 x 2 is what no tag means
    assert refused(halved) == "YCbCr with fewer colours than pixels: convert it to RGB"


def test_lab_and_inks_are_turned_into_rgb_with_a_word(tmp_path: Path) -> None:
    grey = np.zeros((H, W, 3), np.uint8)
    grey[..., 0] = np.round(np.linspace(0, 255, H * W).reshape(H, W))
    found, remarks = read_image(tiff(tmp_path / "lab.tif", grey, 8))
    lightness = grey[..., 0] / 255 * 100
    y = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    right = 255 * np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    assert np.abs(found - right[..., None]).max() <= 2  # two roundings to 8 bits
    inks = SHALLOW.copy()
    found, more = read_image(tiff(tmp_path / "cmyk.tif", inks, 5))
    left = 255 - inks.astype(int)
    right = left[..., :3] * left[..., 3:] / 255
    assert np.abs(found - right).max() <= 1
    assert [remark.format("one", "is") for remark in (*remarks, *more)] == [
        "one of LAB is turned into RGB",
        "one of CMYK inks is turned into RGB",
    ]


def test_the_whole_mode_of_a_multi_page_tiff(tmp_path: Path) -> None:
    pages = [Image.fromarray(SHALLOW[..., k]) for k in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert refused(tmp_path / "stack.tif") == (
        "it holds several pictures: write each into a file of its own"
    )
    small = Image.fromarray(SHALLOW[:3, :3, 0])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "with-thumbnail.tif", save_all=True, append_images=[small])
    np.testing.assert_array_equal(
        read_image(tmp_path / "with-thumbnail.tif").pixels, SHALLOW[..., 0]
    )


def manifest() -> Manifest:
    port = Port("x", "uint8", [None, H, W, 3])
    return Manifest(
        "1.0", "id", "image", Latent(2), [port], [port], None, None, Golden(1, 1e-5), {}
    )


def test_what_is_left_out_of_images_is_said_once(tmp_path: Path) -> None:
    frames = [Image.fromarray(SHALLOW[..., k : k + 3]) for k in range(2)]
    for at in range(3):
        frames[0].save(tmp_path / f"{at}.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(SHALLOW).save(tmp_path / "alpha.png")
    opaque = SHALLOW.copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    frames[0].quantize(8).save(tmp_path / "palette.png", transparency=3)
    images, note = read_folder(tmp_path)
    names = image_names(tmp_path)
    assert note.splitlines() == [
        f"{tmp_path}: 3 images of several frames are read up to the first: 0.gif, 1.gif, 2.gif",
        f"{tmp_path}: 2 images with transparent pixels are read without their transparency: "
        "alpha.png, palette.png",
    ]
    np.testing.assert_array_equal(images[names.index("alpha.png")], SHALLOW[..., :3])
    np.testing.assert_array_equal(images[names.index("0.gif")], SHALLOW[..., :3])
    stream = open_stream(row_columns(manifest()), tmp_path)
    assert len(list(stream.blocks(4))) == 2
    assert stream.notes == note.splitlines()


def test_a_format_whose_bits_nobody_counts_is_refused(tmp_path: Path) -> None:
    Image.fromarray(SHALLOW[..., :3]).save(tmp_path / "a.png", "TGA")
    assert refused(tmp_path / "a.png") == f"a TGA file; known are {', '.join(FORMATS)}"


def test_every_verb_says_what_is_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for at in range(3):
        Image.fromarray(SHALLOW[:4]).save(images / f"{at}.png")
    line = (
        f"{images}: 3 images with transparent pixels are read without their transparency: "
        "0.png, 1.png, 2.png"
    )
    bundle = Path(__file__).parents[1] / "golden" / "v1" / "image"
    pipe = ["--out", "-", "--to", "csv"]
    for verb, end in (
        ("encode", ["--out", str(tmp_path / "z.npy")]),
        ("encode", pipe),
        ("reconstruct", ["--out", str(tmp_path / "x_hat.npy")]),
        ("compress", ["--out", str(tmp_path / "x.aez")]),
    ):
        assert cmd.run(ae_run, "ae-run", [verb, str(bundle), str(images), *end]) == 0
        assert capfd.readouterr().err.splitlines().count(line) == 1, verb
