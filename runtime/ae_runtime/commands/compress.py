"""The command ae-run compress: rows of a file to an archive."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ae_runtime import console as cmd
from ae_runtime import outputs
from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.commands.bounds import Amount, AmountType, bounds_of
from ae_runtime.commands.files import shown
from ae_runtime.console import common_options, print_json, say
from ae_runtime.errors import DataError

if TYPE_CHECKING:
    from ae_archive import Written
    from ae_archive.input import Input

SUFFIX = ".aez"
_COMPRESS = """Examples: ae-run compress bundle rows.csv --out rows.aez --max-error 1% --embed;
ae-run compress bundle rows.npy --out rows.aez"""


def add_compress_command(group: click.Group) -> None:
    """Add the command compress."""
    group.add_command(_compress)


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
                help="Instead: the root mean square error of a chunk is at most E; "
                "single values are not bounded.",
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
    from ae_archive import compress
    from ae_archive.input import Input
    from ae_archive.writing import is_archive

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
            model = model_for(ae, rows, embed, no_model, notes)
            options |= {"model": model, "embed": embed}
        try:
            blocks = rows.blocks(shown(line, "compress"))
            written = compress(blocks, out, chunk_rows=chunk_rows, overwrite=overwrite, **options)
        finally:
            line.clear()
        notes += [note for note in rows.notes if note not in notes]
    for note in notes:
        say(note)
    say(_promised(amount, promise))
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_fields(out, written, seconds))
    else:
        click.echo(_said(out, written, seconds))


def model_for(
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
    from ae_archive.info import ratio

    found = {"out": str(out), **written._asdict(), "seconds": seconds}
    return found | {"ratio": ratio(written.raw_bytes, written.bytes)}


def _said(out: Path, written: Written, seconds: float) -> str:
    from ae_archive.info import said_bytes

    modes = ", ".join(f"{count:,} {mode}" for mode, count in written.modes.items())
    model = f", {written.model_bytes:,} of them the model" if written.model_bytes else ""
    return (
        f"{written.rows:,} rows -> {out}, {said_bytes(written.raw_bytes, written.bytes)}{model}; "
        f"chunks: {modes} ({cmd.duration(seconds)})"
    )
