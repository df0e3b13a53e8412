"""A task from file to file: streamed, resumed after a kill, its output complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ae_runtime import outputs
from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.jobs import skipped
from ae_runtime.files.jobs.journal import Journal
from ae_runtime.files.jobs.skipped import SkippedRows
from ae_runtime.files.jobs.steps import OnError, Progress, Start, block_size, steps
from ae_runtime.files.jobs.task import Task
from ae_runtime.files.jobs.unfinished import Place, Unfinished, check_out, keeps, locked, publish
from ae_runtime.files.readers.blocks import NothingStream, SeriesCut, Stream
from ae_runtime.files.readers.formats import split_member
from ae_runtime.files.readers.noise import NoiseReader
from ae_runtime.files.readers.opening import open_stream
from ae_runtime.files.readers.raw_bytes import closed_on_error, fingerprint
from ae_runtime.files.writers.layout import Layout, Writer
from ae_runtime.files.writers.opening import check_layout, writer_for

Source = str | Path | BinaryIO | NoiseReader


@dataclass(frozen=True)
class JobOptions:
    """How a file is read, and what becomes of its output.

    overwrite: whether an output that is there is replaced. on_error: rows that cannot be used
    "stop" the work, or it "skip"s and lists them. id_column: is copied from input to output.
    stride: time steps from one window of a series to the next; None for a window's length, or 1 to
    score. progress(done, rows): called after each block. source_format: "npy" or "csv", of a pipe;
    None to find it out. once: an output that the same call has made before is left as it is,
    another process that works on it is waited for, and a file of columns without rows has an output
    without rows.
    """

    overwrite: bool = False
    on_error: OnError = "stop"
    id_column: str | None = None
    stride: int | None = None
    progress: Progress | None = None
    source_format: str | None = None
    once: bool = False


DEFAULTS = JobOptions()


@dataclass(frozen=True)
class JobResult:
    """Result of a task on a file.

    rows: how many were written. resumed_rows: of the input, done by an earlier try. skipped_rows:
    left out, and listed in OUT.skipped.csv. was_done: whether nothing was left to do.
    """

    rows: int
    resumed_rows: int
    seconds: float
    notes: list[str]
    skipped_rows: int = 0
    was_done: bool = False


def process_file(
    task: Task, source: Source, out: str | Path, options: JobOptions = DEFAULTS
) -> JobResult:
    """Write what `task` computes of every row of `source` to `out`, which appears when complete.

    The unfinished output lies beside it as OUT.part. After a kill, an interrupt, a full disk or an
    input that could not be read, the next call with the same input and model goes on there.
    source: a file, a folder of images, a binary stream, or noise for samples. Raises DataError for
    rows that cannot be used, LatentMismatch, OutputExists, OutputFailed, InputFailed.
    """
    started, out = time.perf_counter(), Path(out)
    writer = writer_for(out)
    check_out(out, options.overwrite or options.once, not writer.stamps_itself)
    if options.on_error == "skip":
        skipped.check_free(out)
    reader = open_input(task, source, options)
    with closing(reader):
        layout = layout_of(task, reader)
        if out.exists() and reader.path.exists() and out.samefile(reader.path):
            raise DataError(f"{out} is the input; choose another output")
        if layout.id_name is not None and options.id_column is None and not writer.holds_ids:
            name = layout.id_name
            reader.notes.append(f"{out.name} holds no ids: which row is which {name} is lost")
            layout = replace(layout, id_name=None)
        check_layout(out, layout)
        key = {
            "verb": task.name,
            "model_id": task.model.manifest.model_id,
            # The name too: two members of one .npz share a fingerprint.
            "input": f"{os.path.abspath(str(source))} {reader.fingerprint}",
            "id_column": options.id_column,
            "stride": options.stride,
            "on_error": options.on_error,
        }
        job = Job(task, reader, layout, options, key | task.key)
        made = write_file(job, out)
        notes = all_notes(reader)
    seconds = time.perf_counter() - started
    if made is None:
        rows = (outputs.read_job_stamp(out) or {}).get(outputs.ROWS, 0)
        return JobResult(rows, 0, seconds, notes, was_done=True)
    place, resumed_rows = made
    return JobResult(place.rows, resumed_rows, seconds, notes, place.skipped)


def open_input(task: Task, source: Source, options: JobOptions) -> Stream:
    """Open a reader. Raises LatentMismatch for another model's latents, TooLittleMemory."""
    if isinstance(source, NoiseReader):
        return source
    path = split_member(str(source))[0] if isinstance(source, str | Path) else None
    wanted, notes = task.columns(path)
    try:
        reader = open_stream(
            wanted,
            source,
            id_column=options.id_column,
            stride=options.stride,
            format=options.source_format,
        )
    except NoRows:
        if not options.once or path is None:
            raise
        # Some parts of a data set are often empty; each still has its output.
        cut = None
        if wanted.window is not None:
            stride = options.stride or wanted.stride or wanted.window
            cut = SeriesCut(wanted.window, stride, 0)
        return NothingStream(path, fingerprint(path), options.id_column, cut)
    spare = task.model.spare_memory(task.row_bytes)
    if spare is not None:
        with closed_on_error(reader):
            reader.keep_to(spare)
    reader.notes += notes
    return reader


def layout_of(task: Task, reader: Stream) -> Layout:
    """Layout of a task's output."""
    layout = task.layout(reader.rows, reader.series)
    if task.joins_windows and reader.series is not None and reader.id_name is not None:
        raise DataError(
            f"{reader.path}: windows come back as time steps, which have no ids; leave --id away"
        )
    return replace(layout, id_name=reader.id_name)


