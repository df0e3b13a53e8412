"""schema.json of a run: what the rows are, how good the model is, and what export needs."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from ae_runtime.bundle.manifest import Column, Dtype, Prefix, Quality, Score, Threshold
from ae_runtime.errors import RunError
from ae_train.data.form import Form

FORMAT = 2


class MixedQuality(msgspec.Struct, frozen=True):
    """A mixed table's figures on one part, for the model, for PCA of the same size on one-hot rows.

    numeric_mse: of the numbers, in scaled space. accuracy: share of the present categories that
    come back right. frequent_accuracy: of always saying each column's most frequent one.
    """

    numeric_mse: float
    pca_numeric_mse: float
    accuracy: float
    pca_accuracy: float
    frequent_accuracy: float


class Size(msgspec.Struct, frozen=True):
    """A point of the curve of --latent auto: validation errors at one latent size."""

    latent_dim: int
    mse: float
    pca_mse: float


class Schema(msgspec.Struct, frozen=True):
    """The facts of a run that are not in its recipe and weights.

    row_shape: of one sample; of a mixed table, its numbers. columns: of a table, numbers first.
    channel_min, channel_max: of a series, over the training rows; None in older runs. time, step:
    of a series, as in the manifest.
    x_std: standard deviation over the training rows, one per number of a table or channel,
    in data units. z_mean, z_std: (K,), of the latents of the training rows. usage: what the
    bottleneck says of its code on training rows. rows: how many each part of the split has.
    curve: of ordered latents, errors by how many are kept. scores, threshold: of the scorer; None
    in runs without one. step_scores, step_threshold: of the steps of a series that was cut.
    best_epoch: the one whose weights are kept. stopped: why training ended. model_id: SHA-256 of
    the weights and of what makes them a model, taken once, so that a later version of the toolkit
    does not give a trained model another name.
    """

    model_id: str
    kind: Literal["table", "image", "series"]
    dtype: Dtype
    row_shape: tuple[int, ...]
    columns: list[Column] | None
    quality: Quality
    x_std: list[float] = msgspec.field(name="x_deviation")
    z_mean: list[float]
    z_std: list[float] = msgspec.field(name="z_deviation")
    rows: dict[str, int]
    epochs: int
    best_epoch: int
    stopped: Literal["epochs", "patience", "interrupt"]
    train_mse: float
    channels: list[str] | None = None
    stride: int | None = None
    channel_min: list[float | None] | None = None
    channel_max: list[float | None] | None = None
    time: str | None = None
    step: float | None = None
    mixed: dict[str, MixedQuality] | None = None
    usage: dict[str, Any] = {}
    sizes: list[Size] | None = None
    curve: list[Prefix] | None = None
    advice: list[str] = []
    scores: list[Score] | None = None
    threshold: Threshold | None = None
    step_scores: list[Score] | None = None
    step_threshold: Threshold | None = None
    format: int = FORMAT

    @property
    def latent_dim(self) -> int:
        return len(self.z_mean)

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(len(c.levels) for c in self.columns or () if c.levels)

    @property
    def form(self) -> Form:
        """The form of the rows that a model is made for."""
        return Form(self.kind, self.dtype, tuple(self.row_shape), self.levels)


def dump_schema(schema: Schema) -> bytes:
    """The bytes of schema.json."""
    fields: dict[str, Any] = msgspec.to_builtins(schema)
    return (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode()


def parse_schema(raw: bytes) -> Schema:
    """The schema in raw. Raises RunError if it is not one that this version reads."""
    try:
        return msgspec.json.decode(raw, type=Schema)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(f"schema.json: {error}; train again") from None
