"""The commands of ae-run for archives: compress, decompress, and what info says of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from ae_runtime import command as cmd
from ae_runtime import outputs
from ae_runtime.archive import Archive, Written, compress
from ae_runtime.archive.writing import is_archive
from ae_runtime.archive_bounds import Amount, AmountType, bounds_of
from ae_runtime.archive_info import describe_archive, fields_of, ratio, said_bytes
from ae_runtime.archive_input import Input
from ae_runtime.archive_output import decompress
from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.command import common_options, print_json, say
from ae_runtime.errors import DataError
from ae_runtime.file_commands import shown
from ae_runtime.files.sinks import SINKS

SUFFIX = ".aez"
_COMPRESS = """Examples: ae-run compress bundle rows.csv --out rows.aez --max-error 1% --embed;
ae-run compress bundle rows.npy --out rows.aez"""
_DECOMPRESS = """Examples: ae-run decompress rows.aez --out rows.csv;
ae-run decompress rows.aez --out part.npy --rows 1000:2000 --bundle bundle"""


def add_archive_commands(group: click.Group) -> None:
    """Add compress and decompress."""
    group.add_command(_compress)
    group.add_command(_decompress)


def bound_options(command: Callable[..., None]) -> Callable[..., None]:
    """The two promises that an archive can give."""
    for option in reversed(
        [
            click.option(
                "--max-error",
                type=AmountType(),
                metavar="E",
                help="A bound: no value comes back further than E away, in its own units, or as a "
                "share of its column's range over the training rows, as 1%. Each chunk is decoded "
                "and checked before it is written.",
            ),
            click.option(
                "--rmse",
                type=AmountType(),
                metavar="E",
                help="Instead: the root mean square error of each chunk is at most E; single "
                "values are not bounded.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command("compress", epilog=_COMPRESS, short_help="Write rows to a small archive.")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("source", metavar="IN")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output: .aez.")
@bound_options
@click.option("--embed", is_flag=True, help="Put the model into the archive: no bundle to read it.")
@click.option("--no-model", is_flag=True, help="Use the bundle's columns and ranges alone.")
@click.option(
    "--chunk-rows",
    type=click.IntRange(1),
    metavar="N",
    help="Rows that are decoded together.  [default: about two million values]",
)
@click.option("--overwrite", is_flag=True, help="Replace an archive.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (CUDA where it loads, else the CPU), cpu, cuda, or a provider's name.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads.  [default: processors available]")
@click.option("--quiet", is_flag=True, help="No progress line.")
@common_options
def _compress(
    bundle: Path,
    source: str,
    out: Path,
    max_error: Amount | None,
    rmse: Amount | None,
    embed: bool,
    no_model: bool,
    chunk_rows: int | None,
    overwrite: bool,
    device: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the rows of IN to an archive in little space, with a promise on how exact they are.

    IN is as in encode; of a series, its time steps or windows that were cut before. Its columns are
    taken as the bundle has them, its values as IN has them. With neither --max-error nor --rmse
    every bit is kept. Words and dates always are. Chunks that the model makes smaller than any
    other way are stored by its latents.
    """
    if max_error is not None and rmse is not None:
        raise click.UsageError("--max-error and --rmse are two promises; give one of them")
    amount, promise = (rmse, "rmse") if max_error is None else (max_error, "max-error")
    if embed and (no_model or amount is None):
        why = "--no-model" if no_model else "an archive without --max-error or --rmse"
        raise click.UsageError(f"--embed puts a model inside, and {why} uses none; choose one")
    if out.suffix.lower() != SUFFIX:
        raise click.UsageError(f"{out}: an archive is a {SUFFIX}; call it {out.stem}{SUFFIX}")
    outputs.check_free(out, is_archive(out), overwrite, "an archive")
    started, line = time.perf_counter(), cmd.ProgressLine(quiet)
    ae = load(bundle, device=device, threads=threads)
    with closing(ae), closing(Input(ae.manifest, source)) as rows:
        notes = list(rows.notes)
        options: dict[str, Any] = {"names": rows.names, "levels": rows.levels}
        if amount is not None:
            bounds = bounds_of(amount, promise, ae.manifest, rows.row_shape, rows.dtype)
            options[promise.replace("-", "_")] = bounds.each
            notes += bounds.notes
            model = _model(ae, rows, embed, no_model, notes)
            options |= {"model": model, "embed": embed}
        try:
            blocks = rows.blocks(shown(line, "compress"))
            written = compress(blocks, out, chunk_rows=chunk_rows, overwrite=overwrite, **options)
        finally:
            line.clear()
    for note in notes:
        say(note)
    say(_promised(amount, promise))
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_fields(out, written, seconds))
    else:
        click.echo(_said(out, written, seconds))


