"""Put a bundle where the user wants it, as a folder or a .zip, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from ae_runtime import outputs
from ae_runtime.bundle.opening import MANIFEST, REQUIRED, open_bundle
from ae_runtime.bundle.zipped import zip_bundle
from ae_runtime.errors import BundleError, OutputExists
from ae_runtime.graphs.admission import ANY_BYTES

CARD = "README.md"


def check_out(out: Path, overwrite: bool, zipped: bool) -> None:
    """Raise OutputExists unless a bundle may be written to `out`."""
    if zipped or not outputs.is_empty_folder(out):
        outputs.check_free(out, _is_ours(out, zipped), overwrite, "a bundle of ae-export")
    part = outputs.part_of(out)
    # A kill leaves a file half written under its name and ".part".
    names = {p.name.removesuffix(".part") for p in part.iterdir()} if part.is_dir() else set()
    if (part.is_file() and not zipped) or names - {*REQUIRED, CARD, MANIFEST}:
        raise OutputExists(f"{part} is in the way and not ours; move it")


def _is_ours(out: Path, zipped: bool) -> bool:
    if not zipped:
        return (out / MANIFEST).is_file()
    try:
        open_bundle(out, ANY_BYTES)
    except BundleError:
        return False
    return out.is_file()


def write(out: Path, files: dict[str, bytes], zipped: bool) -> int:
    """Write the files, load them as any user would, and only then put them where OUT is.

    Returns the bytes written. Raises OutputFailed.
    """
    if zipped:
        raw = zip_bundle(files)
        open_bundle(raw, ANY_BYTES)
        with outputs.said_in_one_line(out):
            outputs.write_atomic(out, raw)
        return len(raw)
    part = outputs.part_of(out)
    try:
        with outputs.said_in_one_line(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for name, raw in files.items():
                outputs.write_atomic(part / name, raw)
            open_bundle(part, ANY_BYTES)
            if outputs.is_empty_folder(out):
                out.rmdir()
            outputs.replace_folder(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return sum(len(raw) for raw in files.values())
