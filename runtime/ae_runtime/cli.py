"""The command ae-run: look into a bundle, and run it over files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from ae_runtime import command as cmd
from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.command import common_options, print_json, say
from ae_runtime.describe import describe
from ae_runtime.errors import WorkFailed
from ae_runtime.sinks import SINKS
from ae_runtime.sources import READERS


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: ae-run encode bundle rows.npy --out z.npy",
)
@cmd.version_option
def ae_run() -> None:
    """Run an autoencoder bundle: encode, decode and reconstruct files without torch."""


bundle_argument = click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))


@ae_run.command()
@bundle_argument
@click.option("--weights", is_flag=True, help="List names, shapes and statistics of the weights.")
@common_options
def info(bundle: Path, weights: bool, as_json: bool) -> None:
    """Say what a bundle takes, gives, and how good it is."""
    ae = load(bundle)
    if as_json:
        import msgspec

        fields = {"manifest": msgspec.to_builtins(ae.manifest)}
        if weights:
            fields["weights"] = [_weight_fields(weight) for weight in _weights(ae)]
        print_json(fields)
        return
    click.echo("\n".join(describe(ae.manifest)))
    if weights:
        click.echo("")
        for line in _weight_table(ae):
            click.echo(line)


@ae_run.command(short_help="Check this machine against the bundle's golden vectors.")
@bundle_argument
@common_options
def doctor(bundle: Path, as_json: bool) -> None:
    """Check this machine against the bundle's golden vectors; exit code 1 if anything is wrong."""
    from ae_runtime.doctor import examine

    checks = examine(load(bundle))
    for check in () if as_json else checks:
        click.echo(f"{'ok   ' if check.ok else 'WRONG'}  {check.name:<15} {check.found}")
    if as_json:
        print_json({check.name: {"found": check.found, "ok": check.ok} for check in checks})
    wrong = [check.name for check in checks if not check.ok]
    if wrong:
        raise WorkFailed(f"{len(wrong)} of {len(checks)} checks are wrong: {', '.join(wrong)}")


def _file_command(verb: Any, metavar: str, help_text: str) -> None:
    """Add the command of one verb: all three take a file and write a file."""

    @ae_run.command(name=verb, help=help_text)
    @bundle_argument
    @click.argument("source", metavar=metavar)
    @click.option(
        "--out", required=True, type=click.Path(path_type=Path), help=f"Output: {', '.join(SINKS)}."
    )
    @click.option("--overwrite", is_flag=True, help="Replace an output that ae-run wrote before.")
    @click.option(
        "--threads", type=click.IntRange(1), help="Threads.  [default: processors available]"
    )
    @click.option(
        "--tile", type=click.IntRange(1), help="Rows in one call of onnxruntime.  [default: 256]"
    )
    @click.option("--quiet", is_flag=True, help="No progress line.")
    @common_options
    def process(
        bundle: Path,
        source: str,
        out: Path,
        overwrite: bool,
        threads: int | None,
        tile: int | None,
        quiet: bool,
        as_json: bool,
    ) -> None:
        from ae_runtime.batch import process_file

        ae = load(bundle, threads=threads, tile=tile)
        line, started = cmd.ProgressLine(quiet), time.monotonic()

        def progress(done: int, rows: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            left = cmd.duration((rows - done) / rate)
            line.show(f"{verb}: {done:,} of {rows:,} rows, {rate:,.0f} rows/s, {left} left")

        try:
            done = process_file(ae, verb, source, out, overwrite=overwrite, progress=progress)
        finally:
            line.clear()
        for note in done.notes:
            say(note)
        if as_json:
            print_json({"out": str(out), "rows": done.rows, "resumed_rows": done.resumed_rows})
        else:
            click.echo(f"{done.rows:,} rows -> {out} ({cmd.duration(done.seconds)})")


_file_command("encode", "IN", f"Write the latents of the rows in IN ({', '.join(READERS)}).")
_file_command("decode", "Z", "Write the rows that the latents in Z stand for.")
_file_command("reconstruct", "IN", "Write what the model keeps of the rows in IN.")


def _weights(ae: Autoencoder) -> list[Any]:
    from ae_runtime.weights import list_weights

    return list_weights(ae.bundle)


def _weight_fields(weight: Any) -> dict[str, Any]:
    statistics = {name: getattr(weight, name) for name in ("mean", "std", "min", "max")}
    clean = {name: value if value == value else None for name, value in statistics.items()}
    return (
        {"graph": weight.graph, "name": weight.name, "dtype": weight.dtype}
        | {"shape": list(weight.shape)}
        | clean
    )


def _weight_table(ae: Autoencoder) -> list[str]:
    weights = _weights(ae)
    width = max(len(weight.name) for weight in weights)
    lines = [
        f"graph    {'name':<{width}}  {'shape':<12} {'dtype':<8} "
        f"{'mean':>9} {'std':>9} {'min':>9} {'max':>9}"
    ]
    for weight in weights:
        shape = "x".join(map(str, weight.shape)) or "scalar"
        statistics = " ".join(
            f"{v:9.4g}" for v in (weight.mean, weight.std, weight.min, weight.max)
        )
        lines.append(
            f"{weight.graph:<8} {weight.name:<{width}}  {shape:<12} {weight.dtype:<8} {statistics}"
        )
    return lines


def main() -> None:
    """Entry point of ae-run."""
    sys.exit(cmd.run(ae_run, "ae-run"))
