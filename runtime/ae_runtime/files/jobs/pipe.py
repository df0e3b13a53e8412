"""Encode, decode or reconstruct into a pipe: rows as they come, nothing to go on with."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ae_runtime import outputs
from ae_runtime.errors import DataError
from ae_runtime.files.jobs.job import Done, judge_of, open_input, plan
from ae_runtime.files.jobs.output import Progress
from ae_runtime.files.jobs.score_summary import Judge
from ae_runtime.files.jobs.steps import block_size, steps
from ae_runtime.files.readers.columns import Verb
from ae_runtime.files.writers.opening import SINKS, check_layout
from ae_runtime.model.model import Model

FORMATS = ("npy", "csv")
STDOUT = Path("stdout")


def process_to_pipe(
    model: Model,
    verb: Verb,
    source: str | Path | BinaryIO,
    out: BinaryIO,
    *,
    out_format: str,
    id_column: str | None = None,
    stride: int | None = None,
    source_format: str | None = None,
    progress: Progress | None = None,
    judge: Judge | None = None,
    keep: int | None = None,
) -> Done:
    """Write `verb` of every row of `source` to the open file `out`, as "npy" or "csv".

    Like job.process_file, but what was written before an error stays written. Raises DataError
    for .npy where the number of rows is known at the end only, BrokenPipeError if nobody reads.
    """
    started = time.perf_counter()
    judge = judge_of(model, verb, judge)
    stream, notes = open_input(model, verb, source, id_column, stride, source_format, keep)
    with closing(stream):
        layout = plan(model, verb, stream, judge, keep)
        if out_format == "npy" and id_column is None:
            layout = replace(layout, id_name=None)
        check_layout(STDOUT, layout, f".{out_format}")
        if out_format == "npy" and layout.rows is None:
            raise DataError(
                f"{stream.path}: how many rows there are is known at the end, and a .npy says it "
                "first; write --to csv, or to a file with --out FILE.npy"
            )
        rows, size = 0, block_size(model, verb)
        with (
            outputs.said_in_one_line(STDOUT),
            closing(steps(model, verb, stream, size, "stop", judge=judge, keep=keep)) as found,
        ):
            sink = SINKS[f".{out_format}"](out, layout, fresh=True)
            for step in found:
                sink.write(step.chunk if layout.id_name else step.chunk._replace(ids=None))
                rows += step.chunk.rows
                if progress:
                    progress(step.rows, stream.rows)
            out.flush()
        last = [*stream.notes, *stream.closing_notes()]
        notes += [note for note in last if note not in notes]
    return Done(rows, 0, time.perf_counter() - started, notes)