def all_notes(reader: Stream) -> list[str]:
    """The reader's remarks, with those that are known only after all rows were read."""
    return list(dict.fromkeys([*reader.notes, *reader.closing_notes()]))


@dataclass(frozen=True)
class Job:
    """A task on the rows of a reader, and how they are laid out.

    key: what the output depends on, beside the tile and the blocks that it is computed in.
    """

    task: Task
    reader: Stream
    layout: Layout
    options: JobOptions
    key: dict[str, Any]

    @property
    def id(self) -> str:
        """Text that identifies the job, and shows none of the paths in its key."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:32]


def write_file(job: Job, out: Path) -> tuple[Place, int] | None:
    """Write it; returns (its end, input rows done before), None where `once` found it complete."""
    kind, once = writer_for(out), job.options.once
    sidecar = not kind.stamps_itself
    size = block_size(job.task)
    cut = {"tile": job.task.model.plan.tile, "block": size}
    files = Unfinished(out, job.key | cut)
    if once and is_made_by(out, job) and not files.journal.exists():
        return None
    with outputs.said_in_one_line(out), locked(files.part, wait=once) as file:
        if once and is_made_by(out, job):
            files.remove()  # of a try that was killed between its last two steps
            return None
        check_out(out, job.options.overwrite, sidecar)  # again: what another process did meanwhile
        start = files.left_over() if job.reader.fingerprint else Place()
        work = _Work(job, files, file, start)
        try:
            files.note(start)  # first: from now on the part can be known as ours
            writer = kind(work.begin(), job.layout, fresh=start.bytes == 0)
            if not start.done:
                work.go(writer, size)
            work.finish(writer, sidecar)
        except BaseException as error:
            work.leave(keeps(error))
            raise
        finally:
            work.close()
    return work.place, start.first


def is_made_by(out: Path, job: Job) -> bool:
    """Whether out is complete and this job made it."""
    stamp = outputs.read_job_stamp(out)
    return stamp is not None and stamp[outputs.JOB] == job.id


class _Work:
    """A job that is being done, and the place after its last whole block."""

    def __init__(self, job: Job, files: Unfinished, file: BinaryIO, start: Place) -> None:
        self.job, self.files, self.file = job, files, file
        self.place = start  # after the last whole block
        self.list = SkippedRows(files.skipped, start.skipped_bytes)
        self.journal = Journal(files, self._flush, start)

    def begin(self) -> BinaryIO:
        """Cut the unfinished file to where the job goes on; returns it."""
        self.file.truncate(self.place.bytes)
        self.file.seek(self.place.bytes)
        return self.file

    def go(self, writer: Writer, size: int) -> None:
        """Write all blocks that are left."""
        job, place = self.job, self.place
        listed = place.listed  # rows that were computed before, and are computed again
        start = Start(place.first, place.position, place.rows)
        made = steps(job.task, job.reader, size, job.options.on_error, start)
        with closing(made) as found:
            for step in found:
                writer.write(step.chunk if job.layout.id_name else step.chunk._replace(ids=None))
                if step.first >= listed:
                    self.list.add(step.first, step.bad)
                    place = replace(place, skipped=place.skipped + len(step.bad))
                place = replace(
                    place,
                    rows=place.rows + step.chunk.rows,
                    bytes=self.file.tell(),
                    skipped_bytes=self.list.bytes,
                    listed=max(listed, step.rows),
                )
                if step.again is not None:
                    first, position = step.again
                    self.place = place = replace(place, first=first, position=position)
                if job.options.progress:
                    job.options.progress(step.rows, job.reader.rows)
                if step.again is not None:
                    self.journal.maybe(self.place)
        series = job.reader.series
        steps_ = series.steps if series else None
        self.place = replace(place, first=place.listed, steps=steps_, done=True)

    def _flush(self) -> None:
        os.fsync(self.file.fileno())
        self.list.flush()

    def finish(self, writer: Writer, sidecar: bool) -> None:
        """Complete the output and put it in its place."""
        self.journal.now(self.place)
        files, place = self.files, self.place
        stamp = self.job.layout.stamp | self._cut_of_series()
        if sidecar:
            stamp |= {outputs.ROWS: place.rows, outputs.JOB: self.job.id}
        elif self.job.options.once:  # the file says which job made it
            stamp |= outputs.shard_field(self.job.id, place.rows)
        writer.finish(place.rows, stamp, files.part, files.packed)
        if os.name == "nt":
            self.file.close()  # an open file cannot be renamed there
        made = files.packed if writer.packs else files.part
        publish(files, place, made, stamp if sidecar else None)

    def _cut_of_series(self) -> dict[str, Any]:
        series = self.job.reader.series
        if series is None or not self.job.layout.starts:
            return {}
        return {"window": series.window, "stride": series.stride, "steps": self.place.steps}

    def close(self) -> None:
        self.journal.close()
        self.list.close()

    def leave(self, keep: bool) -> None:
        """End the work early. keep: leave what is done for the next call, else remove it."""
        with contextlib.suppress(OSError):
            self.journal.wait()  # before it writes into what is removed here
        if not keep or not self.place.first or not self.job.reader.fingerprint:
            self.files.remove()
        else:
            with contextlib.suppress(OSError):  # a full disk: the note before it holds
                self.journal.now(self.place)
