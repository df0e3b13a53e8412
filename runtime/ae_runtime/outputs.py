"""Outputs that appear only when complete: where they may be written, and what stamps them as ours.

Every output OUT is written to OUT.part beside it and renamed at the end. A file of rows carries
its stamp in OUT.json (.npz and .parquet inside themselves): what it is, the model that made it,
and its size.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ae_runtime.errors import AeError, OutputExists, OutputFailed
from ae_runtime.extras import need

STAMP = ("ae_toolkit", "model_id")  # what the rows are, and the model that made them
KEEP = "keep"  # beside them, of latents that were cut: how many there are
# Arrays of an .npz that are none of its rows: its stamp, how windows were cut, what names each row.
STAMP_FIELDS = (*STAMP, KEEP, "window", "stride", "steps", "start", "id")


def part_of(out: Path) -> Path:
    """Where the unfinished output lies."""
    return _beside(out, ".part")


def sidecar_of(out: Path) -> Path:
    """Where the stamp of a file of rows lies."""
    return _beside(out, ".json")


def skipped_of(out: Path) -> Path:
    """Where the list of rows that were left out lies."""
    return _beside(out, ".skipped.csv")


def _beside(out: Path, ending: str) -> Path:
    if not out.name:
        raise OutputExists(f"{out} cannot be written anew; choose a name for the output")
    return out.with_name(out.name + ending)


def check_free(out: Path, ours: bool, overwrite: bool, what: str) -> None:
    """Return if `out` may be written.

    ours: whether what lies there was made by the same command. Raises OutputExists for anything
    that is not ours, and for ours unless overwrite is set.
    """
    if not os.path.lexists(out):
        if not out.parent.is_dir():
            raise OutputExists(f"{out}: the folder {out.parent} does not exist; make it first")
        return
    if not ours:
        raise OutputExists(
            f"{out} exists and is not {what}; it is never overwritten, choose another"
        )
    if not overwrite:
        raise OutputExists(f"{out} exists already; --overwrite replaces it")


def is_empty_folder(path: Path) -> bool:
    """Whether path is a folder without anything in it, which counts as absent."""
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


@contextlib.contextmanager
def said_in_one_line(out: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into OutputFailed."""
    try:
        yield
    except OSError as error:
        # What says itself what was wrong, and a pipe that nobody reads: that is no failure of ours.
        if isinstance(error, AeError | BrokenPipeError):
            raise
        reasons = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "the disk quota is used up; free some space",
            errno.EFBIG: "the file would be larger than this system allows",
            errno.EACCES: "permission denied; choose a folder that you may write to",
            errno.EROFS: "the file system is read-only; choose another folder",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise OutputFailed(f"{out} could not be written: {reason}") from None


def write_atomic(path: Path, raw: bytes) -> None:
    """Write a small file so that it is whole or absent, whatever happens in between."""
    with appearing(path) as file:
        file.write(raw)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` at the end, or goes with an error."""
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace_folder(part: Path, out: Path) -> None:
    """Put the finished folder `part` where `out` is, the old one kept until the new one stands."""
    if not os.path.lexists(out):
        part.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{out.name}.old.", dir=out.parent))
    old = aside / out.name
    out.rename(old)
    try:
        part.rename(out)
    except OSError:
        old.rename(out)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


def read_stamp(out: Path) -> dict[str, Any] | None:
    """The stamp of a file of rows; None without one, or if the file has changed its size since."""
    if out.suffix.lower() == ".npz":
        try:
            with out.open("rb") as file, np.lib.npyio.NpzFile(file) as archive:
                cut = {KEEP: int(archive[KEEP])} if KEEP in archive else {}
                return {name: str(archive[name]) for name in STAMP} | cut
        except Exception:  # zipfile, zlib and numpy raise many kinds for what is no archive
            return None
    if out.suffix.lower() == ".parquet":
        return _read_parquet_stamp(out)
    return read_sidecar(out)


def read_sidecar(out: Path) -> dict[str, Any] | None:
    """What OUT.json says of out; None without one, or if out has changed its size since."""
    stamp = _read_sidecar(sidecar_of(out))
    if stamp is None or not out.is_file() or stamp["bytes"] != out.stat().st_size:
        return None
    return stamp


def _read_parquet_stamp(out: Path) -> dict[str, Any] | None:
    parquet = need("pyarrow.parquet", "data")
    try:
        fields = parquet.read_schema(out).metadata
        cut = {KEEP: int(fields[KEEP.encode()])} if KEEP.encode() in fields else {}
        return {name: fields[name.encode()].decode() for name in STAMP} | cut
    except Exception:  # pyarrow raises many kinds for what is no Parquet file
        return None


def has_sidecar(out: Path) -> bool:
    """Whether OUT.json is the stamp of a file of rows, be it of this one or of one before."""
    return _read_sidecar(sidecar_of(out)) is not None


def check_sidecar_free(out: Path) -> None:
    """Raise OutputExists if OUT.json is something else than the stamp of a file of rows."""
    sidecar = sidecar_of(out)
    if os.path.lexists(sidecar) and _read_sidecar(sidecar) is None:
        raise OutputExists(
            f"{sidecar} exists and is not the stamp of an output; it is never overwritten, "
            f"choose another name than {out.name}"
        )


def _read_sidecar(sidecar: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads(sidecar.read_bytes())
        return stamp if all(stamp[name] for name in (*STAMP, "bytes")) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
