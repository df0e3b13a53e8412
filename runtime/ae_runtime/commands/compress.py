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
from ae_runtime.commands.options import (
    bundle_argument,
    device_option,
    quiet_option,
    threads_option,
)
from ae_runtime.console import common_options, print_json, say
from ae_runtime.errors import DataError

if TYPE_CHECKING:
    from ae_archive import Written
    from ae_archive.input import Input

SUFFIX = ".aez"
_COMPRESS = """Examples:
ae-run compress bundle rows.csv --out rows.aez --max-error 1% --include-model;
ae-run compress bundle rows.npy --out rows.aez"""


def add_compress_command(group: click.Group) -> None:
    """Add the command compress."""
    group.add_command(_compress)


def bound_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the two error bounds of archives."""
    for option in reversed(
        [
            click.option(
                "--max-error",
                type=AmountType(),
                metavar="E",
                help="Error bound: no value comes back further than E away, in its own units, or a "
                "share of its column's range over the training rows, as 1%. Each chunk is decoded "
                "and checked before it is written.",
            ),
            click.option(
                "--rmse",
                type=AmountType(),
                metavar="E",
                help="Target RMSE, instead: the root mean square error of a chunk is at most E; "
                "single values are not bounded.",
            ),
        ]
    ):
        command = option(command)
    return command


def _renamed(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError("--embed is called --include-model now")


no_model_option = click.option(
    "--no-model", is_flag=True, help="Use the bundle's columns and ranges alone."
)


@click.command("compress", epilog=_COMPRESS, short_help="Write rows to a small archive.")
@bundle_argument
@click.argument("source", metavar="IN")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output: .aez.")
@bound_options
@click.option(
    "--include-model",
    is_flag=True,
    help="Put the model into the archive: no bundle is needed to read it.",
)
@click.option("--embed", is_flag=True, hidden=True, expose_value=False, callback=_renamed)
@no_model_option
@click.option(
    "--chunk-rows",
    type=click.IntRange(1),
    metavar="N",
    help="Rows that are decoded together.  [default: about two million values]",
)
@click.option("--overwrite", is_flag=True, help="Replace an archive.")
@device_option
@threads_option
@quiet_option
@common_options
def _compress(
    bundle: Path,
    source: str,
    out: Path,
    max_error: Amount | None,
    rmse: Amount | None,
    include_model: bool,
    no_model: bool,
    chunk_rows: int | None,
    overwrite: bool,
    device: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the rows of IN to a small archive, within an error bound.

    IN is as in encode; of a series, its time steps or windows that were cut before. Its columns are
    taken as the bundle has them, its values as IN has them. With neither --max-error nor --rmse
    every bit is kept. Categories and dates always come back exactly. Chunks that the model makes
    smaller than any other way are stored by its latents.
    """
    from ae_archive import compress
    from ae_archive.input import Input
    from ae_archive.writing import is_archive

    if max_error is not None and rmse is not None:
        raise click.UsageError("--max-error and --rmse are two error bounds; give one of them")
    amount, kind = (rmse, "rmse") if max_error is None else (max_error, "max-error")
    if include_model and (no_model or amount is None):
        why = "--no-model" if no_model else "an archive without --max-error or --rmse"
        raise click.UsageError(
            f"--include-model puts a model inside, and {why} uses none; choose one"
        )
    if out.suffix.lower() != SUFFIX:
        raise click.UsageError(f"{out}: an archive is a {SUFFIX}; call it {out.stem}{SUFFIX}")
    outputs.check_free(out, is_archive(out), overwrite, "an archive")
    started, line = time.perf_counter(), cmd.ProgressLine(quiet)
    ae = load(bundle, device=device, threads=threads)
    with closing(ae), closing(Input(ae.manifest, source)) as rows:
        notes = list(rows.notes)
        options: dict[str, Any] = {"names": rows.names, "levels": rows.levels}
        if amount is not None:
            bounds = bounds_of(amount, kind, ae.manifest, rows.row_shape, rows.dtype)
            options[kind.replace("-", "_")] = bounds.each
            notes += bounds.notes
            model = model_for(ae, rows, include_model, no_model, notes)
            options |= {"model": model, "include_model": include_model}
        try:
            blocks = rows.blocks(shown(line, "compress"))
            written = compress(blocks, out, chunk_rows=chunk_rows, overwrite=overwrite, **options)
        finally:
            line.clear()
        notes += [note for note in rows.notes if note not in notes]
    for note in notes:
        say(note)
    say(_bound_line(amount, kind))
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_fields(out, written, seconds))
    else:
        click.echo(_written_line(out, written, seconds))


def model_for(
    ae: Autoencoder, rows: Input, include_model: bool, no_model: bool, notes: list[str]
) -> Autoencoder | None:
    """Model that chunks may be stored with; None, with a note, where there is none."""
    if no_model:
        return None
    what = "categories" if rows.levels is not None else "dates" if rows.has_dates else None
    if what is None:
        return ae
    if include_model:
        raise DataError(
            f"the rows hold {what}, which come back exactly and so without the model; "
            "leave --include-model away"
        )
    notes.append(f"the rows hold {what}, which come back exactly: the model is not used")
    return None


def _bound_line(amount: Amount | None, kind: str) -> str:
    if amount is None:
        return "every bit is kept"
    much = f"{amount} of its column's range" if amount.share else f"{amount}"
    if kind == "rmse":
        return f"the root mean square error of a chunk is at most {much}; single values not bounded"
    return f"no value is further away than {much}: each chunk was decoded and checked"


def _fields(out: Path, written: Written, seconds: float) -> dict[str, Any]:
    from ae_archive.info import ratio

    fields = {"out": str(out), **written._asdict(), "seconds": seconds}
    return fields | {"ratio": ratio(written.raw_bytes, written.bytes)}


def _written_line(out: Path, written: Written, seconds: float) -> str:
    from ae_archive.info import bytes_line

    modes = ", ".join(f"{count:,} {mode}" for mode, count in written.modes.items())
    model = f", {written.model_bytes:,} of them the model" if written.model_bytes else ""
    return (
        f"{written.rows:,} rows -> {out}, {bytes_line(written.raw_bytes, written.bytes)}{model}; "
        f"chunks: {modes} ({cmd.duration(seconds)})"
    )
