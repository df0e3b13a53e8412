"""Encode, decode or reconstruct a file into a file: streamed, resumed after a kill, atomic."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ae_runtime import outputs
from ae_runtime.bundle.manifest import Latent
from ae_runtime.errors import DataError, LatentMismatch, NoRows
from ae_runtime.files.jobs import skipped, unfinished
from ae_runtime.files.jobs.output import Job, Progress, write_file
from ae_runtime.files.jobs.score_summary import Asked, Judge, layout_of_scores
from ae_runtime.files.jobs.steps import OnError, row_bytes_of
from ae_runtime.files.readers.blocks import NothingStream, SeriesCut, Stream
from ae_runtime.files.readers.columns import Verb, wanted_by
from ae_runtime.files.readers.opening import open_stream
from ae_runtime.files.readers.raw_bytes import closed_on_error, fingerprint
from ae_runtime.files.readers.source import split_member
from ae_runtime.files.writers.layout import Layout, layout_of_latents, layout_of_rows
from ae_runtime.files.writers.opening import check_layout, sink_for
from ae_runtime.model.model import Model
from ae_runtime.model.prefix import check_keep


@dataclass(frozen=True)
class Done:
    """What became of a file.

    rows: written. resumed_rows: those of the input that an earlier try had left. skipped_rows:
    left out, and listed in OUT.skipped.csv. was_done: whether nothing was left to do.
    """

    rows: int
    resumed_rows: int
    seconds: float
    notes: list[str]
    skipped_rows: int = 0
    was_done: bool = False


def process_file(
    model: Model,
    verb: Verb,
    source: str | Path | BinaryIO,
    out: str | Path,
    *,
    overwrite: bool = False,
    on_error: OnError = "stop",
    id_column: str | None = None,
    stride: int | None = None,
    source_format: str | None = None,
    once: bool = False,
    progress: Progress | None = None,
    judge: Judge | None = None,
    keep: int | None = None,
) -> Done:
    """Write `verb` of every row of `source` to `out`, which appears only when it is complete.

    The unfinished output lies beside it as OUT.part. After a kill, an interrupt, a full disk or an
    input that could not be read, the next call with the same input and model goes on there.
    source: a file, a folder of images, or a binary stream. on_error: rows that cannot be used
    "stop" the work, or it "skip"s and lists them. id_column: travels from input to output. stride:
    time steps from one window of a series to the next. source_format: "npy" or "csv", of a stream;
    found out without. once: an output that the same call has made before is left as it is, another
    process that works on it is waited for, and a file of columns without rows has an output without
    rows. judge: what the verb "score" is to write; None
    for what the bundle says. keep: of ordered latents, how many are written, gone through or, of
    a file of latents without a stamp, there. Raises DataError for rows that cannot be used,
    LatentMismatch, ScoreUnknown, OutputExists, OutputFailed, InputFailed.
    """
    started, out = time.perf_counter(), Path(out)
    judge = judge_of(model, verb, judge)
    sink = sink_for(out)
    unfinished.check_out(out, overwrite or once, not sink.stamps_itself)
    if on_error == "skip":
        skipped.check_free(out)
    try:
        stream, notes = open_input(model, verb, source, id_column, stride, source_format, keep)
    except NoRows:
        if not once or not isinstance(source, str | Path):
            raise
        # Of a data set some parts are often empty; each still has its output.
        stream, notes = _nothing_in(model, verb, Path(source), id_column, stride)
    with closing(stream):
        layout = plan(model, verb, stream, judge, keep)
        if out.exists() and stream.path.exists() and out.samefile(stream.path):
            raise DataError(f"{out} is the input; choose another output")
        if layout.id_name is not None and id_column is None and not sink.holds_ids:
            notes.append(f"{out.name} holds no ids: which row is which {layout.id_name} is lost")
            layout = replace(layout, id_name=None)
        check_layout(out, layout)
        # The name too: two members of one .npz share a fingerprint.
        made_from = f"{os.path.abspath(str(source))} {stream.fingerprint}"
        words = {
            "verb": verb,
            "model_id": model.manifest.model_id,
            "input": made_from,
            "id_column": id_column,
            "stride": stride,
            "on_error": on_error,
        }
        if judge is not None:
            words |= judge.words
        if keep is not None:
            words["keep"] = keep
        job = Job(model, verb, stream, layout, on_error, words, judge, keep)
        made = write_file(job, out, overwrite, once, progress)
        last = [*stream.notes, *stream.closing_notes()]
        notes += [note for note in last if note not in notes]
    seconds = time.perf_counter() - started
    if made is None:
        rows = (outputs.read_job_stamp(out) or {}).get(outputs.ROWS, 0)
        return Done(rows, 0, seconds, notes, was_done=True)
    place, resumed_rows = made
    return Done(place.rows, resumed_rows, seconds, notes, place.skipped)


def open_input(
    model: Model,
    verb: Verb,
    source: str | Path | BinaryIO,
    id_column: str | None,
    stride: int | None,
    source_format: str | None,
    keep: int | None,
) -> tuple[Stream, list[str]]:
    """The rows to work on, and remarks.

    Raises DataError for a number of latents that cannot be kept, LatentMismatch for another
    model's latents, TooLittleMemory.
    """
    if keep is not None:
        if verb == "score":
            raise DataError("keep is to encode, decode or reconstruct; scores are of whole codes")
        check_keep(model.manifest.latent, keep)
    unstamped, there = [], keep
    if verb == "decode" and isinstance(source, str | Path):
        path, _ = split_member(str(source))
        stamp = outputs.read_stamp(path)
        if stamp is None:
            unstamped.append(f"{path.name} is unstamped: taken as latents of this model")
        elif stamp["model_id"] != model.manifest.model_id:
            raise LatentMismatch(
                f"{path} holds latents of model {stamp['model_id'][:12]}, this bundle is "
                f"{model.manifest.model_id[:12]}; decode with the bundle that encoded them"
            )
        else:
            there = _latents_in(path, stamp, model.manifest.latent, keep)
    stream = open_stream(
        model.manifest,
        verb,
        source,
        id_column=id_column,
        stride=stride,
        format=source_format,
        latents=there,
    )
    spare = model.spare_memory(row_bytes_of(model, verb))
    if spare is not None:
        with closed_on_error(stream):
            stream.keep_to(spare)
    stream.notes += unstamped
    return stream, stream.notes  # a stream may have more to say at its end


def _nothing_in(
    model: Model, verb: Verb, path: Path, id_column: str | None, stride: int | None
) -> tuple[Stream, list[str]]:
    """What open_input gives for a file without rows."""
    window = wanted_by(model.manifest, verb).window
    cut = None
    if window is not None:
        cut = SeriesCut(window, stride or (1 if verb == "score" else window), 0)
    stream = NothingStream(path, fingerprint(path), id_column, cut)
    return stream, stream.notes


def _latents_in(path: Path, stamp: dict[str, Any], latent: Latent, keep: int | None) -> int | None:
    """How many latents a stamped file has of each row; None for all."""
    there = stamp.get(outputs.KEEP)
    if there is not None:
        check_keep(latent, there)
        if keep is not None and keep > there:
            raise DataError(f"{path} holds the first {there} latents, and keep is {keep}")
    return there


def judge_of(model: Model, verb: Verb, judge: Judge | None) -> Judge | None:
    """The judge of the verb "score"; None for another. Raises ScoreUnknown."""
    if verb != "score":
        return None
    return judge or Judge(model.manifest, Asked())


def plan(model: Model, verb: Verb, stream: Stream, judge: Judge | None, keep: int | None) -> Layout:
    """What the output of a stream is."""
    if judge is not None:
        judge.look_at(steps=stream.series is not None)
        layout = layout_of_scores(judge, stream.rows, stream.series)
    elif verb == "encode":
        layout = layout_of_latents(model.manifest, stream.rows, stream.series, keep)
    else:
        layout = layout_of_rows(model.manifest, stream.rows, stream.series)
    ids = stream.id_name
    if verb != "encode" and stream.series is not None and ids is not None:
        raise DataError(
            f"{stream.path}: windows come back as time steps, which have no ids; leave --id away"
        )
    return replace(layout, id_name=ids)
