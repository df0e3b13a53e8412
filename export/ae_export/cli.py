"""The command ae-export: a run folder in, a bundle out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from ae_runtime import console as cmd
from ae_runtime.console import common_options, print_json, say


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: ae-export run --out bundle",
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder or file for the bundle."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8", "auto"]),
    default="fp32",
    show_default=True,
    help="Arithmetic of the graphs; auto takes int8 if it is faster here and within the budget.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0),
    default=0.02,
    show_default=True,
    help="Share by which int8 may raise the reconstruction error.",
)
@click.option("--zip", "zipped", is_flag=True, help="Write one .zip file, which loads as it is.")
@click.option(
    "--golden",
    type=click.Choice(["synthetic", "real"]),
    default="synthetic",
    show_default=True,
    help="Rows of the golden vectors: drawn from the model, or held-out rows of the data.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that ae-export wrote before.")
@click.option("--quiet", is_flag=True, help="Do not say what is being done.")
@common_options
@cmd.version_option
def ae_export(
    run: Path,
    out: Path,
    precision: Literal["fp32", "int8", "auto"],
    budget: float,
    zipped: bool,
    golden: Literal["synthetic", "real"],
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the encoder and the decoder of RUN as a bundle of ONNX graphs.

    The graphs are held against the model in float64 first; a bundle that disagrees is not written.
    """
    from ae_export import export

    done = export(
        run,
        out,
        precision=precision,
        budget=budget,
        zip=zipped,
        golden=golden,
        overwrite=overwrite,
        say=(lambda line: None) if quiet else say,
    )
    if as_json:
        print_json(
            {
                "bundle": str(done.location),
                "model_id": done.model_id,
                "bytes": done.bytes,
                "precision": done.precision,
                "encoder_error": done.agreement.encoder,
                "decoder_error": done.agreement.decoder,
                "int8_speedup": done.weighed.speedup if done.weighed else None,
                "int8_error_rise": done.weighed.rise if done.weighed else None,
            }
        )
        return
    click.echo(
        f"bundle written to {done.location} ({done.bytes:,} bytes, {done.precision}); largest "
        f"difference to the model in float64: encoder {done.agreement.encoder:.1e}, decoder "
        f"{done.agreement.decoder:.1e} of a standard deviation"
    )


def main() -> None:
    """Entry point of ae-export."""
    sys.exit(cmd.run(ae_export, "ae-export"))
