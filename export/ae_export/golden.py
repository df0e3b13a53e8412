"""Golden vectors: rows and the right answers for them, to check a machine with."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ae_export.export_source import ExportSource, Graphs
from ae_export.reference import TOLERANCE, Bounds, Parts
from ae_export.verify import Pair
from ae_runtime.errors import VerificationFailed
from ae_runtime.machine.golden import last_place

Array = NDArray[Any]
ROWS = 32
MISSING_ROWS = 2  # rows, the first of the synthetic ones, with missing values
_SPARE = 4  # multiple of the rows needed that is drawn, since some may be of no use
# Share of a std, for int8: another processor may round a number the other way, which moves what is
# computed from it by a step of its scale.
INT8_TOLERANCE = 0.01
GoldenRows = Literal["synthetic", "real"]
Golden = tuple[dict[str, Array], float]  # arrays of golden.npz, and the tolerance for them


def golden(source: ExportSource, which: GoldenRows) -> Golden:
    """Golden vectors: rows, z and outputs by name, the std of the last two, and the tolerance.

    The answers are the float64 model's. synthetic: rows decoded from latents drawn from a normal
    distribution with the training latents' mean and std, so that a bundle carries no
    patients or customers. real: the first held-out rows. At most ROWS; rows are left out in which
    a rounding error can make a latent or a category jump, for they would prove nothing.
    """
    parts = _rows(source, which, ROWS)
    z = _z(source.reference.encode(parts))
    expected = source.reference.decode(z, np.ones(len(z)))
    x_hat = [
        bounds.rounded.astype(port.dtype)
        for port, bounds in zip(source.outputs, expected, strict=True)
    ]
    return _arrays(source, parts, z, x_hat, TOLERANCE), TOLERANCE


def golden_of_int8(source: ExportSource, graphs: Graphs, which: GoldenRows) -> Golden:
    """Golden vectors of graphs in int8, whose answers are their own.

    They are what the graphs' operators give as they stand, without onnxruntime's optimisations:
    integer kernels must give the same but for roundings. Only rows are kept in which they do
    here. Raises VerificationFailed if there is none.
    """
    parts = _rows(source, which, _SPARE * ROWS)
    z, x_hat = _answers(Pair(source, graphs, optimised=False), parts)
    z_here, x_hat_here = _answers(Pair(source, graphs), parts)
    pairs = [(z_here, z, source.reference.z_std)]
    pairs += zip(x_hat_here, x_hat, _stds(source, INT8_TOLERANCE / 2), strict=True)
    same = np.ones(len(z), bool)
    for here, expected, std in pairs:
        allowed = np.nan_to_num(INT8_TOLERANCE / 2 * std + last_place(expected))
        far = np.abs(here.astype(np.float64) - expected.astype(np.float64)) > allowed
        same &= ~far.reshape(len(far), -1).any(axis=1)
    rows = np.flatnonzero(same)[:ROWS]
    if not len(rows):
        raise VerificationFailed(
            "the int8 graphs give other numbers with optimisations than without, in every golden "
            "row; export as fp32; nothing was written"
        )
    parts, x_hat = tuple(part[rows] for part in parts), [values[rows] for values in x_hat]
    return _arrays(source, parts, z[rows], x_hat, INT8_TOLERANCE), INT8_TOLERANCE


def _arrays(
    source: ExportSource, parts: Parts, z: Array, x_hat: list[Array], tolerance: float
) -> dict[str, Array]:
    arrays = dict(zip([port.name for port in source.inputs], parts, strict=True))
    arrays |= {"z": z, "z_deviation": source.reference.z_std}
    stds = _stds(source, tolerance)
    for port, values, std in zip(source.outputs, x_hat, stds, strict=True):
        arrays |= {port.name: values, f"{port.name}_deviation": std}
    return arrays


def _stds(source: ExportSource, tolerance: float) -> list[Array]:
    """The units that differences of each output are measured in.

    A column of integers gets one so large that a machine may be one off, as it may in uint8.
    """
    first, *rest = source.reference.x_hat_stds
    return [first + source.reference.integer / tolerance, *rest]


def _answers(pair: Pair, parts: Parts) -> tuple[Array, list[Array]]:
    z = pair.encode(parts, 1)
    return z, pair.decode(z, 1)


def _rows(source: ExportSource, which: GoldenRows, most: int) -> Parts:
    """At most so many rows in which no rounding error can make something jump."""
    if which == "real":
        return _useful(source, source.held_out, most)
    random = np.random.default_rng(source.seed)
    with_missing = source.reference.draw(random, _SPARE * MISSING_ROWS)
    complete = source.reference.draw(random, _SPARE * most)
    if not source.takes_missing:
        return _useful(source, complete, most)
    for values in with_missing:  # so that filling them is checked, too
        # Every second value, the others in the next row: each is missing once and present once.
        places = np.add.outer(np.arange(len(values)), np.arange(values[0].size))
        missing = (places % 2 == 0).reshape(values.shape)
        values[missing] = -1 if values.dtype == np.int32 else np.nan
    with_missing = _useful(source, with_missing, MISSING_ROWS)
    complete = _useful(source, complete, most - MISSING_ROWS)
    return tuple(np.concatenate(pair) for pair in zip(with_missing, complete, strict=True))


def _useful(source: ExportSource, parts: Parts, most: int) -> Parts:
    codes = source.reference.encode(parts)
    decoded = source.reference.decode(_z(codes), np.ones(len(codes.expected)))
    useful = ~codes.open
    for port, bounds in zip(source.outputs, decoded, strict=True):
        if port.dtype == "int32":  # categories; a machine may be one off in integers
            useful &= ~bounds.open
    rows = np.flatnonzero(useful)[:most]
    return tuple(part[rows] for part in parts)


def _z(bounds: Bounds) -> Array:
    return bounds.expected.astype(np.float32)
