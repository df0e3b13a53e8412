"""A model in float64 that graphs are verified against, with error bounds for each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_runtime.machine.golden import last_place
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.model import in_float64
from ae_train.run.folder import Run

Array = NDArray[Any]
Parts = tuple[Array, ...]
TOLERANCE = 1e-5  # share of a column's standard deviation over the training rows
# Std; float32 has 7 digits, so rows with a value beyond FAR, or with a root mean square beyond
# LONG, are held to the tolerance times their distance factor, which says how far beyond.
FAR, LONG = 10.0, 2.0
# Multiples: of the model's own float32 error in a row, which a graph may reach where sums are less
# exact (large weights, as of whitened latents of little variance; columns that hardly vary), up to
# one of the tolerance plus one of the unit in the last place.
_ERRS, _MOST, _PLACES = 4.0, 10.0, 8.0


@dataclass(frozen=True)
class Bounds:
    """Bounds of one output, value by value.

    expected: (B, ...) float64, what the model gives. low, high: what is right at least and at
    most, but for one unit in the last place of a float. std: broadcasts against rows; errors
    are measured in it. jumps: where the output is rounded or chosen, so that low to high says
    nothing of how exact it is.
    """

    expected: Array
    low: Array
    high: Array
    std: Array
    jumps: Array

    @property
    def rounded(self) -> Array:
        """The expected output of a decoder, rounded and clipped where the output is."""
        return np.where(
            self.jumps, np.clip(np.rint(self.expected), self.low, self.high), self.expected
        )

    @property
    def open(self) -> Array:
        """Rows in which a rounding error can make a value jump, (B,) bool."""
        either: Array = self.jumps & (self.high > self.low)
        return np.asarray(either.any(axis=tuple(range(1, either.ndim))))


class Reference(Protocol):
    """A model in float64, as verification and golden vectors need it."""

    # Units of errors, which may be TOLERANCE of one: std of latents (K,) and of each output, or
    # more where sums in float32 are less exact; NaN for categories. Reports are in those of Bounds.
    z_std: Array
    x_hat_stds: tuple[Array, ...]
    integer: Array  # bool by column of the first output: floats rounded to integers

    def encode(self, parts: Parts) -> Bounds:
        """Bounds of z, for rows in data units."""

    def decode(self, z: Array, far: Array) -> list[Bounds]:
        """Bounds of each output. far: (B,) distance factors of the rows encoded to z."""

    def distance_factor(self, parts: Parts) -> Array:
        """Distance factors (B,): how far a row's scaled values are past FAR or LONG; at least 1.

        Both as they are, and in std from their means.
        """

    def error(self, parts: Parts, x_hat: Sequence[Array]) -> float:
        """Mean squared error of rows and their reconstructions, in std of the columns."""

    def draw(self, random: np.random.Generator, rows: int) -> Parts:
        """Rows decoded from latents of a normal distribution like the training rows' latents."""


