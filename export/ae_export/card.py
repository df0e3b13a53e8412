"""The model card: README.md of a bundle, for people and model hubs."""

from __future__ import annotations

from ae_runtime.manifest import Manifest, Quality
from ae_train.run import Run

_HEAD = """---
library_name: ae-toolkit
tags:
- autoencoder
- onnx
- dimensionality-reduction
---
"""


def model_card(run: Run, manifest: Manifest) -> str:
    """Markdown with a YAML head: what the model does, its data, figures, limits and use."""
    x, latent_dim = manifest.inputs[0], manifest.latent.dim
    shape = "x".join(map(str, x.row_shape))
    rows, quality = run.schema.rows, manifest.quality
    pca = (
        "\nThis model is PCA: training found nothing better on the validation rows.\n"
        if quality.is_pca
        else ""
    )
    return f"""{_HEAD}
# Autoencoder: {shape} {x.dtype} to {latent_dim} numbers

The encoder turns one {manifest.kind} row of {shape} {x.dtype} values into {latent_dim} float32
latents; the decoder turns them back into a row of the same shape, dtype and units.
{pca}
## Data

{rows["train"]} rows to train on, {rows["validation"]} to validate on, {rows["test"]} held out.

## Figures

Mean squared error in scaled space ({run.recipe.data.scaling} scaling), beside PCA of the same size
and the training mean.

| rows | model | PCA | mean |
| --- | --- | --- | --- |
{_figures(quality)}

## Limits

Rows unlike the training data are reconstructed badly: that is what an autoencoder does. Missing
values (NaN) are filled with the training median. Latents of another model cannot be decoded.

## Use

```python
import ae_runtime

ae = ae_runtime.load("BUNDLE")
z = ae.encode(x)          # {_batch(x.row_shape)} {x.dtype} -> (B, {latent_dim}) float32
x_hat = ae.decode(z)
```

model_id: {manifest.model_id}
"""


def _figures(quality: Quality) -> str:
    lines = [_row("validation", quality.validation_mse, quality.pca_mse, quality.mean_mse)]
    if quality.test_mse is not None:
        lines.append(_row("test", quality.test_mse, quality.test_pca_mse, quality.test_mean_mse))
    return "\n".join(lines)


def _row(name: str, *values: float | None) -> str:
    return (
        f"| {name} | " + " | ".join(f"{value:.5g}" for value in values if value is not None) + " |"
    )


def _batch(row_shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(["B", *map(str, row_shape)]) + ")"
