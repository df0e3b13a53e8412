"""The command ae-run decompress: rows of an archive to a file; and what info says of an archive."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ae_runtime import console as cmd
from ae_runtime.autoencoder import load
from ae_runtime.commands.files import shown
from ae_runtime.commands.options import TYPES, overwrite_option, quiet_option
from ae_runtime.console import common_options, print_json, say

_DECOMPRESS = """Examples: ae-run decompress rows.aez --out rows.csv;
ae-run decompress rows.aez --out part.npy --rows 1000:2000 --bundle bundle"""


def add_decompress_command(group: click.Group) -> None:
    """Add the command decompress."""
    group.add_command(_decompress)


class RowsType(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A range of rows, as 1000:2000: from 0, without the end; either number may be left out."""

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
@click.option("--out", required=True, type=click.Path(path_type=Path), help=f"Output: {TYPES}.")
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
@overwrite_option
@quiet_option
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
    """Write the rows of an archive to a file, as they were or within the archive's error bound."""
    from ae_archive import Archive
    from ae_archive.output import decompress_to_file

    started, line = time.perf_counter(), cmd.ProgressLine(quiet)
    ae = None if bundle is None else load(bundle)
    with Archive(archive, model=ae) as opened:
        try:
            done = decompress_to_file(
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
    """Print what an archive holds, its error bound, and how its chunks are stored."""
    from ae_archive import Archive
    from ae_archive.info import describe_archive, fields_of

    with Archive(path) as archive:
        if as_json:
            print_json({"archive": fields_of(archive)})
        else:
            click.echo("\n".join(describe_archive(archive)))
