"""Open a bundle: read each of its files once, and check it against the manifest."""

from __future__ import annotations

import hashlib
import os  # not pathlib: a fresh process would spend 2 % of its first row importing it

from msgspec import Struct

from ae_runtime import admission, manifest
from ae_runtime.errors import BundleCorrupt, BundleError, BundleNotFound
from ae_runtime.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
GRAPHS = ("encoder.onnx", "decoder.onnx")
REQUIRED = (*GRAPHS, "golden.npz", "recipe.toml")
MAX_MANIFEST_BYTES = 64 << 20
MAX_FILE_BYTES = 2 << 30  # the protobuf limit: no larger graph can be loaded anyway


class Bundle(Struct, frozen=True):
    """A bundle that passed every check of loading: its manifest, and the bytes of its files."""

    location: str
    manifest: Manifest
    files: dict[str, bytes]


def open_bundle(location: str | os.PathLike[str]) -> Bundle:
    """The bundle in the folder `location`, hashes and graphs checked.

    Raises BundleNotFound, BundleCorrupt, BundleTooNew or BundleRefused, each with what to do.
    """
    folder = os.fspath(location)
    if not os.path.isdir(folder):
        found = "is a file" if os.path.exists(folder) else "does not exist"
        raise BundleNotFound(f"{folder} {found}; a bundle is a folder that ae-export wrote")
    if not os.path.isfile(os.path.join(folder, MANIFEST)):
        run = os.path.isfile(os.path.join(folder, "schema.json"))
        hint = ", it is a run: ae-export makes a bundle of it" if run else ""
        raise BundleNotFound(f"{folder} is not a bundle: it holds no {MANIFEST}{hint}")
    try:
        parsed = manifest.parse(_read_capped(folder, MANIFEST, MAX_MANIFEST_BYTES))
        files = {name: _read_checked(folder, name, parsed) for name in REQUIRED}
        x, z, x_hat = parsed.inputs[0], parsed.latent.port, parsed.outputs[0]
        admission.admit("encoder.onnx", files["encoder.onnx"], x, z)
        admission.admit("decoder.onnx", files["decoder.onnx"], z, x_hat)
    except BundleError as error:
        raise type(error)(f"{folder}: {error}") from None
    return Bundle(folder, parsed, files)


def _read_checked(folder: str, name: str, parsed: Manifest) -> bytes:
    entry = parsed.files.get(name)
    if entry is None:
        raise BundleCorrupt(f"the manifest names no {name}; export again")
    if not os.path.isfile(os.path.join(folder, name)):
        raise BundleCorrupt(f"{name} is missing; fetch or export the bundle again")
    raw = _read_capped(folder, name, min(entry.bytes, MAX_FILE_BYTES))
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise BundleCorrupt(
            f"{name} does not match the hash in the manifest; fetch or export the bundle again"
        )
    return raw


def _read_capped(folder: str, name: str, limit: int) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise BundleCorrupt(
            f"{name} is larger than the {limit} bytes it may have; fetch or export the bundle again"
        )
    return raw


def file_entry(raw: bytes) -> FileEntry:
    """The manifest's entry for a file with these bytes."""
    return FileEntry(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
