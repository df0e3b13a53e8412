"""The command ae-run compare: size of a file's rows in each mode of archives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ae_runtime import console as cmd
from ae_runtime.autoencoder import load
from ae_runtime.commands.bounds import Amount, bounds_of
from ae_runtime.commands.compress import bound_options, model_for, no_model_option
from ae_runtime.commands.options import (
    bundle_argument,
    device_option,
    quiet_option,
    threads_option,
)
from ae_runtime.console import common_options, print_json, say

if TYPE_CHECKING:
    from ae_archive.compare import Comparison, Way
    from ae_archive.input import Input

MAX_VALUES = 500_000  # values that are read, so that all modes together take seconds
_EPILOG = """Examples: ae-run compare bundle rows.csv --max-error 1%;
ae-run compare bundle rows.npy --rmse 0.5 --no-model"""


def add_compare_command(group: click.Group) -> None:
    """Add the command compare."""
    group.add_command(_compare)


@click.command("compare", epilog=_EPILOG, short_help="Compare ways to store rows.")
@bundle_argument
@click.argument("source", metavar="IN")
@bound_options
@no_model_option
@click.option(
    "--rows",
    "most",
    type=click.IntRange(1),
    metavar="N",
    help=f"Read the first N rows.  [default: those of {MAX_VALUES:,} values]",
)
@device_option
@threads_option
@quiet_option
@common_options
def _compare(
    bundle: Path,
    source: str,
    max_error: Amount | None,
    rmse: Amount | None,
    no_model: bool,
    most: int | None,
    device: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print the size of the first rows of IN in each mode of archives: nothing is written.

    Errors are shares of each column's range over the rows read.
    """
    from ae_archive.compare import compare
    from ae_archive.input import Input

    amount = rmse if max_error is None else max_error
    if amount is None or (max_error is not None and rmse is not None):
        raise click.UsageError("give one error bound to compare under: --max-error or --rmse")
    name = "rmse" if max_error is None else "max-error"
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
        options: dict[str, Any] = {name.replace("-", "_"): bounds.each}
        comparison = compare(x, model, names=rows.names, levels=rows.levels, **options)
    line.clear()
    for note in notes:
        say(note)
    if as_json:
        print_json(_fields(comparison))
    else:
        click.echo("\n".join(_lines(comparison, x, name, amount)))


def _rows_read(row_shape: Sequence[int], asked: int | None) -> int:
    return asked or max(1, MAX_VALUES // max(1, prod(row_shape)))


def _first(rows: Input, count: int) -> Any:
    blocks, have = [], 0
    for block in rows.blocks(lambda done, every: None):
        blocks.append(block[: count - have])
        have += len(blocks[-1])
        if have >= count:
            break
    return np.concatenate(blocks)


def _lines(comparison: Comparison, x: Any, name: str, amount: Amount) -> list[str]:
    row = "x".join(map(str, x.shape[1:]))
    bound = f"{name} {amount}" + (" of each column's range" if amount.share else "")
    lines = [
        f"the first {comparison.rows:,} rows of {row} {x.dtype.name}, "
        f"{comparison.raw_bytes:,} bytes, {bound}",
        f"{'way':<12}{'bytes':>12} {'bits/value':>11} {'smaller':>9} {'largest error':>14} "
        f"{'rmse':>9}  of range",
    ]
    for way in comparison.ways:
        lines.append(_line(way.name, way.bytes, way, comparison))
        if way.model_bytes:
            lines.append(_line("  + model", way.bytes + way.model_bytes, way, comparison))
    models = [way for way in comparison.ways if way.model_bytes]
    if models and comparison.pays_from is None:
        lines.append("the model does not pay: another mode of archives is smaller without it")
    elif models:
        lines.append(
            f"the model, {models[0].model_bytes:,} bytes, pays for itself from "
            f"{comparison.pays_from:,} rows on"
        )
    return lines + [f"({reason})" for reason in comparison.missing]


def _line(name: str, size: int, way: Way, comparison: Comparison) -> str:
    bits = way.bits * size / way.bytes
    return (
        f"{name:<12}{size:>12,} {bits:>11.3f} {comparison.raw_bytes / size:>8.1f}x "
        f"{100 * way.largest_error:>12.3g} % {100 * way.rmse:>7.3g} %"
    )


def _fields(comparison: Comparison) -> dict[str, Any]:
    return comparison._asdict() | {"ways": [way._asdict() for way in comparison.ways]}
