"""The commands of ae-run that go from file to file: encode, decode, reconstruct."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ae_runtime import console as cmd
from ae_runtime import outputs
from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.console import common_options, print_json, say
from ae_runtime.files.jobs.job import process_file
from ae_runtime.files.jobs.output import Progress
from ae_runtime.files.jobs.pipe import FORMATS, process_to_pipe
from ae_runtime.files.jobs.score_summary import Judge
from ae_runtime.files.readers.columns import Verb
from ae_runtime.files.readers.source import suffix_of
from ae_runtime.files.writers.opening import SINKS
from ae_runtime.shards import SHARD_VERBS, data_files, place_shards

PIPE = "-"  # stdin or stdout
TO_IS_NOT_OF_FILES = "--to is for stdout and for folders; a file's name says its type"
SUFFIXES = [suffix.lstrip(".") for suffix in SINKS]
_EPILOG = """Examples: ae-run {verb} bundle {file}.npy --out {out}.npy;
cat {file}.csv | ae-run {verb} bundle - --out - ; ae-run {verb} bundle shards/ --out done/"""
_KEEP = {
    "encode": "Of ordered latents, write the first K alone.  [default: all]",
    "decode": "Z holds the first K of ordered latents, or only these are to be used.  "
    "[default: what its stamp says, or all]",
    "reconstruct": "Of ordered latents, go through the first K alone.  [default: all]",
}


def add_file_commands(group: click.Group) -> None:
    """Add the command of each verb: all three take files and write files."""
    _add(group, "encode", "IN", "Write the latents of the rows in IN.", ("rows", "z"))
    _add(group, "decode", "Z", "Write the rows that the latents in Z stand for.", ("z", "x_hat"))
    text = "Write what the model keeps of the rows in IN."
    _add(group, "reconstruct", "IN", text, ("rows", "x_hat"))


def _add(group: click.Group, verb: Verb, metavar: str, first: str, names: tuple[str, str]) -> None:
    text = (
        f"{first}\n\n{metavar} is a .npy, .npz (or file.npz:key), .csv, .tsv (or either with .gz), "
        '.parquet, .arrow or .feather file, a folder of images, or "-": .npy or CSV from stdin. Of '
        "several files, or of a folder of them, OUT is a folder that gets one output for each. "
        "Folders of Parquet files that are named for a column (year=2026) are one input."
    )
    epilog = _EPILOG.format(verb=verb, file=names[0], out=names[1])

    @group.command(name=verb, help=text, short_help=first, epilog=epilog)
    @click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
    @click.argument("sources", metavar=f"{metavar}...", nargs=-1, required=True)
    @out_option(required=True)
    @click.option("--keep", type=click.IntRange(1), metavar="K", help=_KEEP[verb])
    @file_options
    @common_options
    def process(bundle: Path, as_json: bool, **words: Any) -> None:
        result = work(verb, opened(bundle, words), as_json, words)
        for note in result.notes:
            say(note)
        if as_json:
            print_json(result.fields)
        elif result.line:
            click.echo(result.line)


class Result(NamedTuple):
    """What to say at the end: remarks, an object for --json, and a line, "" for none."""

    notes: list[str]
    fields: dict[str, Any]
    line: str


def opened(bundle: Path, words: dict[str, Any]) -> Autoencoder:
    """The bundle, with those of a command's words that loading takes; they are taken out."""
    of_load = ("device", "threads", "tile", "max_memory")
    return load(bundle, **{name: words.pop(name) for name in of_load})


def work(
    verb: Verb, ae: Autoencoder, as_json: bool, words: dict[str, Any], judge: Judge | None = None
) -> Result:
    """Do what the words of a command say. judge: of the verb "score".

    words: values of `file_options`, `sources` and `out`, but for those that loading takes.
    """
    sources, out, from_, to, quiet = (
        words.pop(name) for name in ("sources", "out", "from_", "to", "quiet")
    )
    _check_words(sources, out, from_, to, words["on_error"], as_json)
    options = words if judge is None else words | {"judge": judge}
    pairs = _shards_of(ae, sources, out, to)
    line = cmd.ProgressLine(quiet)
    try:
        if pairs is not None:
            return _to_folder(ae, verb, pairs, Path(out), line, options)
        if out == PIPE:
            return _to_stdout(ae, verb, sources[0], from_, to, line, options)
        return _to_file(ae, verb, sources[0], Path(out), from_, line, options)
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
    """Raise UsageError for words that do not go together."""
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
    ae: Autoencoder, sources: tuple[str, ...], out: str, to: str | None
) -> list[tuple[Path | str, Path]] | None:
    """(input, output) of several inputs or a folder of data files; None for a single input."""
    files: Sequence[str | Path] = sources
    if len(sources) == 1:
        folder = Path(sources[0])
        files = data_files(folder, ae.manifest.kind) if folder.is_dir() else []
        if not files and to and out != PIPE:
            raise click.UsageError(TO_IS_NOT_OF_FILES)
        if not files:
            return None
        if out == PIPE:
            raise click.UsageError("several inputs need a folder: --out FOLDER")
    return place_shards(files, Path(out), f".{to or 'npy'}")


