"""Folders of images: order, colours, sizes, and files that cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ae_runtime.errors import DataError, MissingExtra
from ae_runtime.image_folder import read_folder

Image = pytest.importorskip("PIL.Image", reason="the runtime's own environment has no Pillow")
GREY = np.arange(12 * 8, dtype=np.uint8).reshape(12, 8)
COLOUR = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_images_come_in_the_order_of_their_names_folders_below_included(tmp_path: Path) -> None:
    save(tmp_path / "b.png", GREY)
    save(tmp_path / "a.PNG", GREY + 1)
    save(tmp_path / "more" / "c.bmp", GREY + 2)
    (tmp_path / "notes.txt").write_text("no image")
    images, names, note = read_folder(tmp_path)
    assert names == ["a.PNG", "b.png", str(Path("more/c.bmp"))]
    np.testing.assert_array_equal(images, np.stack([GREY + 1, GREY, GREY + 2]))
    assert images.dtype == np.uint8
    assert note == ""


def test_one_colour_image_makes_all_of_them_rgb(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", COLOUR)
    save(tmp_path / "c.png", COLOUR, "RGBA")
    images, _, _ = read_folder(tmp_path)
    assert images.shape == (3, 12, 8, 3)
    np.testing.assert_array_equal(images[0], np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(images[1], COLOUR)
    np.testing.assert_array_equal(images[2], COLOUR)


def test_the_camera_says_which_way_is_up(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    image.save(tmp_path / "a.png", exif=exif)
    images, _, _ = read_folder(tmp_path)
    np.testing.assert_array_equal(images[0], np.rot90(GREY, -1))


def test_several_sizes_are_an_error_and_one_by_choice(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", GREY)
    save(tmp_path / "c.png", GREY[:6])
    with pytest.raises(DataError) as error:
        read_folder(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds images of 2 sizes (height x width: 12x8: 2, 6x8: 1); bring them to "
        "one, with --set data.resize=[12,8]"
    )
    images, _, _ = read_folder(tmp_path, (5, 7))
    assert images.shape == (3, 5, 7)
    flat = save(tmp_path / "flat" / "f.png", np.full((9, 9), 77, np.uint8)).parent
    assert (read_folder(flat, (4, 20))[0] == 77).all()


def test_an_unreadable_image_is_named_or_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    whole = save(tmp_path / "c.png", COLOUR).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as error:
        read_folder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'b.png'} cannot be read as an image (")
    assert str(error.value).endswith(
        "); remove it, or leave such files out with --set data.unreadable=skip"
    )
    images, names, note = read_folder(tmp_path, unreadable="skip")
    assert (len(images), names) == (2, ["a.png", "c.png"])
    assert note == f"{tmp_path}: 1 unreadable images left out: b.png"


def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY.astype(np.uint16) * 200)
    with pytest.raises(DataError, match="its pixels are I;16, not 8 bits a channel"):
        read_folder(tmp_path)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        read_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        read_folder(tmp_path, unreadable="skip")


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r'^PIL cannot .*; pip install "ae-toolkit\[data\]"$'):
        read_folder(tmp_path)