class RunReference:
    """The model of a run."""

    def __init__(self, run: Run) -> None:
        schema, model = run.schema, in_float64(run.model)
        self.model, self.form = model, schema.form
        self._scaling = model.preprocess.numbers
        self._z_mean, self._z_spread = np.array(schema.z_mean), np.array(schema.z_std)
        self._single = run.model
        self._z_unit = self.z_std = units_of(self._z_spread)
        self._x_unit = self._x_std = np.array(schema.x_std)
        self.integer = self._scaling.integer.numpy() & (schema.dtype != "uint8")
        # Means of the scaled values, and the largest std of a column, from which most of the std of
        # latents comes; 0 and 1 with standard scaling only.
        self._middle = self._scaled(run.probe).mean(axis=0)
        scaled = self._x_std * _numpy(self._scaling.gain)
        self._std = float(scaled.max(initial=0)) or 1.0
        # The largest error of one row is allowed in all: other machines add in other orders. Units
        # are std until these errors are known.
        far = self.distance_factor(run.probe)
        z = self.encode(run.probe)
        self.z_std = _unit(z, far)
        self._x_unit = _unit(self.decode(z.expected, far)[0], far)
        self.x_hat_stds: tuple[Array, ...] = (self._x_unit,)
        if schema.form.is_mixed:
            self.x_hat_stds = (self._x_unit, np.array([np.nan]), np.ones(1))

    def distance_factor(self, parts: Parts) -> Array:
        s = self._scaled(parts)
        return np.maximum(distance_factor(s), distance_factor((s - self._middle) / self._std))

    def _scaled(self, parts: Parts) -> Array:
        return _numpy(self.model.preprocess.scale_rows(*_tensors(parts)))

    def encode(self, parts: Parts) -> Bounds:
        model, far = self.model, torch.from_numpy(self.distance_factor(parts))
        h = model.code(model.preprocess.scale_rows(*_tensors(parts)))
        # A code may have more or fewer numbers than z has latents: all get the smallest tolerance.
        tolerance = TOLERANCE * float(self._z_unit.min()) * far[:, None]
        low, high = (_numpy(bound) for bound in model.bottleneck.bounds(h, tolerance))
        z = _numpy(model.bottleneck.encode(h))
        jumps = high - low > 2.5 * _numpy(tolerance)
        with torch.no_grad():
            single = _numpy(self._single.encode(*_tensors(parts)))
        off = np.where(jumps, 0, single - z)
        allowed = _allowed(off, z, self._z_unit, self.z_std, _numpy(far), np.ones(1))
        # Latents without slack, which are chosen or rounded, get none here either.
        more = np.where(high > low, allowed - _numpy(tolerance), 0)
        return Bounds(z, low - more, high + more, self._z_unit, jumps)

    def decode(self, z: Array, far: Array) -> list[Bounds]:
        numbers, *chances = map(_numpy, self.model.decode_unrounded(torch.from_numpy(z).double()))
        with torch.no_grad():
            single, *_ = map(_numpy, self._single.decode_unrounded(torch.from_numpy(z).float()))
        scale, std = _numpy(self._scaling.scale), self._x_std
        slack = _allowed(single - numbers, numbers, std, self._x_unit, far, scale)
        integer = np.broadcast_to(self._scaling.integer.numpy(), numbers.shape)
        ends = self._round(numbers - slack, integer), self._round(numbers + slack, integer)
        bounds = [Bounds(numbers, *ends, std, integer)]
        return bounds + self._categories(chances[0], far) if chances else bounds

    def _round(self, x: Array, integer: Array) -> Array:
        x = np.where(integer, np.rint(x), x)
        return np.clip(x, 0, 255) if self._scaling.dtype == "uint8" else x

    def _categories(self, chance: Array, far: Array) -> list[Bounds]:
        """Bounds of codes and of probabilities, in units of their own. chance: (B, levels)."""
        slack = np.minimum(TOLERANCE * far, 1.0)[:, None]
        low, high, expected = [], [], []
        assert isinstance(self.model.preprocess, MixedPreprocess)
        ends = np.cumsum(self.model.preprocess.levels)[:-1]
        for part in np.split(chance, ends, axis=1):
            likely = part >= part.max(1, keepdims=True) - 2 * slack
            low.append(likely.argmax(1))
            high.append(part.shape[1] - 1 - likely[:, ::-1].argmax(1))
            expected.append(part.argmax(1))
        codes = [np.stack(each, 1).astype(np.float64) for each in (expected, low, high)]
        everywhere = np.ones(codes[0].shape, bool)
        return [
            Bounds(codes[0], codes[1], codes[2], np.ones(1), everywhere),
            Bounds(
                chance, chance - slack, chance + slack, np.ones(1), np.zeros(chance.shape, bool)
            ),
        ]

    def error(self, parts: Parts, x_hat: Sequence[Array]) -> float:
        """Mean squared error of numbers, and of each category's probability against 0 or 1."""
        std = self._x_std
        unit = np.where(std > 0, std, np.inf)
        errors = [((x_hat[0].astype(np.float64) - parts[0]) / unit).ravel()]
        if isinstance(self.model.preprocess, MixedPreprocess):
            known, code = parts[1][:, self.model.preprocess.column], self.model.preprocess.code
            truth = np.where(known < 0, np.nan, known == code.numpy())
            errors.append((x_hat[2] - truth).ravel())
        return mean_square(np.concatenate(errors))

    def draw(self, random: np.random.Generator, rows: int) -> Parts:
        z = self._z_mean + self._z_spread * random.standard_normal((rows, len(self._z_mean)))
        latents = torch.from_numpy(z.astype(np.float32)).double()
        numbers, *codes = self.model.decode_parts(latents)
        return (numbers.numpy().astype(self.form.dtype), *(code.numpy() for code in codes[:1]))


def _allowed(
    off: Array, expected: Array, std: Array, unit: Array, far: Array, scale: Array
) -> Array:
    """Largest errors allowed of a graph, (B, ...): TOLERANCE of a unit, times far (B,).

    More where the float32 model errs more: _ERRS times its largest error in that row over the
    scale. expected, off: (B, ...) float64 values, and the float32 model's errors.
    """
    rows = far.reshape(-1, *[1] * (off.ndim - 1))
    within = np.divide(np.abs(off), scale, out=np.zeros(off.shape), where=scale > 0)
    errs = scale * within.max(axis=tuple(range(1, off.ndim)), keepdims=True, initial=0)
    least = TOLERANCE * unit * rows
    with np.errstate(over="ignore"):
        places = _PLACES * last_place(expected.astype(np.float32))
    most = np.maximum(least, _MOST * TOLERANCE * std * rows + places)
    return np.clip(_ERRS * np.nan_to_num(errs), least, most)


def _unit(bounds: Bounds, far: Array) -> Array:
    """Units in which the bounds are at most TOLERANCE, like std. far: (B,) distance factors."""
    sure = np.where(bounds.jumps, 0, bounds.high - bounds.expected)
    units = np.nan_to_num(sure) / (TOLERANCE * far.reshape(-1, *[1] * (sure.ndim - 1)))
    largest = units.max(axis=tuple(range(units.ndim - bounds.std.ndim)), initial=0)
    # Larger than std where values are large: float32 gives their differences no more exactly.
    return np.where(largest > 1.01 * bounds.std, largest, bounds.std)


def units_of(spread: Array) -> Array:
    """Units of the errors of latents, (K,), from their std (K,).

    At least that of all together: a latent that is nearly dead has no useful unit of its own.
    """
    return np.maximum(spread, np.sqrt(np.mean(np.square(spread))))


def distance_factor(s: Array) -> Array:
    """Distance factors (B,): how far rows of scaled values are past FAR or LONG; at least 1."""
    flat = s.reshape(len(s), -1)
    rms = np.sqrt(np.mean(flat**2, axis=1)) if flat.shape[1] else np.zeros(len(s))
    return np.maximum.reduce(
        [np.ones(len(s)), np.abs(flat).max(axis=1, initial=0) / FAR, rms / LONG]
    )


def mean_square(errors: Array) -> float:
    """Mean square of the values that are not NaN; 0 without any."""
    present = errors[~np.isnan(errors)]
    return float(np.mean(present**2)) if len(present) else 0.0


def _tensors(parts: Parts) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in parts)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)
