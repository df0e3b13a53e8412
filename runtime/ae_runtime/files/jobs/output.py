"""A job on one output file: gone on with where it was left, complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ae_runtime import outputs
from ae_runtime.files.jobs import skipped
from ae_runtime.files.jobs.journal import Noter
from ae_runtime.files.jobs.score_summary import Judge
from ae_runtime.files.jobs.skipped import SkippedRows
from ae_runtime.files.jobs.steps import OnError, Start, block_size, steps
from ae_runtime.files.jobs.unfinished import Place, Unfinished, check_out, keeps, locked
from ae_runtime.files.readers.blocks import Stream
from ae_runtime.files.readers.columns import Verb
from ae_runtime.files.writers.layout import Layout
from ae_runtime.files.writers.opening import Sink, sink_for
from ae_runtime.model.model import Model

Progress = Callable[[int, int | None], None]  # rows of the input done, and all of them if known


@dataclass(frozen=True)
class Job:
    """What to do: `verb` of the rows of a stream, to be laid out so, under these words.

    words: what the output depends on, beside the tile and the blocks that it is computed in.
    """

    model: Model
    verb: Verb
    stream: Stream
    layout: Layout
    on_error: OnError
    words: dict[str, Any]
    judge: Judge | None = None
    keep: int | None = None

    @property
    def id(self) -> str:
        """Text that another job does not have, without the paths in its words."""
        return hashlib.sha256(json.dumps(self.words, sort_keys=True).encode()).hexdigest()[:32]


def write_file(
    job: Job, out: Path, overwrite: bool, once: bool, progress: Progress | None
) -> tuple[Place, int] | None:
    """(where it ended, rows of the input that were done before); None: `once`, and it was there.

    See job.process_file.
    """
    kind = sink_for(out)
    sidecar = not kind.stamps_itself
    size = block_size(job.model, job.verb)
    cut = {"tile": job.model.plan.tile, "block": size}
    files = Unfinished(out, job.words | cut)
    if once and is_made_by(out, job) and not files.journal.exists():
        return None
    with outputs.said_in_one_line(out), locked(files.part, wait=once) as file:
        if once and is_made_by(out, job):
            files.remove()  # of a try that was killed between its last two steps
            return None
        check_out(out, overwrite, sidecar)  # again: what another process did meanwhile
        start = files.left_over() if job.stream.fingerprint else Place()
        work = _Work(job, files, file, start)
        try:
            files.note(start)  # first: from now on the part can be known as ours
            sink = kind(work.begin(), job.layout, fresh=start.bytes == 0)
            if not start.done:
                work.go(sink, size, progress)
            work.finish(sink, once, sidecar)
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
    """The steps of a job, and the place to go on at after each."""

    def __init__(self, job: Job, files: Unfinished, file: BinaryIO, start: Place) -> None:
        self.job, self.files, self.file = job, files, file
        self.place = start  # after the last whole block
        self.list = SkippedRows(files.skipped, start.skipped_bytes)
        self.noter = Noter(files, self._flush, start)

    def begin(self) -> BinaryIO:
        """The part, cut where the job goes on."""
        self.file.truncate(self.place.bytes)
        self.file.seek(self.place.bytes)
        return self.file

    def go(self, sink: Sink, size: int, progress: Progress | None) -> None:
        """Write all blocks that are left."""
        job, place = self.job, self.place
        listed = place.listed  # rows that were computed before, and are computed again
        start = Start(place.first, place.position, place.rows)
        made = steps(
            job.model, job.verb, job.stream, size, job.on_error, start, job.judge, job.keep
        )
        with closing(made) as found:
            for step in found:
                sink.write(step.chunk if job.layout.id_name else step.chunk._replace(ids=None))
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
                if progress:
                    progress(step.rows, job.stream.rows)
                if step.again is not None:
                    self.noter.maybe(self.place)
        series = job.stream.series
        steps_ = series.steps if series else None
        self.place = replace(place, first=place.listed, steps=steps_, done=True)

    def _flush(self) -> None:
        os.fsync(self.file.fileno())
        self.list.flush()

    def finish(self, sink: Sink, once: bool, sidecar: bool) -> None:
        """Complete the output and put it in its place. once: it says which job made it."""
        self.noter.now(self.place)
        files, place = self.files, self.place
        stamp = self.job.layout.stamp | self._cut_of_series()
        if sidecar:
            stamp |= {outputs.ROWS: place.rows, outputs.JOB: self.job.id}
        elif once:
            stamp |= outputs.shard_field(self.job.id, place.rows)
        sink.finish(place.rows, stamp, files.part, files.packed)
        if os.name == "nt":
            self.file.close()  # an open file cannot be renamed there
        made = files.packed if sink.packs else files.part
        publish(files, place, made, stamp if sidecar else None)

    def _cut_of_series(self) -> dict[str, Any]:
        series = self.job.stream.series
        if series is None or self.job.verb != "encode":
            return {}
        return {"window": series.window, "stride": series.stride, "steps": self.place.steps}

    def close(self) -> None:
        self.noter.close()
        self.list.close()

    def leave(self, keep: bool) -> None:
        """Keep what is done for the next call, or nothing."""
        with contextlib.suppress(OSError):
            self.noter.wait()  # before it writes into what is removed here
        if not keep or not self.place.first or not self.job.stream.fingerprint:
            self.files.remove()
        else:
            with contextlib.suppress(OSError):  # a full disk: the note before it holds
                self.noter.now(self.place)


def publish(files: Unfinished, place: Place, made: Path, stamp: dict[str, Any] | None) -> None:
    """Put what was made in OUT's place, and before it the stamp that goes beside.

    stamp: None where it lies inside; one that lies beside is of an earlier output, and goes.
    """
    with made.open("rb+") as file:  # a stamp on the disk vouches for rows that are there, too
        os.fsync(file.fileno())
    skipped.publish(files.skipped, files.out, place.skipped_bytes)
    sidecar = outputs.sidecar_of(files.out)
    before = sidecar.read_bytes() if outputs.has_sidecar(files.out) else None
    if stamp is not None:
        stamp["bytes"] = made.stat().st_size
        outputs.write_atomic(sidecar, (json.dumps(stamp) + "\n").encode())
    elif before is not None:
        sidecar.unlink()
    try:
        made.replace(files.out)
    except OSError:
        if before is not None:
            outputs.write_atomic(sidecar, before)
        elif stamp is not None:
            sidecar.unlink()
        raise
    files.remove()
