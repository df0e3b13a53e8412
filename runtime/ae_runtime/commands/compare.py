"""The command ae-run compare: what the rows of a file cost in each way, under one promise."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ae_runtime import console as cmd
from ae_runtime import outputs
from ae_runtime.autoencoder import load
from ae_runtime.commands.bounds import Amount, bounds_of
from ae_runtime.commands.compress import bound_options, model_for
from ae_runtime.console import common_options, print_json, say

if TYPE_CHECKING:
    from ae_archive.compare import Comparison, Way
    from ae_archive.input import Input

MAX_VALUES = 500_000  # read, so that all ways together take seconds
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the bound, in a picture
PICTURE = ".svg"
_EPILOG = """Examples: ae-run compare bundle rows.csv --max-error 1%;
ae-run compare bundle rows.npy --rmse 0.5 --picture rows.svg"""


def add_compare_command(group: click.Group) -> None:
    """Add the command compare."""
    group.add_command(_compare)


@click.command("compare", epilog=_EPILOG, short_help="Weigh ways to store rows against another.")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("source", metavar="IN")
@bound_options
@click.option("--no-model", is_flag=True, help="Use the bundle's columns and ranges alone.")
@click.option(
    "--rows",
    "most",
    type=click.IntRange(1),
    metavar="N",
    help=f"Read the first N rows.  [default: those of {MAX_VALUES:,} values]",
)
@click.option(
    "--picture",
    "svg",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="Draw bits per value against the error, for "
    f"{len(FACTORS)} bounds from a quarter of E to four times E.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (CUDA where it loads, else the CPU), cpu, cuda, or a provider's name.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads.  [default: processors available]")
@click.option("--quiet", is_flag=True, help="No progress line.")
@common_options
def _compare(
    bundle: Path,
    source: str,
    max_error: Amount | None,
    rmse: Amount | None,
    no_model: bool,
    most: int | None,
    svg: Path | None,
    device: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what the first rows of IN cost in each way that keeps a promise: nothing is written.

    Beside the modes of archives stand zlib, PCA with float32 codes, and pcodec, SZ3 (pysz) and zfp
    (zfpy) where they are installed. Errors are shares of each column's range over the rows read.
    """
    from ae_archive.compare import Asked, compare, curves
    from ae_archive.input import Input
    from ae_archive.picture import picture

    amount = rmse if max_error is None else max_error
    if amount is None or (max_error is not None and rmse is not None):
        raise click.UsageError("give one promise to compare under: --max-error or --rmse")
    name = "rmse" if max_error is None else "max-error"
    if svg is not None:
        if svg.suffix.lower() != PICTURE:
            raise click.UsageError(f"{svg}: the picture is an {PICTURE}; call it {svg.stem}.svg")
        outputs.check_free(svg, False, False, "a picture that can be told from yours")
    line = cmd.ProgressLine(quiet)
    ae = load(bundle, device=device, threads=threads)
    with closing(ae), closing(Input(ae.manifest, source)) as rows:
        notes = list(rows.notes)
        count = _rows_read(rows.row_shape, most)
        line.show(f"compare: the first {count:,} rows")
        x = _first(rows, count)
        bounds = bounds_of(amount, name, ae.manifest, rows.row_shape, rows.dtype)
        notes += bounds.notes
        model = model_for(ae, rows, False, no_model, notes)
        asked = Asked(bounds.each, name == "rmse", rows.names, rows.levels)
        found = compare(x, asked, model)
        if svg is not None:
            title = (
                f"{Path(source).name}: {len(x):,} rows, {name} {FACTORS[0]:g} to {FACTORS[-1]:g} "
            )
            drawn = picture(curves(x, asked, model, FACTORS), f"{title}times {amount}")
            outputs.write_atomic(svg, drawn.encode())
    line.clear()
    for note in notes:
        say(note)
    if as_json:
        print_json(_fields(found))
    else:
        click.echo("\n".join(_lines(found, x, name, amount)))
        if svg is not None:
            click.echo(f"picture -> {svg}")


def _rows_read(row_shape: Sequence[int], asked: int | None) -> int:
    return asked or max(1, MAX_VALUES // max(1, prod(row_shape)))


def _first(rows: Input, count: int) -> Any:
    held, have = [], 0
    for block in rows.blocks(lambda done, every: None):
        held.append(block[: count - have])
        have += len(held[-1])
        if have >= count:
            break
    return np.concatenate(held)


def _lines(found: Comparison, x: Any, name: str, amount: Amount) -> list[str]:
    row = "x".join(map(str, x.shape[1:]))
    promised = f"{name} {amount}" + (" of each column's range" if amount.share else "")
    lines = [
        f"the first {found.rows:,} rows of {row} {x.dtype.name}, {found.raw_bytes:,} bytes, "
        f"{promised}",
        f"{'way':<12}{'bytes':>12} {'bits/value':>11} {'smaller':>9} {'largest error':>14} "
        f"{'rmse':>9}  of range",
    ]
    for way in found.ways:
        lines.append(_line(way.name, way.bytes, way, found))
        if way.model_bytes:
            lines.append(_line("  + model", way.bytes + way.model_bytes, way, found))
    models = [way for way in found.ways if way.model_bytes]
    if models and found.pays_from is None:
        lines.append("the model does not pay: another mode of archives is smaller without it")
    elif models:
        lines.append(
            f"the model, {models[0].model_bytes:,} bytes, pays for itself from "
            f"{found.pays_from:,} rows on"
        )
    return lines + [f"({reason})" for reason in found.missing]


def _line(name: str, size: int, way: Way, found: Comparison) -> str:
    bits = way.bits * size / way.bytes
    return (
        f"{name:<12}{size:>12,} {bits:>11.3f} {found.raw_bytes / size:>8.1f}x "
        f"{100 * way.largest_error:>12.3g} % {100 * way.rmse:>7.3g} %"
    )


def _fields(found: Comparison) -> dict[str, Any]:
    return found._asdict() | {"ways": [way._asdict() for way in found.ways]}
