"""A bundle in words: what it takes, what it gives, and how good it is."""

from __future__ import annotations

from math import prod

from ae_runtime.bundle.manifest import Manifest, Prefix, Quality, Threshold

# What is better than PCA by less is PCA computed in float32.
_ROUNDING = 1e-6


def headline(manifest: Manifest) -> str:
    """The one line to quote: "784 numbers -> 16; mean error 2.1 % of range, PCA 4.0 %"."""
    numbers = prod(manifest.inputs[0].row_shape)
    parts = [f"{numbers} number{'s' if numbers != 1 else ''}"] if numbers else []
    if manifest.is_mixed:
        words = prod(manifest.inputs[1].row_shape)
        parts.append(f"{words} word{'s' if words != 1 else ''}")
    return f"{' and '.join(parts)} -> {manifest.latent.dim}; {_figures(manifest.quality)}"


def _figures(quality: Quality | None) -> str:
    if quality is None:
        return "errors on held-out rows are not known: its modules came without"
    parts = []
    if quality.range_error is not None and quality.pca_range_error is not None:
        errors = quality.range_error, quality.pca_range_error
        parts.append(
            "mean error {:.2g} % of range, PCA {:.2g} %".format(*(100 * e for e in errors))
        )
    if quality.accuracy is not None and quality.pca_accuracy is not None:
        shares = quality.accuracy, quality.pca_accuracy
        parts.append("words right {:.3g} %, PCA {:.3g} %".format(*(100 * s for s in shares)))
    return ", ".join(parts) or scaled_error(quality)


def scaled_error(quality: Quality) -> str:
    """Squared errors of model and PCA: over the test rows, or else over the validation rows."""
    if quality.test_mse is None or quality.test_pca_mse is None or quality.test_mean_mse is None:
        rows, found = "validation", (quality.validation_mse, quality.pca_mse, quality.mean_mse)
    else:
        rows, found = "test", (quality.test_mse, quality.test_pca_mse, quality.test_mean_mse)
    return f"{rows} MSE {found[0]:.4g}, PCA {found[1]:.4g}, mean {found[2]:.4g} (in scaled space)"


def gain_over_pca(quality: Quality) -> str:
    """Text on how the model compares with PCA; "" if that was not measured."""
    gain = quality.gain
    if gain is None or gain.share <= _ROUNDING:
        found = "the saved model is PCA: training found nothing better on validation rows"
        return found if quality.is_pca else ""
    noun = "row" if gain.rows == 1 else "rows"
    where = f"{gain.rows:,} validation {noun}"
    if gain.folds:
        where = f"{gain.rows:,} rows held out in turn"
    if gain.blocks < gain.rows:
        where += f" in {gain.blocks} block{'s' if gain.blocks > 1 else ''}"
    found = f"gain over PCA {100 * gain.share:.2g} % on {where}"
    if gain.chance is None:
        return f"{found}, too few to tell it from chance: the saved model is PCA"
    reach = f"{100 * gain.chance:.2g} % that chance reaches"
    if quality.is_pca:
        return f"{found}, not beyond the {reach}: the saved model is PCA"
    return f"{found}, beyond the {reach}"


def describe(manifest: Manifest) -> list[str]:
    """Lines on a bundle, the headline first."""
    latent, quality = manifest.latent, manifest.quality
    lines = [headline(manifest)]
    if quality is not None and quality.is_pca:
        lines.append(gain_over_pca(quality))
    if quality is not None:
        lines.append(f"errors      {scaled_error(quality)}")
    shapes = ", ".join(
        f"{'x'.join(map(str, port.row_shape))} {port.dtype}" for port in manifest.inputs
    )
    grid = f", {latent.levels[0]} levels" if latent.levels else ""
    lines += [
        f"kind        {manifest.kind}, {shapes}",
        f"latents     {latent.dim} float32, bottleneck {latent.bottleneck}{grid}",
        *_curve(latent.curve),
        f"precision   {manifest.precision}",
        f"model_id    {manifest.model_id}",
        f"format      {manifest.format}",
    ]
    if manifest.scores and manifest.threshold:
        limit = manifest.threshold
        others = ", ".join(score.name for score in manifest.scores if score.name != limit.score)
        above = f"anomalous above {limit.value:.4g} ({alarms(limit)})"
        lines.append(f"score       {limit.score}, {above}; {others}")
    if manifest.step_threshold:
        limit = manifest.step_threshold
        lines.append(f"time steps  anomalous above {limit.value:.4g} ({alarms(limit)})")
    if manifest.column_names:
        lines.append(f"columns     {', '.join(manifest.column_names)}")
    if manifest.series is not None and manifest.series.channels:
        lines.append(f"channels    {', '.join(manifest.series.channels)}")
    if manifest.series is not None and manifest.series.time:
        step = manifest.series.step
        steps = "steps of time vary" if step is None else f"{step:g} from row to row"
        lines.append(f"time        {manifest.series.time}, {steps}")
    return lines


def alarms(limit: Threshold) -> str:
    """Share of ordinary rows above a threshold: "1 % (0.3 to 2.6 %) false alarms"."""
    rate = f"{100 * limit.false_alarm_rate:g} %"
    if limit.low is not None and limit.high is not None:
        rate += f" ({100 * limit.low:.2g} to {100 * limit.high:.2g} %)"
    return f"{rate} false alarms"


def _curve(points: list[Prefix] | None) -> list[str]:
    """The error of ordered latents by how many are kept."""
    if not points:
        return []
    shown = [point for point in points if point.keep & (point.keep - 1) == 0 or point is points[-1]]
    errors = ", ".join(f"{point.keep}: {point.mse:.4g}" for point in shown)
    return [f"prefixes    MSE of the first latents alone {errors}"]
