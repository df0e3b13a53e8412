"""The commands of ae-run about a bundle on this machine: doctor and tune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ae_runtime.autoencoder import load
from ae_runtime.commands.options import bundle_argument, device_option
from ae_runtime.console import common_options, print_json
from ae_runtime.errors import WorkFailed

if TYPE_CHECKING:
    from ae_runtime.machine.tune import Tuning
    from ae_runtime.model.plan import Plan


def add_machine_commands(group: click.Group) -> None:
    """Add doctor and tune."""
    group.add_command(_doctor)
    group.add_command(_tune)


@click.command("doctor", short_help="Check this machine against the bundle's golden vectors.")
@bundle_argument
@device_option
@common_options
def _doctor(bundle: Path, device: str, as_json: bool) -> None:
    """Check this machine against the bundle's golden vectors; exit code 1 if anything is wrong."""
    from ae_runtime.machine.doctor import examine

    checks = examine(load(bundle, device=device).model)
    for check in () if as_json else checks:
        click.echo(f"{'ok   ' if check.ok else 'WRONG'}  {check.name:<15} {check.found}")
    if as_json:
        print_json({check.name: {"found": check.found, "ok": check.ok} for check in checks})
    wrong = [check.name for check in checks if not check.ok]
    if wrong:
        raise WorkFailed(f"{len(wrong)} of {len(checks)} checks are wrong: {', '.join(wrong)}")


@click.command("tune", short_help="Find the fastest tile and threads on this machine.")
@bundle_argument
@device_option
@common_options
def _tune(bundle: Path, device: str, as_json: bool) -> None:
    """Find the tile and threads with which the encoder is fastest here, in about two seconds.

    Nothing is stored: pass what it prints to load(), or to the commands that take files. The
    roofline is the share of this machine's best that is reached, at multiplying matrices or at
    moving memory, whichever binds.
    """
    from ae_runtime.machine.tune import tune

    found = tune(load(bundle, device=device).model)
    if as_json:
        print_json(_fields(found))
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: Tuning) -> list[str]:
    tiles = sorted({plan.tile for plan in found.rates})
    counts = sorted({plan.threads for plan in found.rates})
    by_place = {(plan.tile, plan.threads): rate for plan, rate in found.rates.items()}
    lines = ["rows/s   tile" + "".join(f"{f'threads={count}':>14}" for count in counts)]
    for tile in tiles:
        cells = (by_place.get((tile, count)) for count in counts)
        lines.append(
            f"{tile:13}" + "".join(f"{rate:14,.0f}" if rate else " " * 14 for rate in cells)
        )
    work, machine = found.work, found.machine
    share, bound = found.share
    best, usual = found.best, found.usual
    lines += [
        f"best      {_said(best)}: {found.rates[best]:,.0f} rows/s; "
        f"without tuning {_said(usual)}: {found.rates[usual]:,.0f}",
        f"roofline  {share:.0%} of the {bound}; a row takes {work.operations / 1e6:,.3f} MFLOP and "
        f"{work.io_bytes:,} bytes, this machine {machine.operations / 1e9:,.0f} GFLOP/s and "
        f"{machine.io_bytes / 1e9:,.0f} GB/s",
    ]
    if best == usual:
        return [*lines, "pass      nothing: what is used without tuning is as fast"]
    words = f"--tile {best.tile} --threads {best.threads}"
    return [*lines, f"pass      {_said(best)} to ae_runtime.load, or {words} to ae-run"]


def _said(plan: Plan) -> str:
    return f"tile={plan.tile}, threads={plan.threads}"


def _fields(found: Tuning) -> dict[str, Any]:
    def fields(plan: Plan) -> dict[str, Any]:
        rate = found.rates[plan]
        return {"tile": plan.tile, "threads": plan.threads, "rows_per_second": rate}

    share, bound = found.share
    return {
        "best": fields(found.best),
        "without_tuning": fields(found.usual),
        "sweep": [fields(plan) for plan in found.rates],
        "roofline": {"share": share, "of": bound},
        "row": {"operations": found.work.operations, "bytes": found.work.io_bytes},
        "machine": {
            "operations_per_second": found.machine.operations,
            "bytes_per_second": found.machine.io_bytes,
        },
    }
