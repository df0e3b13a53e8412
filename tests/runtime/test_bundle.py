"""Folders that are no bundle, or not all of one: each says what is wrong and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ae_runtime
from ae_runtime.bundle import opening as bundle_module
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import AeError, BundleCorrupt, BundleNotFound

FILES = ["encoder.onnx", "decoder.onnx", "golden.npz", "recipe.toml"]
LARGER = "is larger than the {} bytes it may have; fetch or export the bundle again"
DIFFERS = "does not match the hash in the manifest; fetch or export the bundle again"


def said(error: type[AeError], bundle: Path | str) -> str:
    """The message of loading, the bundle's folder written as B."""
    with pytest.raises(AeError) as caught:
        ae_runtime.load(bundle)
    assert type(caught.value) is error
    return str(caught.value).replace(str(bundle), "B")


@pytest.fixture
def copied(table_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(table_bundle, tmp_path / "bundle"))


def test_nothing_there(tmp_path: Path) -> None:
    message = "B does not exist; a bundle is a folder or a .zip that ae-export wrote"
    assert said(BundleNotFound, tmp_path / "none") == message
    assert said(BundleNotFound, str(tmp_path / "none")) == message
    assert said(BundleNotFound, tmp_path / "none" / "bundle") == message
    with pytest.raises(FileNotFoundError):
        ae_runtime.load(tmp_path / "none")


def test_a_file(copied: Path) -> None:
    message = "B is a file; a bundle is a folder or a .zip that ae-export wrote"
    assert said(BundleNotFound, copied / "manifest.json") == message


def test_a_folder_without_manifest(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    assert said(BundleNotFound, copied) == "B is not a bundle: it holds no manifest.json"
    (copied / "manifest.json").mkdir()
    assert said(BundleNotFound, copied) == "B is not a bundle: it holds no manifest.json"


def test_a_run(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    assert said(BundleNotFound, tmp_path) == (
        "B is not a bundle: it holds no manifest.json, it is a run: ae-export makes a bundle of it"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    message = f"B: {name} is missing; fetch or export the bundle again"
    assert said(BundleCorrupt, copied) == message
    (copied / name).mkdir()
    assert said(BundleCorrupt, copied) == message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, 0.5, -1])
def test_a_changed_byte(copied: Path, name: str, at: float) -> None:
    raw = bytearray((copied / name).read_bytes())
    raw[int(at * len(raw))] ^= 1
    (copied / name).write_bytes(raw)
    assert said(BundleCorrupt, copied) == f"B: {name} {DIFFERS}"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_file(copied: Path, name: str, kept: int) -> None:
    raw = (copied / name).read_bytes()
    (copied / name).write_bytes(raw[:kept])
    assert said(BundleCorrupt, copied) == f"B: {name} {DIFFERS}"


@pytest.mark.parametrize("name", FILES)
def test_a_longer_file(copied: Path, name: str) -> None:
    size = (copied / name).stat().st_size
    with (copied / name).open("ab") as file:
        file.write(b"\0")
    assert said(BundleCorrupt, copied) == f"B: {name} {LARGER.format(size)}"


def test_a_huge_file_is_not_read(copied: Path) -> None:
    # 1 TB of holes: reading it all would take minutes and all memory.
    with (copied / "golden.npz").open("r+b") as file:
        file.truncate(1 << 40)
    assert said(BundleCorrupt, copied) == f"B: golden.npz {LARGER.format(4640)}"


def test_a_huge_manifest_is_not_parsed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (copied / "manifest.json").stat().st_size
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", size)
    ae_runtime.load(copied)
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", size - 1)
    assert said(BundleCorrupt, copied) == f"B: manifest.json {LARGER.format(size - 1)}"


def test_the_model_card_is_not_part_of_it(copied: Path) -> None:
    (copied / "README.md").write_text("People edit it.")
    (copied / "notes.txt").write_text("And add others.")
    ae_runtime.load(copied)
    (copied / "README.md").unlink()
    ae_runtime.load(copied)


def test_every_file_is_read_once(table_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file that is read twice may be another one the second time.
    read: list[str] = []

    def spy(path: str, *mode: str) -> object:
        read.append(Path(path).name)
        return open(path, *mode)

    monkeypatch.setattr(bundle_module, "open", spy, raising=False)
    ae_runtime.load(table_bundle).encode([[1e6, 0, 0, 5.5, 0, 1]])
    assert sorted(read) == sorted([*FILES, "manifest.json"])


def test_a_bundle_says_where_it_is_and_what_it_holds(table_bundle: Path) -> None:
    for location in (table_bundle, str(table_bundle)):
        opened = open_bundle(location)
        assert opened.location == str(table_bundle)
        assert opened.files == {name: (table_bundle / name).read_bytes() for name in FILES}


def test_the_object_describes_its_bundle(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle)
    assert (ae.input_shape, ae.latent_dim) == ((8, 8), 8)
    assert ae.model_id == ae.manifest.model_id
    assert repr(ae) == f"<Autoencoder (8, 8) -> 8, {ae.model_id[:12]}>"


@pytest.mark.parametrize("name", ["threads", "tile"])
@pytest.mark.parametrize("value", [0, -1])
def test_options_that_make_no_sense(table_bundle: Path, name: str, value: int) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        ae_runtime.load(table_bundle, **{name: value})  # type: ignore[arg-type]
    assert str(caught.value) == f"{name} is {value}; it must be at least 1"
