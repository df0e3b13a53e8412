"""Hold graphs against the model in float64, row by row, before anything is written."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ae_runtime.devices import open_session
from ae_runtime.doctor import last_place
from ae_runtime.errors import VerificationFailed
from ae_train.model import Model
from ae_train.preprocess import Preprocess
from ae_train.run import Run

Array = NDArray[Any]
TOLERANCE = 1e-5  # of a column's standard deviation over the training rows
BATCHES = (1, 2, 7, 64)
# Float32 has 7 digits: rows with a value further out than this many deviations are held to the
# tolerance times how much further.
FAR = 10.0


@dataclass(frozen=True)
class Agreement:
    """Largest differences between graphs and model on held-out rows, in deviations of a column."""

    encoder: float
    decoder: float


def verify(run: Run, encoder: bytes, decoder: bytes) -> Agreement:
    """How well the graphs agree with the run's model in float64.

    On the run's held-out rows and on edge rows, in batches of 1, 2, 7 and 64. Allowed for each
    value is 1e-5 of its column's deviation plus one unit in the last place of the output; the
    deviation of a latent is the root mean square over latents. Integers must be the model's own,
    rounded. Raises VerificationFailed that names the output, row and error.
    """
    reference = in_float64(run.model)
    encode, decode = open_session(encoder), open_session(decoder)
    worst = {"z": 0.0, "x_hat": 0.0}
    for which, rows in (("held-out", run.probe[0]), ("edge", edge_rows(run))):
        far = _how_far(reference, rows)
        expected_z = _numpy(reference.encode(torch.from_numpy(rows)))
        for batch in BATCHES:
            z = _run(encode, "x", rows, batch)
            x_hat = _run(decode, "z", z, batch)
            unrounded = _numpy(reference.decode_unrounded(torch.from_numpy(z).double()))
            compared = {
                "z": _compare(z, expected_z, latent_deviation(run), far, None),
                "x_hat": _compare(x_hat, unrounded, column_deviation(run), far, reference),
            }
            for output, (largest, error) in compared.items():
                if error is not None:
                    raise VerificationFailed(
                        f"the graph disagrees with the model: output {output}, {which} row "
                        f"{error.row}, column {error.column}, batch {batch}: {error.found:.9g} "
                        f"instead of {error.expected:.9g}; nothing was written"
                    )
                if which == "held-out":
                    worst[output] = max(worst[output], largest)
    return Agreement(worst["z"], worst["x_hat"])


def in_float64(model: Model) -> Model:
    """A copy of the model that computes in float64 throughout."""
    return copy.deepcopy(model).double().eval().requires_grad_(False)


def latent_deviation(run: Run) -> Array:
    """The deviation that errors of latents are measured in, (K,): their root mean square."""
    deviation = np.array(run.schema.z_deviation)
    return np.full_like(deviation, np.sqrt(np.mean(deviation**2)))


def column_deviation(run: Run) -> Array:
    """Deviations that broadcast against rows: (D,) for tables, (C,) or (1,) for all others."""
    return np.array(run.schema.x_deviation)


def edge_rows(run: Run) -> Array:
    """Rows at the ends of what may come: least and greatest values, zeros, far out, missing."""
    schema = run.schema
    shape = schema.row_shape
    if schema.dtype == "uint8":
        rows = [
            np.zeros(shape),
            np.full(shape, 255),
            np.arange(np.prod(shape)).reshape(shape) % 256,
        ]
        return np.stack(rows).astype(np.uint8)
    least, most = _range(run)
    far = np.nan_to_num(most) + 1e8 * column_deviation(run)
    nothing = np.full(shape, np.nan)
    limit = np.finfo(schema.dtype).max / 4
    rows = [
        least,
        most,
        np.zeros(shape),
        far,
        -far,
        nothing,
        np.where(np.arange(least.size).reshape(shape) % 2, least, nothing),
    ]
    return np.clip(np.stack(rows), -limit, limit).astype(schema.dtype)


def _range(run: Run) -> tuple[Array, Array]:
    """Least and greatest value of each number of a row, NaN where there is none."""
    columns = run.schema.columns
    if columns is not None:
        ends = [[np.nan if end is None else end for end in (c.min, c.max)] for c in columns]
        table = np.array(ends, np.float64)
        return table[:, 0], table[:, 1]
    probe = run.probe[0].reshape(-1, run.probe[0].shape[-1])  # time steps x channels
    shape = run.schema.row_shape
    least, most = np.fmin.reduce(probe, axis=0), np.fmax.reduce(probe, axis=0)
    return (
        np.broadcast_to(least, shape).astype(np.float64),
        np.broadcast_to(most, shape).astype(np.float64),
    )


@dataclass(frozen=True)
class _Error:
    """The first value of an output that is too far from what it must be, and what it must be."""

    row: int
    column: int
    found: float
    expected: float


def _compare(
    found: Array, expected: Array, deviation: Array, far: Array, rounding: Model | None
) -> tuple[float, _Error | None]:
    """Largest difference in deviations, and the first value past what is allowed.

    found: what the graph gave. expected: float64; before rounding, if `rounding` is a model.
    """
    rows = (len(found),) + (1,) * (found.ndim - 1)
    tolerance = TOLERANCE * deviation * far.reshape(rows)
    low, high = expected - tolerance, expected + tolerance
    unit = last_place(found)
    value = found.astype(np.float64)
    rounded = np.zeros(found.shape, bool)
    if rounding is not None:
        # A value that may lie on either side of a half may be rounded to either side, no further.
        rounded = np.broadcast_to(rounding.preprocess.integer.numpy(), found.shape)
        low, high = _round(rounding, low), _round(rounding, high)
        unit = np.where(rounded, 0, unit)
    missing = np.isnan(expected)
    inside = np.where(missing, np.isnan(value), (value >= low - unit) & (value <= high + unit))
    difference = np.abs(value - expected)
    difference = np.where(missing | (rounded & inside), 0, difference)
    scale = np.where(deviation > 0, deviation, 1)
    largest = float((difference / scale).max(initial=0))
    if inside.all():
        return largest, None
    at = tuple(int(i) for i in np.argwhere(~inside)[0])
    column = int(np.ravel_multi_index(at[1:], found.shape[1:]))
    return largest, _Error(at[0], column, float(value[at]), float(expected[at]))


def _round(model: Model, x: Array) -> Array:
    """Round integer columns and clip as the model does, staying in float64."""
    rounded = np.where(model.preprocess.integer.numpy(), np.rint(x), x)
    return np.clip(rounded, 0, 255) if model.preprocess.dtype == "uint8" else rounded


def _how_far(reference: Model, rows: Array) -> Array:
    """For each row, by how much its furthest scaled value is past FAR; at least 1."""
    assert isinstance(reference.preprocess, Preprocess)  # mixed tables are refused before
    s = _numpy(reference.preprocess.scale_rows(torch.from_numpy(rows)))
    return np.maximum(1.0, np.abs(s.reshape(len(rows), -1)).max(axis=1) / FAR)


def _run(session: Any, feed: str, rows: Array, batch: int) -> Array:
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return np.concatenate([session.run(None, {feed: part})[0] for part in parts])


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)
