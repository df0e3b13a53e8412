"""The command ae-run info: what a bundle or an archive holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.bundle.describe import describe
from ae_runtime.commands.decompress import info_of_archive
from ae_runtime.commands.options import bundle_argument
from ae_runtime.console import common_options, print_json


@click.command()
@bundle_argument
@click.option("--weights", is_flag=True, help="List names, shapes and statistics of the weights.")
@common_options
def info(bundle: Path, weights: bool, as_json: bool) -> None:
    """Say what a bundle takes, gives, and how good it is; or what an archive (.aez) holds."""
    from ae_archive.writing import is_archive

    if is_archive(bundle):
        if weights:
            raise click.UsageError("--weights is of a bundle; an archive has none to list")
        info_of_archive(bundle, as_json)
        return
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


def _weights(ae: Autoencoder) -> list[Any]:
    from ae_runtime.bundle.weights import list_weights

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
