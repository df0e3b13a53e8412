"""The run of a trained model: its schema, figures, scores and advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Gain, Prefix
from ae_train.fit.evaluation import (
    Accuracy,
    codes_of,
    curve_of_prefixes,
    describe_columns,
    latent_statistics,
    mean_of_present,
    mixed_quality,
    quality,
    range_errors,
    squared_errors,
)
from ae_train.fit.fitting import State, Stop, evaluate
from ae_train.fit.preparing import Prepared
from ae_train.fit.sampling import fit_sampler
from ae_train.network.bottleneck.plain import Plain
from ae_train.network.model import Model
from ae_train.recipe import Resolved
from ae_train.report.advice import Facts, give_advice
from ae_train.report.gallery import MAP_ROWS, Gallery, Shown, rows_to_show
from ae_train.run.folder import Run, model_id
from ae_train.schema import MixedQuality, Schema, Size
from ae_train.scores.crossfit import fit_scorer

Array = NDArray[Any]
PROBE_ROWS = 256
# Training rows kept to find the ranges of int8 with, and numbers in them at most.
CALIBRATION_ROWS = 1024
_CALIBRATION_NUMBERS = 1 << 22


def finish(
    model: Model,
    recipe: Resolved,
    prepared: Prepared,
    state: State,
    stopped: Stop,
    sizes: list[Size],
    metrics: Sequence[dict[str, Any]],
    gain: Gain | None,
) -> tuple[Run, Gallery]:
    """The run of a trained model, which is moved to the CPU, and what its report shows.

    metrics: of each epoch from 0 on. gain: the gain over PCA by which the model, or PCA, was kept.
    """
    data, form, statistics = prepared.data, prepared.data.form, prepared.statistics
    held_out = (prepared.validation, prepared.test)
    errors = squared_errors(model, prepared.evaluation)
    z_mean, z_std = latent_statistics(model, prepared.sample)
    mixed, accuracy = _mixed(model, recipe.latent_dim, prepared) if form.is_mixed else (None, None)
    columns = data.columns
    if columns is not None:
        x = data.take(prepared.evaluation_rows)[0]
        columns = describe_columns(columns, model.preprocess.numbers, statistics, errors, x)
    schema = Schema(
        model_id="",
        kind=form.kind,
        dtype=form.dtype,
        row_shape=form.row_shape,
        columns=columns,
        quality=replace(
            quality(model, prepared.pca, recipe.latent_dim, *held_out, gain),
            **_in_data_units(model, recipe.latent_dim, prepared, mixed),
        ),
        x_std=np.nan_to_num(statistics.std).tolist(),
        z_mean=z_mean,
        z_std=z_std,
        rows={n: len(getattr(prepared.split, n)) for n in ("train", "validation", "test")},
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        stopped=stopped,
        train_mse=evaluate(model, prepared.sample).mse,
        channels=data.channels,
        stride=data.stride,
        time=data.time,
        step=data.step,
        channel_min=_ends(statistics.min) if form.kind == "series" else None,
        channel_max=_ends(statistics.max) if form.kind == "series" else None,
        mixed=mixed,
        usage=model.bottleneck.describe(codes_of(model, prepared.sample)),
        sizes=sizes or None,
        curve=_curve(model, recipe.latent_dim, prepared),
    )
    model = model.cpu().eval()
    scored = None
    if recipe.score.name != "none":
        scored = fit_scorer(model, prepared, recipe.score, recipe.seed)
    schema = replace(
        schema,
        scores=scored and scored.scores,
        threshold=scored and scored.threshold,
        step_scores=scored and scored.step_scores,
        step_threshold=scored and scored.step_threshold,
        model_id=model_id(model, recipe, form, data.columns),
        advice=give_advice(_facts(schema, recipe, model.bottleneck, prepared, metrics)),
    )
    run = Run(
        recipe,
        schema,
        model,
        data.take(prepared.evaluation_rows[:PROBE_ROWS]),
        prepared.split,
        calibration=_calibration(prepared),
        scorer=scored and scored.scorer,
        sampler=fit_sampler(model, prepared, recipe.latent_dim, recipe.seed),
    )
    return run, _gallery(model, prepared, errors, accuracy)


def _ends(values: NDArray[np.float64]) -> list[float | None]:
    """The values as JSON holds them, one for each channel; None where a channel has none."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _curve(model: Model, latent_dim: int, prepared: Prepared) -> list[Prefix] | None:
    rows = prepared.test if len(prepared.test) else prepared.validation
    ordered = model.bottleneck.is_ordered
    return curve_of_prefixes(model, prepared.pca, latent_dim, rows) if ordered else None