def _to_file(
    ae: Autoencoder,
    verb: Verb,
    source: str,
    out: Path,
    from_: str | None,
    line: cmd.ProgressLine,
    options: dict[str, Any],
) -> Result:
    stream = sys.stdin.buffer if source == PIPE else source
    done = process_file(
        ae.model, verb, stream, out, source_format=from_, progress=shown(line, verb), **options
    )
    fields = {"rows": done.rows, "resumed_rows": done.resumed_rows}
    fields["skipped_rows"] = done.skipped_rows
    skipped = f", {done.skipped_rows:,} skipped" if done.skipped_rows else ""
    text = f"{done.rows:,} rows -> {out} ({cmd.duration(done.seconds)}){skipped}"
    return Result(done.notes, {"out": str(out), **fields}, text)


def _to_stdout(
    ae: Autoencoder,
    verb: Verb,
    source: str,
    from_: str | None,
    to: str | None,
    line: cmd.ProgressLine,
    options: dict[str, Any],
) -> Result:
    stream = sys.stdin.buffer if source == PIPE else source
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as out:
        done = process_to_pipe(
            ae.model,
            verb,
            stream,
            out,
            out_format=to or from_ or _format_of(source),
            source_format=from_,
            id_column=options["id_column"],
            stride=options["stride"],
            judge=options.get("judge"),
            keep=options.get("keep"),
            progress=shown(line, verb),
        )
    return Result(done.notes, {}, "")


def _format_of(source: str) -> str:
    """What goes to stdout if nothing else is said: text for text, else .npy."""
    if source != PIPE:
        text = suffix_of(Path(source)).removesuffix(".gz") in (".csv", ".tsv")
        return "csv" if text else "npy"
    # A .npy begins with a byte that no text begins with.
    return "npy" if sys.stdin.buffer.peek(1)[:1] == b"\x93" else "csv"  # type: ignore[union-attr]


def _to_folder(
    ae: Autoencoder,
    verb: Verb,
    pairs: list[tuple[Path | str, Path]],
    folder: Path,
    line: cmd.ProgressLine,
    options: dict[str, Any],
) -> Result:
    started, notes, done = time.monotonic(), [], []
    with outputs.said_in_one_line(folder):
        folder.mkdir(exist_ok=True)
    for number, (source, out) in enumerate(pairs, start=1):
        progress = shown(line, f"{verb}: file {number} of {len(pairs)}")
        done.append(SHARD_VERBS[verb](ae, source, out, progress=progress, **options))
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
    """What draws rows done, a rate, and the time that is left where all rows are known."""
    first: list[tuple[int, float]] = []  # rows of an earlier try are no measure of this one

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


def out_option(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --out of a command that writes files."""
    default = "" if required else "  [default: nothing is written]"
    text = f'Output: {", ".join(SINKS)}, a folder for several inputs, or "-": stdout.{default}'
    return click.option("--out", required=required, help=text)


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands take that go from file to file."""
    for option in reversed(
        [
            click.option(
                "--overwrite", is_flag=True, help="Replace an output that ae-run wrote before."
            ),
            click.option(
                "--id",
                "id_column",
                metavar="COLUMN",
                help="Column that names each row; it goes to the output as it is.",
            ),
            click.option(
                "--on-error",
                type=click.Choice(["stop", "skip"]),
                default="stop",
                show_default=True,
                help="Rows that cannot be used end the work, or are left out and listed in "
                "OUT.skipped.csv.",
            ),
            click.option(
                "--stride",
                type=click.IntRange(1),
                metavar="STEPS",
                help="Time steps from one window of a series to the next.  "
                "[default: a window's length; 1 to score]",
            ),
            click.option(
                "--from",
                "from_",
                type=click.Choice(["npy", "csv"]),
                help="What stdin holds.  [default: found out]",
            ),
            click.option(
                "--to",
                type=click.Choice(SUFFIXES),
                help="Type of what goes to stdout (npy or csv) or into a folder.  "
                "[default: stdout as the input, a folder npy]",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="auto (CUDA where it loads, else the CPU), cpu, cuda, or a provider's name.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(1),
                help="Threads.  [default: processors available]",
            ),
            click.option(
                "--tile",
                type=click.IntRange(1),
                help="Rows in one call of onnxruntime.  [default: what fits a cache, at most 256]",
            ),
            click.option(
                "--max-memory",
                type=cmd.Bytes(),
                help="Memory that the work may add to the process, as 300MB or 1GB.  "
                "[default: no limit]",
            ),
            click.option("--quiet", is_flag=True, help="No progress line."),
        ]
    ):
        command = option(command)
    return command
