"""Encode, decode or reconstruct a file into a file: in blocks, resumed after a kill, atomic."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ae_runtime import outputs
from ae_runtime.arrays import checked
from ae_runtime.autoencoder import Autoencoder
from ae_runtime.errors import DataError, LatentMismatch, OutputExists
from ae_runtime.sinks import Layout, Rows, Sink, check_layout, sink_for
from ae_runtime.sources import (
    Source,
    fingerprint,
    first_infinity,
    read_source,
    read_table_file,
    select_columns,
)
from ae_runtime.table import to_blocks

Verb = Literal["encode", "decode", "reconstruct"]
Progress = Callable[[int, int], None]
BLOCK_ROWS = 8192  # fixed: a resumed file is cut at the same rows as an uninterrupted one
NOTE_EVERY_S = 1.0  # how often the place to go on at is written down


@dataclass(frozen=True)
class Done:
    """What became of a file: its rows, how many an earlier try had left, seconds, and remarks."""

    rows: int
    resumed_rows: int
    seconds: float
    notes: list[str]


def process_file(
    ae: Autoencoder,
    verb: Verb,
    source: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Write `verb` of every row of `source` to `out`, which appears only when it is complete.

    The unfinished output lies beside it as OUT.part, and the next call with the same input and
    model goes on there. Raises DataError for rows that cannot be used, LatentMismatch,
    OutputExists, OutputFailed; all but a kill and an interrupt leave nothing behind.
    """
    started, out = time.perf_counter(), Path(out)
    make_sink = sink_for(out)
    part, journal = outputs.part_of(out), outputs.sidecar_of(outputs.part_of(out))
    left = _check_out(out, part, journal, overwrite)
    data = _read(ae, verb, source)
    if out.exists() and out.samefile(data.path):
        raise DataError(f"{out} is the input; choose another output")
    layout = _layout(ae, verb, len(data.arrays[0]))
    check_layout(out, layout)
    # The name too: two members of one .npz share a fingerprint.
    input_id = f"{os.path.abspath(source)} {fingerprint(data.path)}"
    job = {"verb": verb, "model_id": ae.model_id, "input": input_id}

    def note(rows: int, position: int) -> None:
        state = {"job": job, "rows": rows, "position": position}
        outputs.write_atomic(journal, json.dumps(state).encode())

    with outputs.said_in_one_line(out):
        done, position = _left_over(left, part, job)
        try:
            note(done, position)  # first: from now on the part can be known as ours
            sink = make_sink(part, layout, position)
            try:
                with _naming(data.path):
                    _process(ae, verb, data.arrays, done, sink, note, progress)
            finally:
                sink.close()
            _publish(part, out, layout)
        except Exception:
            part.unlink(missing_ok=True)
            raise
        finally:
            if not part.exists():
                for file in (journal, outputs.part_of(journal)):
                    file.unlink(missing_ok=True)
    return Done(len(data.arrays[0]), done, time.perf_counter() - started, data.notes)


def _check_out(out: Path, part: Path, journal: Path, overwrite: bool) -> dict[str, Any] | None:
    """The journal of an earlier, killed try, None without one; all three may be written.

    Raises OutputExists.
    """
    outputs.check_free(out, outputs.read_stamp(out) is not None, overwrite, "an output of ae-run")
    if out.suffix.lower() != ".npz":
        outputs.check_sidecar_free(out)
    left = _read_journal(journal)
    for file in (part, journal):
        if left is None and os.path.lexists(file):
            raise OutputExists(f"{file} is in the way and not ours; move it")
    return left


@dataclass(frozen=True)
class _Input:
    """The arrays to feed, known to fit the model, and remarks on how they were read."""

    path: Path
    arrays: tuple[NDArray[Any], ...]
    notes: list[str]


def _read(ae: Autoencoder, verb: Verb, source: str | Path) -> _Input:
    columns = ae.manifest.columns or []
    if verb != "decode" and any(column.levels or column.type == "date" for column in columns):
        table, path = read_table_file(source), Path(source)
        with _naming(path):
            arrays = to_blocks(table, columns)
        known = {column.name for column in columns}
        left_out = [name for name in table.columns if table.named and name not in known]
        inputs = arrays if ae.manifest.is_mixed else arrays[:1]
        return _Input(path, inputs, _notes(table.note, left_out))
    data = read_source(source)
    array, notes = _latents(ae, data) if verb == "decode" else _rows(ae, data)
    return _Input(data.path, (array,), notes)


def _latents(ae: Autoencoder, data: Source) -> tuple[NDArray[Any], list[str]]:
    notes = _notes(data.note, [])
    stamp = outputs.read_stamp(data.path)
    if stamp is None:
        notes.append(f"{data.path.name} is unstamped: taken as latents of this model")
    elif stamp["model_id"] != ae.model_id:
        raise LatentMismatch(
            f"{data.path} holds latents of model {stamp['model_id'][:12]}, this bundle is "
            f"{ae.model_id[:12]}; decode with the bundle that encoded them"
        )
    with _naming(data.path):
        return checked(data.array, ae.manifest.latent.port, "z"), notes


