"""Export any pair of torch modules as a bundle, verified as a run's are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ae_export.building import Exported, build
from ae_export.card import model_card
from ae_export.custom_modules import CALIBRATION_ROWS, CustomModules
from ae_export.export_source import Facts
from ae_export.golden import GoldenRows
from ae_export.precision import BUDGET, Precision
from ae_export.reference import TOLERANCE
from ae_export.writing import check_out
from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import DataError

Array = NDArray[Any]
Kind = Literal["table", "image", "series"]
DTYPES = ("uint8", "float32", "float64")


def export_modules(
    encoder: nn.Module,
    decoder: nn.Module,
    example: ArrayLike,
    out: str | Path,
    *,
    kind: Kind | None = None,
    tolerance: float = TOLERANCE,
    precision: Precision = "fp32",
    budget: float = BUDGET,
    zip: bool = False,
    golden: GoldenRows = "synthetic",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a bundle of two torch modules of any architecture.

    encoder: gives one tensor z (B, K) for x, without a draw of random numbers. decoder: gives x_hat
    for z, in x's shape and dtype. example: rows x (N, ...) uint8, float32 or float64 of the data
    that they were trained on, at least 2, better 1,000: the graphs are verified on them, and int8
    takes its ranges from them; none is written unless golden = "real". kind: of the rows; None:
    (N, D) is a table, (N, T, C) of floats a series, all else images. tolerance: largest error of
    the graphs, in std of the columns over the example. All else as in `export`. The modules
    are left as they are; copies are exported in eval mode. Raises DataError for an example that
    cannot be used, and VerificationFailed for modules that cannot be traced, give other values for
    a row alone or at another time, or whose graphs disagree with them in float64.
    """
    out = Path(out)
    check_out(out, overwrite, zip)
    x = _rows(example)
    modules = CustomModules(encoder, decoder, x, tolerance)
    kind = kind or _kind(x)
    return build(
        modules.source(),
        out,
        precision=precision,
        budget=budget,
        zip=zip,
        golden=golden,
        say=say,
        recipe=f"# custom modules: {modules.names}\n".encode(),
        card=lambda manifest: _card(manifest, modules),
        facts=Facts(kind),
    )


def _rows(example: ArrayLike) -> Array:
    if isinstance(example, Tensor):
        example = example.detach().cpu().numpy()
    x = np.ascontiguousarray(example)
    if x.ndim < 2 or len(x) < 2 or x.dtype.name not in DTYPES:
        raise DataError(
            f"example has shape {x.shape} and dtype {x.dtype}; rows (N, ...) of "
            f"{', '.join(DTYPES)} are needed, at least 2, since the graphs are verified on them"
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise DataError("example holds NaN or infinities; give rows without")
    return x


def _kind(x: Array) -> Kind:
    if x.ndim == 2:
        return "table"
    return "series" if x.ndim == 3 and x.dtype.kind == "f" else "image"


def _card(manifest: Manifest, modules: CustomModules) -> str:
    model, pca, mean = modules.figures()
    rows = f"{len(modules.x[:CALIBRATION_ROWS])} example rows"
    return model_card(
        manifest,
        f"Its modules, {modules.names}, were trained elsewhere.",
        f"Not known here; verified on {rows} that came with the modules.",
        f"Mean squared error on the {rows}, in units of each column's variance (of all values but "
        f"for tables): {model:.5g}; PCA of the same size fitted to these very rows {pca:.5g}, "
        f"their mean {mean:.5g}. Rows that were trained on flatter the model, and PCA here.",
    )
