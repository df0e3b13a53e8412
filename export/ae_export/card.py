"""The model card: README.md of a bundle, for people and for model hubs."""

from __future__ import annotations

from collections.abc import Sequence

from ae_runtime.bundle.describe import alarms, gain_over_pca, headline
from ae_runtime.bundle.manifest import Manifest, Quality
from ae_train.run.folder import Run

# The form of Hugging Face: a YAML head that hubs read, then Markdown.
_HEAD = """---
library_name: ae-toolkit
pipeline_tag: feature-extraction
tags:
- autoencoder
- onnx
- dimensionality-reduction
- {kind}
---
"""
_VERIFIED = {
    "fp32": "The graphs were held against the model in float64 before they were written.",
    "int8": "In fp32 the graphs were held against the model in float64, then made int8.",
}
_ONE = {"table": "a row of a table", "image": "an image", "series": "a window of a series"}


def card_of_run(run: Run, manifest: Manifest) -> str:
    """The card of a trained run: what the model does, its data, figures, limits and use."""
    rows, quality = run.schema.rows, run.schema.quality
    data = (
        f"{rows['train']} rows to train on, {rows['validation']} to validate on, {rows['test']} "
        "held out."
    )
    scaling = run.recipe.data.scaling
    lines = [("validation", quality.validation_mse, quality.pca_mse, quality.mean_mse)]
    if quality.test_mse is not None:
        assert quality.test_pca_mse is not None  # there with test_mse
        assert quality.test_mean_mse is not None
        lines.append(("test", quality.test_mse, quality.test_pca_mse, quality.test_mean_mse))
    figures = (
        f"Mean squared error in scaled space ({scaling} scaling), beside PCA of the same size and "
        f"the training mean.\n\n{_table(lines)}{_words(quality)}"
    )
    note = f"The network is {run.recipe.arch.name}, the bottleneck {manifest.latent.bottleneck}."
    if quality.is_pca:
        gain = gain_over_pca(quality)
        note = f"{gain[0].upper()}{gain[1:]}."
    missing = " Missing values (NaN) are filled with the training median."
    if run.schema.dtype == "uint8":
        missing = ""
    return model_card(manifest, note, data, figures, missing)


def model_card(manifest: Manifest, note: str, data: str, figures: str, limits: str = "") -> str:
    """Markdown with a YAML head, in the form that model hubs read."""
    kind, latent_dim = manifest.kind, manifest.latent.dim
    ports = {
        name: " and ".join(f"`{port.name}` {_batch(port.row_shape)} {port.dtype}" for port in side)
        for name, side in (("in", manifest.inputs), ("out", manifest.outputs))
    }
    x = "table" if manifest.is_mixed else "x"
    return f"""{_HEAD.format(kind=kind)}
# Autoencoder: {headline(manifest)}

The encoder turns {_ONE[kind]} into {latent_dim} float32 latents; the decoder turns these back, in
the same shape, dtype and units. {note}

| graph | takes | gives |
| --- | --- | --- |
| encoder | {ports["in"]} | `z` (B, {latent_dim}) float32 |
| decoder | `z` (B, {latent_dim}) float32 | {ports["out"]} |

## Data

{data}

## Figures

{figures}

{_scores(manifest)}Precision: {manifest.precision}. {_VERIFIED[manifest.precision]}
`ae-run doctor BUNDLE` shows that a machine computes the same.

## Limits

Rows unlike the training data are reconstructed badly: that is what an autoencoder does.{limits}
Latents of another model cannot be decoded.

## Use

```python
import ae_runtime

ae = ae_runtime.load("BUNDLE")
z = ae.encode({x})          # (B, {latent_dim}) float32
{x}_hat = ae.decode(z)
```

model_id: {manifest.model_id}
"""


def _scores(manifest: Manifest) -> str:
    limit = manifest.threshold
    if limit is None:
        return ""
    text = f"A row that scores above {limit.value:.5g} ({limit.score}) is called anomalous by "
    text += f"`is_anomaly`: {alarms(limit)}"
    if limit.high is not None:
        text += ", where what is in brackets is how sure that is (95 % confidence)"
    steps = manifest.step_threshold
    if steps is not None:
        text += f". Time steps are anomalous above {steps.value:.5g}: {alarms(steps)}"
    return f"{text}.\n\n"


def _words(quality: Quality) -> str:
    parts = []
    if quality.range_error is not None and quality.pca_range_error is not None:
        parts.append(
            f"\nMean absolute error of the held-out rows, as a share of each column's range: "
            f"{quality.range_error:.3g}, PCA {quality.pca_range_error:.3g}."
        )
    if quality.accuracy is not None and quality.pca_accuracy is not None:
        parts.append(
            f"\nCategories that come back right: {quality.accuracy:.3g}, PCA "
            f"{quality.pca_accuracy:.3g}."
        )
    return "\n".join(parts)


def _table(lines: Sequence[tuple[str, float, float, float]]) -> str:
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{value:.5g}" for value in values) + " |"
        for name, *values in lines
    )
    return f"| rows | model | PCA | mean |\n| --- | --- | --- | --- |\n{rows}\n"


def _batch(row_shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(["B", *map(str, row_shape)]) + ")"
