"""The source of an export: two modules, the ports of their graphs, and their reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_export.reference import Parts, Reference, RunReference
from ae_runtime.bundle.manifest import (
    Column,
    Latent,
    Port,
    Quality,
    Reading,
    Score,
    Series,
    Threshold,
)
from ae_train.network.model import Model
from ae_train.network.sampler import Sampler
from ae_train.run.folder import Run

Array = NDArray[Any]


class Graphs(NamedTuple):
    """The bytes of two ONNX graphs."""

    encoder: bytes
    decoder: bytes


@dataclass(frozen=True)
class ExportSource:
    """An encoder and a decoder with all that turning them into a bundle needs.

    encoder: a module from the arrays of `inputs` to z. decoder: from z to those of `outputs`.
    held_out, edge: rows to verify on. calibration: rows to find the ranges of int8 with, or ().
    seed: of random draws. takes_missing: whether NaN counts as missing. scorer: a module from
    the inputs and outputs of the other two to score, parts and scores, or None. sampler: from
    uniform noise to z, or None.
    """

    encoder: nn.Module
    decoder: nn.Module
    inputs: list[Port]
    outputs: list[Port]
    latent: Latent
    reference: Reference
    held_out: Parts
    edge: Parts
    calibration: Parts
    seed: int = 0
    takes_missing: bool = True
    scorer: nn.Module | None = None
    sampler: Sampler | None = None


@dataclass(frozen=True)
class Facts:
    """Fields of the manifest besides the graphs'. model_id: None for a hash of the graphs."""

    kind: Literal["table", "image", "series"]
    model_id: str | None = None
    columns: list[Column] | None = None
    quality: Quality | None = None
    series: Series | None = None
    reading: Reading | None = None
    resized: bool = False
    scores: list[Score] | None = None
    threshold: Threshold | None = None
    step_scores: list[Score] | None = None
    step_threshold: Threshold | None = None


class Wrapped(nn.Module):
    """A module around the one to export; subclasses name the inputs of its graph.

    The outermost module's children become attributes of a GraphModule, which has others of its own
    called `code` and `graph`. Each input is an argument, because the exporter names them so.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class _Encoder(Wrapped):
    model: Model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.encode(x)


class _MixedEncoder(Wrapped):
    model: Model

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return self.model.encode(x_num, x_cat)


class _Decoder(Wrapped):
    model: Model

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.model.decode(z)


def source_of_run(run: Run) -> ExportSource:
    """The export source of a run, with edge rows for inputs that its data do not hold."""
    schema = run.schema
    numbers: list[int | None] = [None, *schema.row_shape]
    inputs, outputs = [Port("x", schema.dtype, numbers)], [Port("x_hat", schema.dtype, numbers)]
    encoder: nn.Module = _Encoder(run.model)
    if schema.form.is_mixed:
        encoder = _MixedEncoder(run.model)
        codes: list[int | None] = [None, len(schema.levels)]
        inputs = [Port("x_num", schema.dtype, numbers), Port("x_cat", "int32", codes)]
        outputs = [
            Port("x_hat_num", schema.dtype, numbers),
            Port("x_hat_cat", "int32", codes),
            Port("x_hat_prob", "float32", [None, sum(schema.levels)]),
        ]
    return ExportSource(
        encoder=encoder,
        decoder=_Decoder(run.model),
        inputs=inputs,
        outputs=outputs,
        latent=_latent(run),
        reference=RunReference(run),
        held_out=run.probe,
        edge=edge_rows(run),
        calibration=run.calibration,
        seed=run.recipe.seed,
        takes_missing=schema.dtype != "uint8",
        scorer=run.scorer,
        sampler=run.sampler,
    )


def _latent(run: Run) -> Latent:
    bottleneck, dim = run.model.bottleneck, run.schema.latent_dim
    levels = None if bottleneck.levels is None else [bottleneck.levels] * dim
    name = run.recipe.bottleneck.name
    return Latent(dim, name, levels, ordered=bottleneck.is_ordered, curve=run.schema.curve)


def edge_rows(run: Run) -> Parts:
    """Extreme rows: least and greatest values, zeros, far out, missing."""
    numbers = _edge_numbers(run)
    if not run.schema.form.is_mixed:
        return (numbers,)
    levels = np.array(run.schema.levels)
    ends = np.iinfo(np.int32)
    none = np.full_like(levels, -1)
    codes = [
        levels * 0,
        levels - 1,
        levels // 2,
        none,
        levels,
        levels * 0 + ends.max,
        none + ends.min + 1,
    ]
    return numbers, np.stack(codes[: len(numbers)]).astype(np.int32)


def _edge_numbers(run: Run) -> Array:
    schema = run.schema
    shape = schema.row_shape
    if schema.dtype == "uint8":
        counting = np.arange(np.prod(shape)).reshape(shape) % 256
        return np.stack([np.zeros(shape), np.full(shape, 255), counting]).astype(np.uint8)
    least, most = _range(run)
    far = np.nan_to_num(most) + 1e8 * np.array(schema.x_std)
    nothing = np.full(shape, np.nan)
    limit = np.finfo(schema.dtype).max / 4
    some = np.where(np.arange(least.size).reshape(shape) % 2, least, nothing)
    rows = [least, most, np.zeros(shape), far, -far, nothing, some]
    return np.clip(np.stack(rows), -limit, limit).astype(schema.dtype)


def _range(run: Run) -> tuple[Array, Array]:
    """Least and greatest value of each number of a row, NaN where there is none."""
    columns = run.schema.columns
    if columns is not None:
        numbers = [column for column in columns if not column.levels]
        ends = [[np.nan if end is None else end for end in (c.min, c.max)] for c in numbers]
        table = np.array(ends, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]
    probe = run.probe[0].reshape(-1, run.probe[0].shape[-1])  # time steps x channels
    shape = run.schema.row_shape
    least, most = np.fmin.reduce(probe, axis=0), np.fmax.reduce(probe, axis=0)
    return (
        np.broadcast_to(least, shape).astype(np.float64),
        np.broadcast_to(most, shape).astype(np.float64),
    )


def examples_of(source: ExportSource) -> tuple[Tensor, ...]:
    """Two rows of each input, which tracing needs."""
    return tuple(torch.from_numpy(np.resize(p, (2, *p.shape[1:]))) for p in source.held_out)
