"""Train an autoencoder on rows, from Python or with the command ae-train."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ae_runtime import __version__

# Read when torch is imported: its threads wait for each other by spinning, by default so long that
# a training beside a busy neighbour takes ten times as long. This is some microseconds: as fast
# alone (60 epochs of digits on 2 cores: 3.0 s, without spinning 5.3 s), and 5.0 s beside two.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# fmt: off
# isort: off
if TYPE_CHECKING:
    from ae_train.network.model import Model
    from ae_train.recipe import (
        Arch, Bottleneck, Corruption, Data, Fit, Recipe, Resolved, Scoring, make_recipe,
    )
    from ae_train.run.folder import Run
    from ae_train.schema import Schema
    from ae_train.sklearn import AutoencoderDetector, AutoencoderTransformer
    from ae_train.training import train

__all__ = [
    "Arch", "AutoencoderDetector", "AutoencoderTransformer", "Bottleneck", "Corruption", "Data",
    "Fit", "Model", "Recipe", "Resolved", "Run", "Schema", "Scoring", "__version__",
    "make_recipe", "train",
]
# isort: on
# fmt: on
_HOMES = {
    "AutoencoderDetector": "sklearn",
    "AutoencoderTransformer": "sklearn",
    "Model": "network.model",
    "Run": "run.folder",
    "Schema": "schema",
    "train": "training",
}  # and recipe for the rest


def __getattr__(name: str) -> Any:
    # Lazy, so that `ae-train --help` and wrong words are answered before torch is imported.
    if name in __all__:
        from ae_runtime import extras

        return getattr(extras.need(f"ae_train.{_HOMES.get(name, 'recipe')}", "train"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
