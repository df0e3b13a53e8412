"""Open a bundle: read each of its files once, and check it against the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ae_runtime import admission, manifest
from ae_runtime.errors import BundleCorrupt, BundleError, BundleNotFound
from ae_runtime.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
GRAPHS = ("encoder.onnx", "decoder.onnx")
REQUIRED = (*GRAPHS, "golden.npz", "recipe.toml")
MAX_MANIFEST_BYTES = 64 << 20
MAX_FILE_BYTES = 2 << 30  # the protobuf limit: no larger graph can be loaded anyway


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check of loading: its manifest, and the bytes of its files."""

    location: str
    manifest: Manifest
    files: dict[str, bytes]


def open_bundle(location: str | Path) -> Bundle:
    """The bundle in the folder `location`, hashes and graphs checked.

    Raises BundleNotFound, BundleCorrupt, BundleTooNew or BundleRefused, each with what to do.
    """
    folder = Path(location)
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise BundleNotFound(f"{folder} {found}; a bundle is a folder that ae-export wrote")
    if not (folder / MANIFEST).is_file():
        raise BundleNotFound(f"{folder} is not a bundle: it holds no {MANIFEST}")
    try:
        parsed = manifest.parse(_read_capped(folder / MANIFEST, MAX_MANIFEST_BYTES))
        files = {name: _read_checked(folder, name, parsed) for name in REQUIRED}
        for name in GRAPHS:
            admission.admit(name, files[name], parsed)
    except BundleError as error:
        raise type(error)(f"{folder}: {error}") from None
    return Bundle(str(folder), parsed, files)


def _read_checked(folder: Path, name: str, parsed: Manifest) -> bytes:
    entry = parsed.files.get(name)
    if entry is None:
        raise BundleCorrupt(f"the manifest names no {name}; export again")
    path = folder / name
    if not path.is_file():
        raise BundleCorrupt(f"{name} is missing; fetch or export the bundle again")
    raw = _read_capped(path, min(entry.bytes, MAX_FILE_BYTES))
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise BundleCorrupt(
            f"{name} does not match the hash in the manifest; fetch or export the bundle again"
        )
    return raw


def _read_capped(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise BundleCorrupt(f"{path.name} is larger than the {limit} bytes it may have")
    return raw


def file_entry(raw: bytes) -> FileEntry:
    """The manifest's entry for a file with these bytes."""
    return FileEntry(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
