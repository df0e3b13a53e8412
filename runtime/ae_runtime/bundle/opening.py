"""Open a bundle: read each of its files once, and check it against the manifest."""

from __future__ import annotations

import hashlib
import io
import os  # not pathlib: a fresh process would spend 2 % of its first row importing it
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from msgspec import Struct

from ae_runtime.bundle import manifest
from ae_runtime.bundle.manifest import FileEntry, Manifest
from ae_runtime.errors import BundleCorrupt, BundleError, BundleNotFound
from ae_runtime.graphs import admission
from ae_runtime.graphs.memory import Needs

MANIFEST = "manifest.json"
GRAPHS = ("encoder.onnx", "decoder.onnx")
REQUIRED = (*GRAPHS, "golden.npz", "recipe.toml")
MAX_MANIFEST_BYTES = 64 << 20
MAX_FILE_BYTES = 2 << 30  # the protobuf limit: no larger graph can be loaded anyway
IS_FOR = "a bundle is a folder or a .zip that ae-export wrote"

Read = Callable[[str, int], bytes | None]  # (name, most) -> the first `most` bytes; None: no file


class Bundle(Struct, frozen=True):
    """A bundle that passed every check of loading: its manifest, and the bytes of its files.

    needs: the memory that its graphs take, "encoder", "decoder" and, where they are, "scorer" and
    "sampler".
    """

    location: str
    manifest: Manifest
    files: dict[str, bytes]
    needs: dict[str, Needs]


def open_bundle(location: str | os.PathLike[str] | bytes, max_memory: int | None = None) -> Bundle:
    """The bundle in the folder or .zip `location`, or in a .zip's bytes, hashes and graphs checked.

    max_memory: bytes that a graph may need for one row; None: as many as one of any origin may.
    Raises BundleNotFound, BundleCorrupt, BundleTooNew or BundleRefused, each with what to do.
    """
    limit = max(max_memory or 0, admission.MAX_ROW_BYTES)
    if isinstance(location, bytes):
        return _open_archive("<bytes>", io.BytesIO(location), limit)
    where = os.fspath(location)
    if os.path.isdir(where):
        return _open(where, lambda: partial(_read_file, where), limit)
    if os.path.isfile(where):
        with open(where, "rb") as file:
            return _open_archive(where, file, limit)
    found = "is a file" if os.path.exists(where) else "does not exist"
    raise BundleNotFound(f"{where} {found}; {IS_FOR}")


def _open_archive(where: str, file: BinaryIO, limit: int) -> Bundle:
    from ae_runtime.bundle import zipped  # a folder's first row does not wait for it

    if not zipped.is_archive(file):
        found = "is a file" if where != "<bytes>" else "are no .zip"
        raise BundleNotFound(f"{where} {found}; {IS_FOR}")
    return _open(where, lambda: zipped.Archive(file).read, limit)


def _open(where: str, reader: Callable[[], Read], limit: int) -> Bundle:
    try:
        read = reader()
        raw = _read_capped(read, MANIFEST, MAX_MANIFEST_BYTES)
        if raw is not None:
            return _checked(where, manifest.parse(raw), read, limit)
        run = read("schema.json", 1) is not None
    except BundleError as error:
        raise type(error)(f"{where}: {error}") from None
    hint = ", it is a run: ae-export makes a bundle of it" if run else ""
    raise BundleNotFound(f"{where} is not a bundle: it holds no {MANIFEST}{hint}")


def _checked(where: str, parsed: Manifest, read: Read, limit: int) -> Bundle:
    z = [parsed.latent.port]
    ends = {"encoder": (parsed.inputs, z), "decoder": (z, parsed.outputs)}
    if parsed.scores:
        ends["scorer"] = parsed.scorer_feeds, parsed.scorer_fetches
    if parsed.sampler:
        ends["sampler"] = parsed.sampler_feeds, z
    names = dict.fromkeys((*REQUIRED, *(f"{part}.onnx" for part in ends)))
    files = {name: _read_checked(read, name, parsed) for name in names}
    needs = {
        part: admission.admit(f"{part}.onnx", files[f"{part}.onnx"], feeds, fetches, limit)
        for part, (feeds, fetches) in ends.items()
    }
    return Bundle(where, parsed, files, needs)


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
