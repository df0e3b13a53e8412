"""Open a bundle: read each of its files once, and check it against the manifest."""

from __future__ import annotations

import hashlib
import io
import os  # not pathlib: a fresh process would spend 2 % of its first row importing it
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from msgspec import Struct

from ae_runtime import admission, manifest
from ae_runtime.errors import BundleCorrupt, BundleError, BundleNotFound
from ae_runtime.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
GRAPHS = ("encoder.onnx", "decoder.onnx")
REQUIRED = (*GRAPHS, "golden.npz", "recipe.toml")
MAX_MANIFEST_BYTES = 64 << 20
MAX_FILE_BYTES = 2 << 30  # the protobuf limit: no larger graph can be loaded anyway
IS_FOR = "a bundle is a folder or a .zip that ae-export wrote"

Read = Callable[[str, int], bytes | None]  # (name, most) -> the first `most` bytes; None: no file


class Bundle(Struct, frozen=True):
    """A bundle that passed every check of loading: its manifest, and the bytes of its files."""

    location: str
    manifest: Manifest
    files: dict[str, bytes]


def open_bundle(location: str | os.PathLike[str] | bytes) -> Bundle:
    """The bundle in the folder or .zip `location`, or in a .zip's bytes, hashes and graphs checked.

    Raises BundleNotFound, BundleCorrupt, BundleTooNew or BundleRefused, each with what to do.
    """
    if isinstance(location, bytes):
        return _open_archive("<bytes>", io.BytesIO(location))
    where = os.fspath(location)
    if os.path.isdir(where):
        return _open(where, lambda: partial(_read_file, where))
    if os.path.isfile(where):
        with open(where, "rb") as file:
            return _open_archive(where, file)
    found = "is a file" if os.path.exists(where) else "does not exist"
    raise BundleNotFound(f"{where} {found}; {IS_FOR}")


def _open_archive(where: str, file: BinaryIO) -> Bundle:
    from ae_runtime import zipped  # a folder's first row does not wait for it

    if not zipped.is_archive(file):
        found = "is a file" if where != "<bytes>" else "are no .zip"
        raise BundleNotFound(f"{where} {found}; {IS_FOR}")
    return _open(where, lambda: zipped.Archive(file).read)


def _open(where: str, reader: Callable[[], Read]) -> Bundle:
    try:
        read = reader()
        raw = _read_capped(read, MANIFEST, MAX_MANIFEST_BYTES)
        if raw is not None:
            return _checked(where, manifest.parse(raw), read)
        run = read("schema.json", 1) is not None
    except BundleError as error:
        raise type(error)(f"{where}: {error}") from None
    hint = ", it is a run: ae-export makes a bundle of it" if run else ""
    raise BundleNotFound(f"{where} is not a bundle: it holds no {MANIFEST}{hint}")


def _checked(where: str, parsed: Manifest, read: Read) -> Bundle:
    files = {name: _read_checked(read, name, parsed) for name in REQUIRED}
    z = [parsed.latent.port]
    admission.admit("encoder.onnx", files["encoder.onnx"], parsed.inputs, z)
    admission.admit("decoder.onnx", files["decoder.onnx"], z, parsed.outputs)
    return Bundle(where, parsed, files)


def _read_checked(read: Read, name: str, parsed: Manifest) -> bytes:
    entry = parsed.files.get(name)
    if entry is None:
        raise BundleCorrupt(f"the manifest names no {name}; export again")
    raw = _read_capped(read, name, min(entry.bytes, MAX_FILE_BYTES))
    if raw is None:
        raise BundleCorrupt(f"{name} is missing; fetch or export the bundle again")
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise BundleCorrupt(
            f"{name} does not match the hash in the manifest; fetch or export the bundle again"
        )
    return raw


def _read_capped(read: Read, name: str, limit: int) -> bytes | None:
    raw = read(name, limit + 1)
    if raw is not None and len(raw) > limit:
        raise BundleCorrupt(
            f"{name} is larger than the {limit} bytes it may have; fetch or export the bundle again"
        )
    return raw


def _read_file(folder: str, name: str, most: int) -> bytes | None:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read(most)


def file_entry(raw: bytes) -> FileEntry:
    """The manifest's entry for a file with these bytes."""
    return FileEntry(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
