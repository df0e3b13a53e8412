"""From trained weights to a run: what the model is, how good it is, and what to try next."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from ae_train.fitting import State, Stop, evaluate
from ae_train.judging import (
    codes_of,
    describe_columns,
    latent_statistics,
    mixed_quality,
    quality,
    squared_errors,
)
from ae_train.mixed import MixedPreprocess
from ae_train.model import Model
from ae_train.preparing import Prepared
from ae_train.recipe import Recipe
from ae_train.run import Run, model_id
from ae_train.schema import MixedQuality, Schema, Size

PROBE_ROWS = 256


def finish(
    model: Model,
    recipe: Recipe,
    prepared: Prepared,
    state: State,
    stopped: Stop,
    sizes: list[Size] | None,
    metrics: list[dict[str, Any]],
) -> Run:
    """The run of a trained model, which is moved to the CPU."""
    data, split, form = prepared.data, prepared.split, prepared.data.form
    assert isinstance(recipe.latent_dim, int)  # resolved
    is_pca = model.arch is None
    parts = (prepared.validation, prepared.test)
    figures = quality(model, prepared.pca, recipe.latent_dim, *parts, is_pca)
    z_mean, z_deviation = latent_statistics(model, prepared.sample)
    usage = model.bottleneck.describe(codes_of(model, prepared.judged))
    train_mse = evaluate(model, prepared.sample)[1]
    mixed = _mixed(model, recipe.latent_dim, prepared) if form.is_mixed else None
    columns = data.columns
    if columns is not None:
        numbers = model.preprocess
        numbers = numbers.numbers if isinstance(numbers, MixedPreprocess) else numbers
        x = data.take(prepared.judged_rows)[0]
        errors = squared_errors(model, prepared.judged)
        columns = describe_columns(columns, numbers, prepared.statistics, errors, x)
    schema = Schema(
        model_id="",
        kind=form.kind,
        dtype=form.dtype,
        row_shape=form.row_shape,
        columns=columns,
        quality=figures,
        x_deviation=np.nan_to_num(prepared.statistics.deviation).tolist(),
        z_mean=z_mean,
        z_deviation=z_deviation,
        rows={name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        stopped=stopped,
        train_mse=train_mse,
        channels=data.channels,
        stride=data.stride,
        mixed=mixed,
        usage=usage,
        sizes=sizes,
    )
    model = model.cpu().eval()
    schema = replace(schema, model_id=model_id(model, recipe, form, data.columns))
    probe = data.take(prepared.judged_rows[:PROBE_ROWS])
    return Run(recipe, schema, model, probe, split)


def _mixed(model: Model, latent_dim: int, prepared: Prepared) -> dict[str, MixedQuality]:
    parts = {"validation": prepared.validation, "test": prepared.test}
    return {
        name: mixed_quality(model, prepared.pca, latent_dim, prepared.sample, rows)[0]
        for name, rows in parts.items()
        if len(rows)
    }
