"""Golden vectors: rows and the float64 model's answers, for a machine to prove itself against."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ae_export.verify import column_deviation, in_float64, latent_deviation
from ae_train.model import Model
from ae_train.run import Run

ROWS = 32
GoldenRows = Literal["synthetic", "real"]


def golden_npz(run: Run, which: GoldenRows) -> bytes:
    """The bytes of golden.npz: x, z, x_hat, and the deviations that differences are measured in.

    synthetic: rows decoded from latents drawn from a normal distribution with the training
    latents' mean and deviation, so that a bundle carries no patients or customers. real: the
    first held-out rows.
    """
    reference = in_float64(run.model)
    x = _synthetic(run) if which == "synthetic" else run.probe[0][:ROWS]
    z = reference.encode(torch.from_numpy(x)).numpy().astype(np.float32)
    x_hat = _decode(run, reference, z)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x=x,
        z=z,
        x_hat=x_hat,
        z_deviation=latent_deviation(run),
        x_hat_deviation=column_deviation(run),
    )
    return buffer.getvalue()


def _decode(run: Run, reference: Model, z: NDArray[Any]) -> NDArray[Any]:
    x_hat = reference.decode(torch.from_numpy(z).double())
    assert isinstance(x_hat, torch.Tensor)  # mixed tables are refused before
    return x_hat.numpy().astype(run.schema.dtype)


def _synthetic(run: Run) -> NDArray[Any]:
    schema = run.schema
    random = np.random.default_rng(run.recipe.seed)
    draws = random.standard_normal((ROWS, len(schema.z_mean)))
    z = np.array(schema.z_mean) + np.array(schema.z_deviation) * draws
    x = _decode(run, in_float64(run.model), z)
    if schema.dtype != "uint8":
        x[:2, random.random(x.shape[1:]) < 0.5] = np.nan  # missing values are filled alike, too
    return x
