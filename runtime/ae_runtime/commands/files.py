"""The commands of ae-run that go from file to file: encode, decode, reconstruct."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from ae_runtime import console as cmd
from ae_runtime import outputs
from ae_runtime.autoencoder import load
from ae_runtime.commands.options import bundle_argument, file_options, out_option
from ae_runtime.console import common_options, print_json, say
from ae_runtime.files.jobs.job import JobOptions, Source, process_file
from ae_runtime.files.jobs.pipe import FORMATS, process_to_pipe
from ae_runtime.files.jobs.steps import Progress
from ae_runtime.files.jobs.task import Decode, Encode, Reconstruct, Task
from ae_runtime.files.readers.formats import suffix_of
from ae_runtime.model.model import Model
from ae_runtime.shards import data_files, place_shards

PIPE = "-"  # stdin or stdout
TO_IS_NOT_OF_FILES = "--to is for stdout and for folders; a file's name says its type"
_EPILOG = """Examples: ae-run {verb} bundle {file}.npy --out {out}.npy;
cat {file}.csv | ae-run {verb} bundle - --out - ; ae-run {verb} bundle shards/ --out done/"""


def add_file_commands(group: click.Group) -> None:
    """Add encode, decode and reconstruct: all three take files and write files."""
    _add(
        group,
        Encode,
        ("IN", "rows", "z"),
        "Write the latents of the rows in IN.",
        "Of ordered latents, write the first K alone.  [default: all]",
    )
    _add(
        group,
        Decode,
        ("Z", "z", "x_hat"),
        "Write the rows that the latents in Z stand for.",
        "Z holds the first K of ordered latents, or only these are to be used.  "
        "[default: what its stamp says, or all]",
    )
    _add(
        group,
        Reconstruct,
        ("IN", "rows", "x_hat"),
        "Write what the model keeps of the rows in IN.",
        "Of ordered latents, go through the first K alone.  [default: all]",
    )


def _add(
    group: click.Group,
    kind: type[Encode | Decode | Reconstruct],
    names: tuple[str, str, str],
    first: str,
    keep_help: str,
) -> None:
    """Add a command. names: of its argument, and of an input and an output for its examples."""
    metavar, file, out = names
    text = (
        f"{first}\n\n{metavar} is a .npy, .npz (or file.npz:key), .csv, .tsv (or either with .gz), "
        '.parquet, .arrow or .feather file, a folder of images, or "-": .npy or CSV from stdin. Of '
        "several files, or of a folder of them, OUT is a folder that gets one output for each. "
        "Folders of Parquet files that are named for a column (year=2026) are one input."
    )
    epilog = _EPILOG.format(verb=kind.name, file=file, out=out)

    @group.command(name=kind.name, help=text, short_help=first, epilog=epilog)
    @bundle_argument
    @click.argument("sources", metavar=f"{metavar}...", nargs=-1, required=True)
    @out_option(required=True)
    @click.option("--keep", type=click.IntRange(1), metavar="K", help=keep_help)
    @file_options
    @common_options
    def process(
        bundle: Path,
        sources: tuple[str, ...],
        out: str,
        keep: int | None,
        as_json: bool,
        **words: Any,
    ) -> None:
        result = work(kind(opened(bundle, words), keep), sources, out, as_json, words)
        for note in result.notes:
            say(note)
        if as_json:
            print_json(result.fields)
        elif result.line:
            click.echo(result.line)


class Result(NamedTuple):
    """What is printed at the end: notes, an object for --json, and a line, "" for none."""

    notes: list[str]
    fields: dict[str, Any]
    line: str


def opened(bundle: Path, words: dict[str, Any]) -> Model:
    """Load the bundle. words: values of `file_options`; those that `load` takes are removed."""
    of_load = ("device", "threads", "tile", "max_memory")
    return load(bundle, **{name: words.pop(name) for name in of_load}).model


def work(
    task: Task, sources: tuple[str, ...], out: str, as_json: bool, words: dict[str, Any]
) -> Result:
    """Do a task on a command's files. words: values of `file_options` that `opened` left."""
    from_, to, quiet = (words.pop(name) for name in ("from_", "to", "quiet"))
    options = JobOptions(source_format=from_, **words)
    _check_words(sources, out, from_, to, options.on_error, as_json)
    pairs = _shards_of(task.model.manifest.kind, sources, out, to)
    line = cmd.ProgressLine(quiet)
    options = replace(options, progress=shown(line, task.name))
    try:
        if pairs is not None:
            return _to_folder(task, pairs, Path(out), line, options)
        if out == PIPE:
            return _to_stdout(task, sources[0], to, options)
        return _to_file(task, sources[0], Path(out), options)
    finally:
        line.clear()


