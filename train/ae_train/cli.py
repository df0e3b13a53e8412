"""The command ae-train: rows and a recipe in, a run folder out."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ae_runtime import console as cmd
from ae_runtime.bundle.describe import gain_over_pca
from ae_runtime.console import common_options, print_json, say
from ae_runtime.errors import WorkFailed
from ae_runtime.outputs import part_of
from ae_train.recipe import (
    LEFT_OVER,
    WINDOW,
    Bottleneck,
    Data,
    make_recipe,
    merge,
    read_recipe,
    set_value,
    to_fields,
    words_of,
)

if TYPE_CHECKING:
    from ae_train.data.dataset import Dataset
    from ae_train.device import Device
    from ae_train.fit.fitting import Epoch
    from ae_train.run.folder import Run
    from ae_train.schema import MixedQuality


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: ae-train digits --latent 8 --out run",
)
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run.")
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="Settings, as TOML; the options below go before it.",
)
@click.option(
    "--kind",
    type=click.Choice(words_of("data", "kind")),
    help="What a row is.  [default: uint8 arrays of 3 or 4 axes and folders are images]",
)
@click.option(
    "--window", type=int, help=f"Time steps of a series that are one row.  [default: {WINDOW}]"
)
@click.option(
    "--stride", type=int, help="Time steps from one window to the next.  [default: 1, or more]"
)
@click.option("--columns", help="Columns to use, separated by commas.  [default: all]")
@click.option("--drop", help="Columns to leave out, separated by commas.")
@click.option("--id", "ids", help="Columns that name a row and are not learned.")
@click.option(
    "--header",
    metavar="yes|no|ROW",
    help="Whether a text file names its columns, or in which row.  [default: found, and said]",
)
@click.option("--missing", help="Numbers and text for a missing value, separated by commas.")
@click.option(
    "--val",
    help=f"A file to validate on.  [default: {100 * float(Data().validation):g} % of the rows]",
)
@click.option("--split-by", help="A column: rows that share its value stay in one part.")
@click.option(
    "--latent",
    metavar="K|auto",
    help="Numbers that stand for a row; auto tries sizes.  "
    f"[default: those that leave PCA {100 * LEFT_OVER:g} % of the variance]",
)
@click.option("--arch", type=click.Choice(words_of("arch", "name")), help="The networks.")
@click.option(
    "--bottleneck",
    type=click.Choice(words_of("bottleneck", "name")),
    help=f"What the code is made to be.  [default: {Bottleneck().name}]",
)
@click.option(
    "--epochs",
    type=int,
    help="Passes over the rows at most; 0 keeps the start, which is PCA by default.",
)
@click.option("--batch", type=int, help="Rows a step.")
@click.option("--seed", type=int, help="Seed of every random draw.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a GPU where there is one.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="A run to go on from: its weights, scaling and recipe.",
)
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting."
)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of --out.")
@click.option("--overwrite", is_flag=True, help="Replace a run that ae-train wrote before.")
@click.option("--quiet", is_flag=True, help="No progress line.")
@common_options
@cmd.version_option
def ae_train(
    data: tuple[str, ...],
    out: Path,
    recipe_file: Path | None,
    val: str | None,
    device: Device,
    init: Path | None,
    assignments: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train an autoencoder on the rows in DATA.

    DATA is one or more .npy, .npz (or file.npz:key), .csv, .tsv (or either with .gz), .parquet,
    .arrow or .feather files, a folder of images or of Parquet files, or the built-in "digits".
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    from ae_runtime.extras import need

    before: Run | None = need("ae_train.run.folder", "train").Run.load(init) if init else None
    fields = to_fields(before.recipe) if before else {}
    merge(fields, read_recipe(recipe_file) if recipe_file else {})
    for flag, value in flags.items():
        if value is not None:
            _set_flag(fields, flag, value)
    for assignment in assignments:
        set_value(fields, assignment)
    recipe = make_recipe(fields, str(recipe_file) if recipe_file else "settings")
    # Before reading the data, which may take long: may the run be written?
    need("ae_train.run.checkpoint", "train").Checkpoint(out, resume, overwrite)
    from ae_train.data.loading import load

    dataset = load(data, recipe, val, before.schema.columns if before else None)
    if dataset.note:
        say(dataset.note)
    say(_describe_rows(data, dataset))
    line = cmd.ProgressLine(quiet)

    def show(epoch: Epoch, pca_mse: float) -> None:
        line.show(_progress(epoch, pca_mse))

    def tell(text: str) -> None:
        line.clear()
        say(text)

    from ae_train import train

    try:
        run = train(
            dataset,
            recipe,
            out,
            init=before,
            device=device,
            resume=resume,
            overwrite=overwrite,
            show=show,
            say=tell,
        )
    except KeyboardInterrupt:
        hint = f"; --resume goes on with {part_of(out)}" if part_of(out).is_dir() else ""
        raise WorkFailed(f"interrupted{hint}") from None
    finally:
        line.clear()
    if as_json:
        print_json(_summary(run))
    else:
        click.echo("\n".join(_report(run)))
    if run.schema.stopped == "interrupt":
        raise WorkFailed(
            f"interrupted after epoch {run.schema.epochs}; the best model so far is in {out}"
        )


# Settings that flags stand for; the rest stand for those of their name in [data].
_FLAGS = {
    "ids": "data.id",
    "latent": "latent_dim",
    "arch": "arch.name",
    "bottleneck": "bottleneck.name",
    "epochs": "fit.epochs",
    "batch": "fit.batch",
    "seed": "seed",
}
_LISTS = ("columns", "drop", "ids", "missing")


def _set_flag(fields: dict[str, Any], flag: str, value: Any) -> None:
    section, _, key = _FLAGS.get(flag, f"data.{flag}").rpartition(".")
    if flag in _LISTS:
        value = [name.strip() for name in value.split(",")]
    elif flag in ("latent", "header") and value.lstrip("-").isdecimal():
        value = int(value)
    target = fields.setdefault(section, {}) if section else fields
    target[key] = value


def _describe_rows(names: tuple[str, ...], dataset: Dataset) -> str:
    import numpy as np

    from ae_train.data.dataset import IN_MEMORY_BYTES

    form = dataset.form
    shape = "x".join(map(str, form.row_shape))
    if form.is_mixed:
        shape = f"{form.row_shape[0] + len(form.levels)} columns,"
    missing = ""
    if form.dtype != "uint8" and dataset.bytes_scaled < IN_MEMORY_BYTES:
        share = float(np.isnan(dataset.take(slice(None))[0]).mean()) if form.row_shape[0] else 0
        missing = f", {share:.1%} missing" if share else ""
    where = names[0] if len(names) == 1 else f"{len(names)} files"
    return f"{where}: {len(dataset):,} rows of {shape} {form.dtype} ({form.kind}){missing}"


def _progress(epoch: Epoch, pca_mse: float) -> str:
    loss = epoch.validation_loss if epoch.train_loss is None else epoch.train_loss
    left = "" if math.isnan(epoch.seconds_left) else f", {cmd.duration(epoch.seconds_left)} left"
    return (
        f"epoch {epoch.epoch}/{epoch.epochs}  loss {loss:.5f}  "
        f"validation MSE {epoch.validation_mse:.5f} = {_ratio(epoch.validation_mse, pca_mse)} "
        f"of PCA's, best at {epoch.best_epoch}{left}"
    )


def _ratio(mse: float, pca_mse: float) -> str:
    # Scaled rows have a variance of about 1: less than this is float32 rounding, not an error.
    return f"{mse / pca_mse:.3f}" if pca_mse > 1e-10 else "-"


def _report(run: Run) -> list[str]:
    """Lines that say how a training ended and how good its model is."""
    quality, recipe, schema = run.schema.quality, run.recipe, run.schema
    parts = [("validation", quality.validation_mse, quality.pca_mse, quality.mean_mse)]
    if quality.test_mse is not None:
        parts.append(
            ("test", quality.test_mse, quality.test_pca_mse or 0.0, quality.test_mean_mse or 0.0)
        )
    weights = f"best at {schema.best_epoch}" if recipe.fit.keep == "best" else "the last kept"
    lines = [f"latent {recipe.latent_dim}, {schema.epochs} epochs, {weights}"]
    for name, mse, pca_mse, mean_mse in parts:
        lines.append(
            f"{name:<10} MSE {mse:.5f}, PCA {pca_mse:.5f} (ratio {_ratio(mse, pca_mse)}), "
            f"mean {mean_mse:.5f}, in scaled space"
        )
    if quality.is_pca:
        lines.append(gain_over_pca(quality))
    elif quality.validation_mse > quality.pca_mse:
        lines.append("the saved model is worse than PCA of the same size on validation rows")
    if schema.mixed:
        lines += [_mixed_line(name, figures) for name, figures in schema.mixed.items()]
    lines += schema.advice
    empty = [
        c.name or f"column {at + 1}"
        for at, c in enumerate(schema.columns or [])
        if c.min is None and not c.levels
    ]
    if empty:
        lines.append(f"columns without any value come back as NaN: {', '.join(empty[:5])}")
    lines.append(f"run written to {run.folder}; next: ae-export {run.folder} --out BUNDLE")
    return lines


def _mixed_line(name: str, figures: MixedQuality) -> str:
    return (
        f"{name:<10} numbers MSE {figures.numeric_mse:.5f}, PCA {figures.pca_numeric_mse:.5f}; "
        f"categories right {figures.accuracy:.1%}, PCA {figures.pca_accuracy:.1%}, "
        f"most frequent {figures.frequent_accuracy:.1%}"
    )


def _summary(run: Run) -> dict[str, Any]:
    import msgspec

    return {
        "run": str(run.folder),
        "model_id": run.model_id,
        "latent_dim": run.recipe.latent_dim,
        "epochs": run.schema.epochs,
        "best_epoch": run.schema.best_epoch,
        "quality": msgspec.to_builtins(run.schema.quality),
    }


def main() -> None:
    """Entry point of ae-train."""
    sys.exit(cmd.run(ae_train, "ae-train"))
