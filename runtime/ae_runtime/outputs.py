"""Outputs that appear only when complete: where they may be written, and what stamps them as ours.

Every output OUT is written to OUT.part beside it and renamed at the end. A file of rows carries
its stamp inside itself (.npz, .parquet), so that a folder of them holds nothing else, or in
OUT.json, with its size: what it is, and the model that made it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ae_runtime.errors import AeError, OutputExists, OutputFailed
from ae_runtime.extras import need

STAMP = ("ae_toolkit", "model_id")  # what the rows are, and the model that made them
KEEP = "keep"  # beside them, of latents that were cut: how many there are
# In the stamp of a shard: the job that made it, and its rows; inside a file both in one field.
JOB, ROWS = "job", "rows"
_SHARD = "ae_toolkit_shard"
# Arrays of an .npz that are none of its rows: its stamp, how windows were cut, what names each row.
STAMP_FIELDS = (*STAMP, KEEP, _SHARD, "window", "stride", "steps", "start", "id")


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
    """Raise OutputExists unless `out` may be written.

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
        # Errors of ours say what was wrong; a pipe that nobody reads is no failure.
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
    """Open a file to write; at the end it is renamed to `path`, after an error removed."""
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
    """The stamp of a file of rows; None without one, or if the file has changed since."""
    if out.suffix.lower() == ".npz":
        return _read_npz_stamp(out)
    if out.suffix.lower() == ".parquet":
        return _read_parquet_stamp(out)
    return read_sidecar(out)


def read_job_stamp(out: Path) -> dict[str, Any] | None:
    """The stamp that says which job made a file of rows; None without one."""
    # Earlier versions wrote OUT.json beside each type of file.
    found = (read_stamp(out), read_sidecar(out))
    return next((stamp for stamp in found if stamp is not None and JOB in stamp), None)


def _read_npz_stamp(out: Path) -> dict[str, Any] | None:
    try:
        with out.open("rb") as file, np.lib.npyio.NpzFile(file) as archive:
            return _stamp_of({name: str(archive[name]) for name in _KNOWN if name in archive})
    except Exception:  # zipfile, zlib and numpy raise many kinds for what is no archive
        return None


def _read_parquet_stamp(out: Path) -> dict[str, Any] | None:
    parquet = need("pyarrow.parquet", "data")
    try:
        found = parquet.read_metadata(out)
        texts = {key.decode(): value for key, value in (found.metadata or {}).items()}
        stamp = _stamp_of({name: texts[name].decode() for name in _KNOWN if name in texts})
    except Exception:  # pyarrow raises many kinds for what is no Parquet file
        return None
    # Who writes some of the rows anew often takes the stamp along.
    return stamp if stamp.get(ROWS, found.num_rows) == found.num_rows else None


_KNOWN = (*STAMP, KEEP, _SHARD)


def _stamp_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Read the stamp from fields inside a file. Raises KeyError or ValueError if it is not ours."""
    stamp: dict[str, Any] = {name: fields[name] for name in STAMP}
    if KEEP in fields:
        stamp[KEEP] = int(fields[KEEP])
    if _SHARD in fields:
        job, rows = fields[_SHARD].split()
        stamp |= {JOB: job, ROWS: int(rows)}
    return stamp


def shard_field(job: str, rows: int) -> dict[str, str]:
    """The field inside a shard that names the job that made it, and its number of rows."""
    return {_SHARD: f"{job} {rows}"}


def read_sidecar(out: Path) -> dict[str, Any] | None:
    """What OUT.json says of out; None without one, or if out has changed its size since."""
    stamp = _read_sidecar(sidecar_of(out))
    if stamp is None or not out.is_file() or stamp["bytes"] != out.stat().st_size:
        return None
    return stamp


def has_sidecar(out: Path) -> bool:
    """Whether OUT.json is the stamp of a file of rows, be it of this one or of one before."""
    return _read_sidecar(sidecar_of(out)) is not None


def check_sidecar_free(out: Path) -> None:
    """Raise OutputExists if OUT.json is anything but the stamp of a file of rows."""
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
