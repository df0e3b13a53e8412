"""The command ae-run: look into a bundle, and run it over files."""

from __future__ import annotations

import sys

import click

from ae_runtime import console as cmd
from ae_runtime.commands.compare import add_compare_command
from ae_runtime.commands.compress import add_compress_command
from ae_runtime.commands.decompress import add_decompress_command
from ae_runtime.commands.files import add_file_commands
from ae_runtime.commands.info import info
from ae_runtime.commands.machine import add_machine_commands
from ae_runtime.commands.sample import add_sample_command
from ae_runtime.commands.score import add_score_command


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: ae-run encode bundle rows.npy --out z.npy",
)
@cmd.version_option
def ae_run() -> None:
    """Run an autoencoder bundle: encode, decode and reconstruct files without torch."""


ae_run.add_command(info)
add_machine_commands(ae_run)
add_file_commands(ae_run)
add_score_command(ae_run)
add_sample_command(ae_run)
add_compress_command(ae_run)
add_decompress_command(ae_run)
add_compare_command(ae_run)


def main() -> None:
    """Entry point of ae-run."""
    sys.exit(cmd.run(ae_run, "ae-run"))