def _check_words(
    sources: tuple[str, ...],
    out: str,
    from_: str | None,
    to: str | None,
    on_error: str,
    as_json: bool,
) -> None:
    """Raise UsageError for options and arguments that do not go together."""
    several = len(sources) > 1 or Path(sources[0]).is_dir()
    for wrong, line in (
        (from_ and PIPE not in sources, "--from is what stdin holds; a file's name says its type"),
        (PIPE in sources and several, "stdin goes alone, not with other inputs"),
        (out == PIPE and len(sources) > 1, "several inputs need a folder: --out FOLDER"),
        (out == PIPE and as_json, "--json and --out - both write to stdout; choose one of them"),
        (
            out == PIPE and to not in (None, *FORMATS),
            f"a .{to} cannot be written to stdout; use {' or '.join(FORMATS)}, or --out FILE",
        ),
        (
            out == PIPE and on_error == "skip",
            "--on-error skip lists rows beside the output; give it a file, with --out FILE",
        ),
    ):
        if wrong:
            raise click.UsageError(line)


def _shards_of(
    kind: str, sources: tuple[str, ...], out: str, to: str | None
) -> list[tuple[Path | str, Path]] | None:
    """(input, output) for each of several inputs or of a folder's files; None for one input."""
    files: Sequence[str | Path] = sources
    if len(sources) == 1:
        folder = Path(sources[0])
        files = data_files(folder, kind) if folder.is_dir() else []
        if not files and to and out != PIPE:
            raise click.UsageError(TO_IS_NOT_OF_FILES)
        if not files:
            return None
        if out == PIPE:
            raise click.UsageError("several inputs need a folder: --out FOLDER")
    return place_shards(files, Path(out), f".{to or 'npy'}")


def input_of(source: str) -> Source:
    """The file that a command names, or stdin."""
    return sys.stdin.buffer if source == PIPE else source


def _to_file(task: Task, source: str, out: Path, options: JobOptions) -> Result:
    done = process_file(task, input_of(source), out, options)
    fields = {"rows": done.rows, "resumed_rows": done.resumed_rows}
    fields["skipped_rows"] = done.skipped_rows
    skipped = f", {done.skipped_rows:,} skipped" if done.skipped_rows else ""
    text = f"{done.rows:,} rows -> {out} ({cmd.duration(done.seconds)}){skipped}"
    return Result(done.notes, {"out": str(out), **fields}, text)


def _to_stdout(task: Task, source: str, to: str | None, options: JobOptions) -> Result:
    out_format = to or options.source_format or _format_of(source)
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as out:
        done = process_to_pipe(task, input_of(source), out, out_format, options)
    return Result(done.notes, {}, "")


def _format_of(source: str) -> str:
    """Format of stdout without --to: csv where the input is text, else npy."""
    if source != PIPE:
        text = suffix_of(Path(source)).removesuffix(".gz") in (".csv", ".tsv")
        return "csv" if text else "npy"
    # A .npy begins with a byte that no text begins with.
    return "npy" if sys.stdin.buffer.peek(1)[:1] == b"\x93" else "csv"  # type: ignore[union-attr]


def _to_folder(
    task: Task,
    pairs: list[tuple[Path | str, Path]],
    folder: Path,
    line: cmd.ProgressLine,
    options: JobOptions,
) -> Result:
    started, notes, done = time.monotonic(), [], []
    with outputs.said_in_one_line(folder):
        folder.mkdir(exist_ok=True)
    for number, (source, out) in enumerate(pairs, start=1):
        progress = shown(line, f"{task.name}: file {number} of {len(pairs)}")
        done.append(process_file(task, source, out, replace(options, once=True, progress=progress)))
        notes += [note for note in done[-1].notes if note not in notes]
    fields = {
        "out": str(folder),
        "files": len(done),
        "files_done_before": sum(one.was_done for one in done),
        "rows": sum(one.rows for one in done),
        "resumed_rows": sum(one.resumed_rows for one in done),
        "skipped_rows": sum(one.skipped_rows for one in done),
    }
    were_done = fields["files_done_before"]
    before = f", {were_done} of them done before" if were_done else ""
    skipped = f", {fields['skipped_rows']:,} skipped" if fields["skipped_rows"] else ""
    seconds = cmd.duration(time.monotonic() - started)
    text = f"{len(done)} files, {fields['rows']:,} rows -> {folder} ({seconds}){before}{skipped}"
    return Result(notes, fields, text)


def shown(line: cmd.ProgressLine, what: str) -> Progress:
    """A function that shows rows done, their rate, and the time left if all rows are known."""
    first: list[tuple[int, float]] = []  # rate since this call: resumed rows do not count

    def progress(done: int, rows: int | None) -> None:
        now = time.monotonic()
        first.append((done, now))
        text = f"{what}: {done:,} rows" if rows is None else f"{what}: {done:,} of {rows:,} rows"
        if len(first) > 1:
            del first[1:]
            rate = (done - first[0][0]) / max(now - first[0][1], 1e-9)
            text += f", {rate:,.0f} rows/s"
            if rows is not None and rate:
                text += f", {cmd.duration((rows - done) / rate)} left"
        line.show(text)

    return progress