def _rows(ae: Autoencoder, data: Source) -> tuple[NDArray[Any], list[str]]:
    array, left_out = select_columns(data, ae.manifest.column_names)
    wanted = ae.manifest.inputs[0]
    if wanted.dtype == "uint8" and data.integer is not None and data.integer.all():
        array = array.astype(np.int64)  # text that holds whole numbers only, read as float64
    with _naming(data.path):
        return checked(array, wanted), _notes(data.note, left_out)


def _notes(note: str, left_out: list[str]) -> list[str]:
    notes = [note] if note else []
    if left_out:
        notes.append(f"columns not in the model are left out: {_some(left_out)}")
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its rows."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


def _layout(ae: Autoencoder, verb: Verb, rows: int) -> Layout:
    if verb == "encode":
        names = [f"z{at}" for at in range(ae.latent_dim)]
        whole = np.zeros(ae.latent_dim, bool)
        stamp = {"ae_toolkit": "z", "model_id": ae.model_id}
        return Layout(rows, (ae.latent_dim,), np.dtype(np.float32), "z", names, whole, stamp)
    columns = ae.manifest.columns or []
    names = [column.name or f"x{at}" for at, column in enumerate(columns)]
    whole = np.array([column.integer for column in columns], bool)
    stamp = {"ae_toolkit": "x_hat", "model_id": ae.model_id}
    dtype = np.dtype(ae.manifest.outputs[0].dtype)
    shape, mixed = ae.input_shape, ae.manifest.is_mixed
    return Layout(rows, shape, dtype, "x_hat", names, whole, stamp, words=mixed)


def _read_journal(journal: Path) -> dict[str, Any] | None:
    """What a try wrote down: its job, and the rows and bytes it had done; None if it did not."""
    try:
        state = json.loads(journal.read_bytes())
        return {"job": state["job"], "rows": int(state["rows"]), "position": int(state["position"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _left_over(left: dict[str, Any] | None, part: Path, job: dict[str, str]) -> tuple[int, int]:
    """(rows, bytes) of the same job that are in part; (0, 0) without."""
    if left is None or left["job"] != job or not part.is_file():
        return 0, 0
    return (left["rows"], left["position"]) if part.stat().st_size >= left["position"] else (0, 0)


def _process(
    ae: Autoencoder,
    verb: Verb,
    arrays: tuple[NDArray[Any], ...],
    start: int,
    sink: Sink,
    note: Callable[[int, int], None],
    progress: Progress | None,
) -> None:
    names = None if verb == "decode" else ae.manifest.column_names
    rows, last_note = len(arrays[0]), time.monotonic()
    for first in range(start, rows, BLOCK_ROWS):
        block = tuple(array[first : first + BLOCK_ROWS] for array in arrays)
        _check_finite(block[0], first, names)
        sink.write(_work(ae, verb, block))
        done = first + len(block[0])
        if progress:
            progress(done, rows)
        if time.monotonic() - last_note >= NOTE_EVERY_S:
            position = sink.flush()
            if position is not None:
                note(done, position)
            last_note = time.monotonic()


def _work(ae: Autoencoder, verb: Verb, block: tuple[NDArray[Any], ...]) -> Rows:
    if verb == "encode":
        return ae.encode_arrays(*block)
    z = block[0] if verb == "decode" else ae.encode_arrays(*block)
    rows: Rows = ae.decode(z)
    return rows


def _check_finite(block: NDArray[Any], first: int, names: list[str] | None) -> None:
    infinite = first_infinity(block)
    if infinite:
        row, at = infinite
        column = repr(names[at]) if names else at + 1
        raise DataError(
            f"row {first + row + 1}, column {column} is infinite; "
            "correct it, or write NaN for a missing value"
        )


def _publish(part: Path, out: Path, layout: Layout) -> None:
    """Put the finished part in out's place, its stamp first: an output is never without it."""
    with part.open("rb+") as file:  # a stamp on the disk vouches for rows that are there, too
        os.fsync(file.fileno())
    if out.suffix.lower() == ".npz":
        part.replace(out)
        return
    sidecar = outputs.sidecar_of(out)
    before = sidecar.read_bytes() if sidecar.exists() else None
    stamp = {**layout.stamp, "rows": layout.rows, "bytes": part.stat().st_size}
    outputs.write_atomic(sidecar, (json.dumps(stamp) + "\n").encode())
    try:
        part.replace(out)
    except OSError:
        sidecar.unlink() if before is None else outputs.write_atomic(sidecar, before)
        raise