def _model(
    ae: Autoencoder, rows: Input, embed: bool, no_model: bool, notes: list[str]
) -> Autoencoder | None:
    """The model that chunks may be stored with; None, with a note, where there is none."""
    if no_model:
        return None
    what = "words" if rows.levels is not None else "dates" if rows.has_dates else None
    if what is None:
        return ae
    if embed:
        raise DataError(
            f"the rows hold {what}, which come back exactly and so without the model; "
            "leave --embed away"
        )
    notes.append(f"the rows hold {what}, which come back exactly: the model is not used")
    return None


def _promised(amount: Amount | None, promise: str) -> str:
    if amount is None:
        return "every bit is kept"
    much = f"{amount} of its column's range" if amount.share else f"{amount}"
    if promise == "rmse":
        return f"the root mean square error of a chunk is at most {much}; single values not bounded"
    return f"no value is further away than {much}: each chunk was decoded and checked"


def _fields(out: Path, written: Written, seconds: float) -> dict[str, Any]:
    found = {"out": str(out), **written._asdict(), "seconds": seconds}
    return found | {"ratio": ratio(written.raw_bytes, written.bytes)}


def _said(out: Path, written: Written, seconds: float) -> str:
    modes = ", ".join(f"{count:,} {mode}" for mode, count in written.modes.items())
    model = f", {written.model_bytes:,} of them the model" if written.model_bytes else ""
    return (
        f"{written.rows:,} rows -> {out}, {said_bytes(written.raw_bytes, written.bytes)}{model}; "
        f"chunks: {modes} ({cmd.duration(seconds)})"
    )


class RowsType(click.ParamType[slice]):
    """1000:2000, counted from 0, the end left out; either end may be left away."""

    name = "rows"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> slice:
        if isinstance(value, slice):
            return value
        ends = [end.strip() for end in str(value).split(":")]
        if len(ends) != 2 or not all(end == "" or end.isdecimal() for end in ends):
            self.fail(f"{value!r} is no range of rows; write it as 1000:2000", param, context)
        low, high = (int(end) if end else None for end in ends)
        return slice(low, high)


@click.command("decompress", epilog=_DECOMPRESS, short_help="Write the rows of an archive.")
@click.argument("archive", metavar="ARCHIVE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help=f"Output: {', '.join(SINKS)}.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="The bundle that it was written with, if the model is not inside; "
    "dates then come back as dates, not as seconds since 1970.",
)
@click.option(
    "--rows",
    type=RowsType(),
    metavar="FROM:TO",
    help="These alone, counted from 0, TO left out.  [default: all]",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="Rows of broken chunks end the work, or are left out and listed in OUT.skipped.csv.",
)
@click.option("--overwrite", is_flag=True, help="Replace an output that ae-run wrote before.")
@click.option("--quiet", is_flag=True, help="No progress line.")
@common_options
def _decompress(
    archive: Path,
    out: Path,
    bundle: Path | None,
    rows: slice | None,
    on_error: Any,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the rows of an archive to a file, as they were or as near as was promised."""
    started, line = time.perf_counter(), cmd.ProgressLine(quiet)
    ae = None if bundle is None else load(bundle)
    with Archive(archive, model=ae) as opened:
        try:
            done = decompress(
                opened,
                out,
                manifest=None if ae is None else ae.manifest,
                rows=rows,
                on_error=on_error,
                overwrite=overwrite,
                progress=shown(line, "decompress"),
            )
        finally:
            line.clear()
        for note in opened.notes:
            say(f"{archive}: {note}")
    if done.skipped_rows:
        say(f"{done.skipped_rows:,} rows are lost; {out.name}.skipped.csv says which")
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"out": str(out), **done._asdict(), "seconds": seconds})
    else:
        skipped = f", {done.skipped_rows:,} skipped" if done.skipped_rows else ""
        click.echo(f"{done.rows:,} rows -> {out} ({cmd.duration(seconds)}){skipped}")


def info_of_archive(path: Path, as_json: bool) -> None:
    """Say what an archive holds, what it promises, and how its chunks are stored."""
    with Archive(path) as archive:
        if as_json:
            print_json({"archive": fields_of(archive)})
        else:
            click.echo("\n".join(describe_archive(archive)))