def _in_data_units(
    model: Model, latent_dim: int, prepared: Prepared, mixed: dict[str, MixedQuality] | None
) -> dict[str, float | None]:
    """Figures in units of the data, over the held-out rows."""
    scale = model.preprocess.numbers.scale.cpu().numpy().astype(np.float64)
    errors = range_errors(
        model, prepared.pca, latent_dim, prepared.evaluation, scale, prepared.statistics
    )
    last = list(mixed.values())[-1] if mixed else None
    return {
        "range_error": errors[0],
        "pca_range_error": errors[1],
        "accuracy": last.accuracy if last else None,
        "pca_accuracy": last.pca_accuracy if last else None,
    }


def _calibration(prepared: Prepared) -> tuple[Array, ...]:
    """Some training rows, evenly spread over the training part."""
    rows = prepared.split.train
    most = min(CALIBRATION_ROWS, max(1, _CALIBRATION_NUMBERS // max(1, prepared.data.form.numbers)))
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    return prepared.data.take(rows[chosen])


def _mixed(
    model: Model, latent_dim: int, prepared: Prepared
) -> tuple[dict[str, MixedQuality], Accuracy]:
    parts = {"validation": prepared.validation, "test": prepared.test}
    figures = {}
    for name, rows in parts.items():
        if len(rows):
            of_part = mixed_quality(model, prepared.pca, latent_dim, prepared.sample, rows)
            figures[name], accuracy = of_part
    return figures, accuracy


def _facts(
    schema: Schema,
    recipe: Resolved,
    bottleneck: Plain,
    prepared: Prepared,
    metrics: Sequence[dict[str, Any]],
) -> Facts:
    statistics = prepared.statistics
    furthest = np.fmax(statistics.max - statistics.mean, statistics.mean - statistics.min)
    std = np.where(statistics.std > 0, statistics.std, np.nan)
    names: Sequence[str | None] = schema.channels or [None] * len(furthest)
    if schema.columns is not None:
        names = [column.name for column in schema.columns if not column.levels]
    return Facts(
        recipe=recipe,
        schema=schema,
        bottleneck=bottleneck,
        history=[line["validation_mse"] for line in metrics],
        tails=(furthest / std).tolist(),
        names=names,
    )


@torch.no_grad()
def _gallery(model: Model, prepared: Prepared, errors: Array, accuracy: Accuracy | None) -> Gallery:
    """Held-out rows that the report shows. errors: (N, ...) as squared_errors gives them."""
    data, form = prepared.data, prepared.data.form
    rows = prepared.evaluation_rows[:MAP_ROWS]
    by_row = mean_of_present(errors[: len(rows)], 1)
    z = model.encode(*(torch.from_numpy(part) for part in data.take(rows))).numpy()

    def shown(at: Array) -> Shown:
        parts = data.take(rows[at])
        back = [part.numpy() for part in model.decode_parts(torch.from_numpy(z[at]))]
        codes = (parts[1], back[1]) if form.is_mixed else (None, None)
        return Shown(rows[at], parts[0], back[0], by_row[at], *codes)

    typical, worst = rows_to_show(by_row)
    return Gallery(
        part="test" if len(prepared.split.test) else "validation",
        errors=by_row,
        z=z,
        typical=shown(typical),
        worst=shown(worst),
        column_error=None if form.kind == "image" else _column_error(model, prepared, errors),
        accuracy=None
        if accuracy is None
        else np.stack([accuracy.model, accuracy.pca, accuracy.frequent]),
        extremes=np.stack([prepared.statistics.min, prepared.statistics.max])
        if form.kind == "image"
        else None,
    )


def _column_error(model: Model, prepared: Prepared, errors: Array) -> Array:
    """Root mean squared error of each column or channel in its standard deviations."""
    form = prepared.data.form
    numbers = form.row_shape[-1]
    if form.kind == "series":
        errors = errors.reshape(-1, numbers)
    scale = model.preprocess.numbers.scale.cpu().numpy()
    std = np.where(prepared.statistics.std > 0, prepared.statistics.std, np.nan)
    return np.sqrt(mean_of_present(errors[:, :numbers], 0)) * scale / std
