"""Folders of images, whole and as streams: order, colours, sizes, and what cannot be read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ae_runtime.bundle.manifest import Golden, Latent, Manifest, Port
from ae_runtime.errors import DataError, MissingExtra
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.image_folder import image_names, read_folder
from ae_runtime.files.readers.opening import open_stream

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
    images, note = read_folder(tmp_path)
    names = image_names(tmp_path)
    assert names == ["a.PNG", "b.png", str(Path("more/c.bmp"))]
    np.testing.assert_array_equal(images, np.stack([GREY + 1, GREY, GREY + 2]))
    assert images.dtype == np.uint8
    assert note == ""


def test_one_colour_image_makes_all_of_them_rgb(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", COLOUR)
    save(tmp_path / "c.png", COLOUR, "RGBA")
    images, _ = read_folder(tmp_path)
    assert images.shape == (3, 12, 8, 3)
    np.testing.assert_array_equal(images[0], np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(images[1], COLOUR)
    np.testing.assert_array_equal(images[2], COLOUR)


def test_the_camera_says_which_way_is_up(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    image.save(tmp_path / "a.png", exif=exif)
    images, _ = read_folder(tmp_path)
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
    images, _ = read_folder(tmp_path, (5, 7))
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
    images, note = read_folder(tmp_path, unreadable="skip")
    np.testing.assert_array_equal(images, np.stack([np.repeat(GREY[..., None], 3, 2), COLOUR]))
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


def manifest(*shape: int, dtype: Any = "uint8", kind: Any = "image") -> Manifest:
    port = Port("x", dtype, [None, *shape])
    sizes = Latent(2), [port], [port], None, None, Golden(1, 1e-5)
    return Manifest("1.0", "id", kind, *sizes, {})


def test_a_stream_of_images(tmp_path: Path) -> None:
    for at in range(7):
        save(tmp_path / f"{at}.png", GREY + at)
    save(tmp_path / "more" / "x.png", GREY)
    images, _ = read_folder(tmp_path)
    names = image_names(tmp_path)
    stream = open_stream(row_columns(manifest(12, 8)), tmp_path)
    assert (stream.rows, stream.id_name, stream.notes) == (8, "file", [])
    for size in (1, 3, 8, 9):
        for first in range(0, 8, size):
            blocks = list(stream.blocks(size, first))
            assert [block.first for block in blocks] == list(range(first, 8, size))
            found = np.concatenate([block.arrays[0] for block in blocks])
            np.testing.assert_array_equal(found, images[first:])
            ids = [name for block in blocks for name in block.ids]  # type: ignore[union-attr]
            assert ids == names[first:]
    channel = open_stream(row_columns(manifest(12, 8, 1)), tmp_path)
    np.testing.assert_array_equal(next(channel.blocks(9)).arrays[0], images[..., None])


def test_grey_images_for_a_bundle_of_colours(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", COLOUR)
    (block,) = open_stream(row_columns(manifest(12, 8, 3)), tmp_path).blocks(9)
    assert block.bad == {}
    np.testing.assert_array_equal(block.arrays[0], read_folder(tmp_path)[0])


def test_images_that_cannot_be_used_are_bad_rows(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").write_bytes(b"no image")
    save(tmp_path / "c.png", GREY[:6])
    save(tmp_path / "d.png", COLOUR)
    first, second = open_stream(row_columns(manifest(12, 8)), tmp_path).blocks(3)
    unreadable = first.bad.pop(1)
    assert unreadable.startswith("row 2, 'b.png' cannot be read as an image (")
    assert first.bad == {
        2: "row 3, 'c.png' has 6 x 8 pixels (height x width), the bundle takes 12 x 8; "
        "bring it to that size"
    }
    assert second.bad == {
        0: "row 4, 'd.png' is in colour, the bundle takes grey images; convert it"
    }
    np.testing.assert_array_equal(first.arrays[0], [GREY, GREY * 0, GREY * 0])


def test_images_are_brought_to_the_size_that_they_were_trained_in(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "c.png", GREY[:6])
    resized = msgspec.structs.replace(manifest(6, 4), resized=True)
    (block,) = open_stream(row_columns(resized), tmp_path).blocks(3)
    assert block.bad == {}
    np.testing.assert_array_equal(block.arrays[0], read_folder(tmp_path, (6, 4))[0])


def test_an_image_that_is_gone_when_its_block_comes(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", GREY)
    stream = open_stream(row_columns(manifest(12, 8)), tmp_path)
    (tmp_path / "b.png").unlink()
    (block,) = stream.blocks(9)
    assert list(block.bad) == [1]
    assert block.bad[1].startswith("row 2, 'b.png' cannot be read as an image ([Errno 2] No such")


def test_a_fingerprint_changes_with_any_image(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", GREY)

    def found() -> str:
        return open_stream(row_columns(manifest(12, 8)), tmp_path).fingerprint

    seen = [found(), found()]
    os.utime(tmp_path / "b.png", ns=(1, 1))
    seen.append(found())
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    seen.append(found())
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_folders_for_bundles_that_take_no_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    for bundle, line in (
        (
            manifest(12, 8, dtype="float32"),
            "a folder gives uint8 images (B, H, W) or (B, H, W, 3), the bundle takes float32 "
            "(12, 8); bring an array",
        ),
        (
            manifest(12, 8, 4),
            "a folder gives uint8 images (B, H, W) or (B, H, W, 3), the bundle takes uint8 "
            "(12, 8, 4); bring an array",
        ),
        (
            manifest(3, kind="table"),
            "a folder cannot be read; known types: .npy, .npz, .csv, .csv.gz, .tsv, .tsv.gz, "
            ".parquet, .arrow, .feather",
        ),
    ):
        with pytest.raises(DataError) as error:
            open_stream(row_columns(bundle), tmp_path)
        assert str(error.value) == f"{tmp_path}: {line}"
    with pytest.raises(DataError) as error:
        open_stream(row_columns(manifest(12, 8)), tmp_path, id_column="file")
    assert str(error.value) == f"{tmp_path} is a folder of images, whose ids are their names"
