"""The command ae-run sample: new rows like those of training, as a file or a picture."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ae_runtime import outputs
from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.commands.options import TYPES, bundle_argument, overwrite_option
from ae_runtime.console import common_options, print_json
from ae_runtime.errors import DataError
from ae_runtime.extras import need
from ae_runtime.files.jobs.job import JobOptions, process_file
from ae_runtime.files.jobs.task import Sample
from ae_runtime.files.readers.noise import NoiseReader

PICTURE = ".png"
_EPILOG = """Examples: ae-run sample bundle --rows 1000 --seed 0 --out new.csv; ae-run sample digits
--rows 64 --out new.png"""


def add_sample_command(group: click.Group) -> None:
    """Add the command sample."""

    @group.command(epilog=_EPILOG)
    @bundle_argument
    @click.option("--rows", type=click.IntRange(1), default=64, show_default=True, help="How many.")
    @click.option(
        "--seed", type=click.IntRange(0), help="The same rows again.  [default: others each time]"
    )
    @click.option(
        "--out",
        required=True,
        type=click.Path(path_type=Path),
        help=f"Output: {TYPES}, or {PICTURE} of images in a grid.",
    )
    @overwrite_option
    @common_options
    def sample(
        bundle: Path, rows: int, seed: int | None, out: Path, overwrite: bool, as_json: bool
    ) -> None:
        """Write new rows that are like those that the model was trained on."""
        ae = load(bundle)
        if out.suffix.lower() == PICTURE:
            _picture(ae, rows, seed, out, overwrite)
        else:
            noise = NoiseReader(ae.manifest, rows, seed)
            process_file(Sample(ae.model), noise, out, JobOptions(overwrite=overwrite))
        if as_json:
            print_json({"out": str(out), "rows": rows})
        else:
            click.echo(f"{rows:,} rows -> {out}")


def _picture(ae: Autoencoder, rows: int, seed: int | None, out: Path, overwrite: bool) -> None:
    if ae.manifest.kind != "image":
        raise DataError(f"{out}: a picture is of images, this bundle is of kind {ae.manifest.kind}")
    image = need("PIL.Image", "data")
    outputs.check_free(out, False, overwrite, "an output that can be told from yours")
    with outputs.said_in_one_line(out):
        raw = io.BytesIO()
        image.fromarray(grid(ae.sample(rows, seed))).save(raw, "PNG")
        outputs.write_atomic(out, raw.getvalue())


def grid(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images (N, H, W) or (N, H, W, C) uint8 side by side, as many rows as columns or one fewer.

    The largest value is white: not all images use 0 to 255. C other than 3: channel 0 only.
    """
    if images.ndim == 4 and images.shape[3] != 3:
        images = images[..., 0]
    count, height, width, *channels = images.shape
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    bright = images.astype(np.float64) * (255 / max(int(images.max(initial=0)), 1))
    page = np.zeros((down * across, height, width, *channels), np.uint8)
    page[:count] = np.rint(bright)
    page = page.reshape(down, across, height, width, *channels).swapaxes(1, 2)
    return np.ascontiguousarray(page.reshape(down * height, across * width, *channels))
