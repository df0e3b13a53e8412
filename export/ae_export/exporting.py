"""Export a run as a bundle: trace, verify, describe, and only then write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tomli_w

from ae_export.building import Exported, build
from ae_export.card import card_of_run
from ae_export.export_source import Facts, source_of_run
from ae_export.golden import GoldenRows
from ae_export.precision import BUDGET, Precision
from ae_export.writing import check_out
from ae_runtime.bundle.manifest import Series
from ae_train.recipe import to_fields
from ae_train.run.folder import Run
from ae_train.schema import Schema


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    precision: Precision = "fp32",
    budget: float = BUDGET,
    zip: bool = False,
    golden: GoldenRows = "synthetic",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the bundle of a run to the folder `out`, which appears only when it is complete.

    run: a Run or its folder. precision: fp32; int8; auto, which takes int8 if it is faster on this
    machine and within the budget. budget: share by which int8 may raise the reconstruction error.
    zip: write one .zip file. golden: rows of golden.npz, "real" puts held-out rows into the
    bundle. say: called with a line for each stage. The same run and precision give the same bytes
    wherever they are exported. Raises RunError, OutputExists, OutputFailed, VerificationFailed,
    MissingExtra.
    """
    out = Path(out)
    check_out(out, overwrite, zip)
    run = run if isinstance(run, Run) else Run.load(run)
    schema = run.schema
    return build(
        source_of_run(run),
        out,
        precision=precision,
        budget=budget,
        zip=zip,
        golden=golden,
        say=say,
        recipe=tomli_w.dumps(to_fields(run.recipe)).encode(),
        card=lambda manifest: card_of_run(run, manifest),
        facts=Facts(
            schema.kind,
            run.model_id,
            schema.columns,
            schema.quality,
            _series_of(schema) if schema.kind == "series" else None,
            run.recipe.data.reading_said,
            run.recipe.data.resize is not None,
            schema.scores,
            schema.threshold,
            schema.step_scores,
            schema.step_threshold,
        ),
    )


def _series_of(schema: Schema) -> Series:
    return Series(
        schema.channels,
        schema.stride,
        schema.channel_min,
        schema.channel_max,
        schema.time,
        schema.step,
    )
