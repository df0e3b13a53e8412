"""schema.json of a run: what the rows are, how good the model is, and what export needs."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from ae_runtime.errors import RunError
from ae_runtime.manifest import Column, Dtype, Quality

FORMAT = 1


class Schema(msgspec.Struct, frozen=True):
    """What a run knows besides its recipe and weights.

    row_shape: of one sample. x_deviation: standard deviation over the training rows, one per
    table column or image channel, in data units. z_mean, z_deviation: (K,), of the latents of the
    training rows. rows: how many each part of the split has. best_epoch: the one whose weights
    are kept. model_id: SHA-256 of the weights and of what makes them a model, taken once, so that
    a later version of the toolkit does not give a trained model another name.
    """

    model_id: str
    kind: Literal["table", "image"]
    dtype: Dtype
    row_shape: tuple[int, ...]
    columns: list[Column] | None
    quality: Quality
    x_deviation: list[float]
    z_mean: list[float]
    z_deviation: list[float]
    rows: dict[str, int]
    epochs: int
    best_epoch: int
    format: int = FORMAT


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
