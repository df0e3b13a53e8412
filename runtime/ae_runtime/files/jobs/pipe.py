"""A task from a file to a pipe, or without an output; neither is resumed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ae_runtime import outputs
from ae_runtime.errors import DataError
from ae_runtime.files.jobs.job import (
    DEFAULTS,
    JobOptions,
    JobResult,
    Source,
    all_notes,
    layout_of,
    open_input,
)
from ae_runtime.files.jobs.steps import block_size, steps
from ae_runtime.files.jobs.task import Task
from ae_runtime.files.readers.blocks import Stream
from ae_runtime.files.writers.layout import Chunk, Layout, Writer
from ae_runtime.files.writers.opening import WRITERS, check_layout

FORMATS = ("npy", "csv")
STDOUT = Path("stdout")


class NoWriter:
    """A writer that writes nothing, for tasks that only count."""

    def write(self, chunk: Chunk) -> None: ...


def process_to_pipe(
    task: Task,
    source: Source,
    out: BinaryIO,
    out_format: str,
    options: JobOptions = DEFAULTS,
) -> JobResult:
    """Write what `task` computes of every row of `source` to the open file `out`.

    out_format: "npy" or "csv". Like job.process_file, but what was written before an error stays
    written; overwrite, on_error and once have no effect. Raises DataError for .npy where the
    number of rows is known at the end only, BrokenPipeError if nobody reads.
    """
    started = time.perf_counter()
    with closing(open_input(task, source, options)) as reader:
        layout = layout_of(task, reader)
        if out_format == "npy" and options.id_column is None:
            layout = replace(layout, id_name=None)
        check_layout(STDOUT, layout, f".{out_format}")
        if out_format == "npy" and layout.rows is None:
            raise DataError(
                f"{reader.path}: how many rows there are is known at the end, and a .npy says it "
                "first; write --to csv, or to a file with --out FILE.npy"
            )
        with outputs.said_in_one_line(STDOUT):
            writer = WRITERS[f".{out_format}"](out, layout, fresh=True)
            rows = _write(task, reader, layout, writer, options)
            out.flush()
        notes = all_notes(reader)
    return JobResult(rows, 0, time.perf_counter() - started, notes)


def count(task: Task, source: Source, options: JobOptions = DEFAULTS) -> JobResult:
    """Run `task` on every row of `source` for what it counts, and write nothing."""
    started = time.perf_counter()
    with closing(open_input(task, source, options)) as reader:
        rows = _write(task, reader, layout_of(task, reader), NoWriter(), options)
        notes = all_notes(reader)
    return JobResult(rows, 0, time.perf_counter() - started, notes)


def _write(
    task: Task, reader: Stream, layout: Layout, writer: Writer | NoWriter, options: JobOptions
) -> int:
    """Write all rows; returns how many."""
    rows = 0
    with closing(steps(task, reader, block_size(task), "stop")) as found:
        for step in found:
            writer.write(step.chunk if layout.id_name else step.chunk._replace(ids=None))
            rows += step.chunk.rows
            if options.progress:
                options.progress(step.rows, reader.rows)
    return rows
