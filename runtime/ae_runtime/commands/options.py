"""Options that several commands take, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ae_runtime.console import Bytes
from ae_runtime.files.writers.opening import WRITERS

F = TypeVar("F", bound=Callable[..., Any])
TYPES = ", ".join(WRITERS)

bundle_argument = click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace an output that ae-run wrote before."
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (CUDA where it loads, else the CPU), cpu, cuda, or a provider's name.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads.  [default: processors available]"
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress line.")
_FILE_OPTIONS = [
    overwrite_option,
    click.option(
        "--id",
        "id_column",
        metavar="COLUMN",
        help="Column that names each row; it goes to the output as it is.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="Rows that cannot be used end the work, or are left out and listed in "
        "OUT.skipped.csv.",
    ),
    click.option(
        "--stride",
        type=click.IntRange(1),
        metavar="STEPS",
        help="Time steps from one window of a series to the next.  "
        "[default: a window's length; 1 to score]",
    ),
    click.option(
        "--from",
        "from_",
        type=click.Choice(["npy", "csv"]),
        help="What stdin holds.  [default: found out]",
    ),
    click.option(
        "--to",
        type=click.Choice([suffix.lstrip(".") for suffix in WRITERS]),
        help="Type of what goes to stdout (npy or csv) or into a folder.  "
        "[default: stdout as the input, a folder npy]",
    ),
    device_option,
    threads_option,
    click.option(
        "--tile",
        type=click.IntRange(1),
        help="Rows in one call of onnxruntime.  [default: what fits a cache, at most 256]",
    ),
    click.option(
        "--max-memory",
        type=Bytes(),
        help="Memory that the work may add to the process, as 300MB or 1GB.  [default: no limit]",
    ),
    quiet_option,
]


def out_option(*, required: bool) -> Callable[[F], F]:
    """The option --out of a command that takes files."""
    default = "" if required else "  [default: nothing is written]"
    text = f'Output: {TYPES}, a folder for several inputs, or "-": stdout.{default}'
    return click.option("--out", required=required, help=text)


def file_options(command: F) -> F:
    """Give a command the options of all commands that go from file to file."""
    for option in reversed(_FILE_OPTIONS):  # the first one is listed first
        command = option(command)
    return command
