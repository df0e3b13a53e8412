"""The command ae-train: rows and a recipe in, a run folder out."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ae_runtime import command as cmd
from ae_runtime.command import common_options, print_json, say
from ae_runtime.errors import WorkFailed
from ae_runtime.outputs import part_of
from ae_train.recipe import make_recipe, read_recipe, set_value

if TYPE_CHECKING:
    from ae_train.data import Dataset
    from ae_train.fitting import Epoch
    from ae_train.run import Run


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: ae-train digits --latent 8 --out run",
)
@click.argument("data", metavar="DATA")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run.")
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="Settings, as TOML; the options below go before it.",
)
@click.option(
    "--kind",
    type=click.Choice(["table", "image"]),
    help="What a row is.  [default: uint8 arrays of 3 or 4 axes are images]",
)
@click.option(
    "--latent",
    type=int,
    help="Numbers that stand for a row.  [default: those that leave PCA 10 % of the variance]",
)
@click.option(
    "--epochs",
    type=int,
    help="Passes over the rows at most; 0 keeps the start, which is PCA by default.",
)
@click.option("--batch", type=int, help="Rows a step.")
@click.option("--seed", type=int, help="Seed of every random draw.")
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting."
)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of --out.")
@click.option("--overwrite", is_flag=True, help="Replace a run that ae-train wrote before.")
@click.option("--quiet", is_flag=True, help="No progress line.")
@common_options
@cmd.version_option
def ae_train(
    data: str,
    out: Path,
    recipe_file: Path | None,
    kind: str | None,
    latent: int | None,
    epochs: int | None,
    batch: int | None,
    seed: int | None,
    assignments: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train an autoencoder on the rows in DATA.

    DATA is a .npy, .npz (or file.npz:key), .csv or .tsv file (or either with .gz), or the
    built-in "digits".
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    fields = read_recipe(recipe_file) if recipe_file else {}
    flags = {
        "data.kind": kind,
        "latent_dim": latent,
        "fit.epochs": epochs,
        "fit.batch": batch,
        "seed": seed,
    }
    for key, value in flags.items():
        if value is not None:
            set_value(fields, f"{key}={value}")
    for assignment in assignments:
        set_value(fields, assignment)
    recipe = make_recipe(fields, str(recipe_file) if recipe_file else "settings")
    from ae_train.data import load_dataset
    from ae_train.extras import need

    # Before reading the data, which may take long: may the run be written?
    need("ae_train.workplace", "train").Workplace(out, resume, overwrite)
    dataset = load_dataset(data, recipe.data.kind)
    if dataset.note:
        say(dataset.note)
    say(_describe_rows(data, dataset))
    line = cmd.ProgressLine(quiet)

    def show(epoch: Epoch, pca_mse: float) -> None:
        line.show(_progress(epoch, pca_mse, recipe.fit.epochs))

    from ae_train import train

    try:
        run = train(dataset, recipe, out, resume=resume, overwrite=overwrite, show=show)
    except KeyboardInterrupt:
        raise WorkFailed(f"interrupted; --resume goes on with {part_of(out)}") from None
    finally:
        line.clear()
    if as_json:
        print_json(_summary(run))
    else:
        click.echo("\n".join(_report(run)))


def _describe_rows(name: str, dataset: Dataset) -> str:
    shape = "x".join(map(str, dataset.row_shape))
    missing = ""
    if dataset.x.dtype.kind == "f":
        import numpy as np

        share = float(np.isnan(dataset.x).mean())
        missing = f", {share:.1%} missing" if share else ""
    return f"{name}: {len(dataset.x):,} rows of {shape} {dataset.dtype} ({dataset.kind}){missing}"


def _progress(epoch: Epoch, pca_mse: float, epochs: int) -> str:
    loss = epoch.validation_loss if epoch.train_loss is None else epoch.train_loss
    left = "" if math.isnan(epoch.seconds_left) else f", {cmd.duration(epoch.seconds_left)} left"
    return (
        f"epoch {epoch.epoch}/{epochs}  loss {loss:.5f}  "
        f"validation MSE {epoch.validation_mse:.5f} = {_ratio(epoch.validation_mse, pca_mse)} "
        f"of PCA's, best at {epoch.best_epoch}{left}"
    )


def _ratio(mse: float, pca_mse: float) -> str:
    # Scaled rows have a variance of about 1: less than this is float32 rounding, not an error.
    return f"{mse / pca_mse:.3f}" if pca_mse > 1e-10 else "-"


def _report(run: Run) -> list[str]:
    """The end of a training in words."""
    quality, recipe, schema = run.schema.quality, run.recipe, run.schema
    parts = [("validation", quality.validation_mse, quality.pca_mse, quality.mean_mse)]
    if quality.test_mse is not None:
        parts.append(
            ("test", quality.test_mse, quality.test_pca_mse or 0.0, quality.test_mean_mse or 0.0)
        )
    kept = f"best at {schema.best_epoch}" if recipe.fit.keep == "best" else "the last kept"
    lines = [f"latent {recipe.latent_dim}, {schema.epochs} epochs, {kept}"]
    for name, mse, pca_mse, mean_mse in parts:
        lines.append(
            f"{name:<10} MSE {mse:.5f}, PCA {pca_mse:.5f} (ratio {_ratio(mse, pca_mse)}), "
            f"mean {mean_mse:.5f}, in scaled space"
        )
    if quality.is_pca:
        lines.append("the saved model is PCA: training found nothing better on validation rows")
    elif quality.validation_mse > quality.pca_mse:
        lines.append("the saved model is worse than PCA of the same size on validation rows")
    empty = [
        c.name or f"column {at + 1}" for at, c in enumerate(schema.columns or []) if c.min is None
    ]
    if empty:
        lines.append(f"columns without any value come back as NaN: {', '.join(empty[:5])}")
    lines.append(f"run written to {run.folder}; next: ae-export {run.folder} --out BUNDLE")
    return lines


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
