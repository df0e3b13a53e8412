"""Scaling that travels inside the model: data units to scaled space, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_train.data.dataset import Dataset
from ae_train.data.form import Form

Array = NDArray[Any]
LIMIT = 1e6  # scaled input is clipped to +-LIMIT, so that finite rows give finite latents
_TO_SIGMA = 1.349  # interquartile range of a normal distribution, in standard deviations
# Ratio of mean to std above which rounding the mean to float32 would show: there the part that is
# rounded off is subtracted, too.
_FAR = 8.0
_COUNTED = 1 << 20  # bytes counted at once: bincount makes 8 of each


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training rows, one number per table column or image channel.

    All float64. std: standard deviation, 0 for a constant column, NaN for one without any
    value. missing: share of NaN.
    """

    mean: Array
    std: Array
    median: Array
    quartiles: Array  # (2, D): 25 % and 75 %
    min: Array
    max: Array
    missing: Array


def measure(data: Dataset, rows: NDArray[np.int64]) -> Statistics:
    """Statistics of the given rows, one per column of a table, one per channel of all else."""
    x = data.take(rows)[0]
    columns = x if data.form.kind == "table" else _by_channel(x, data.form)
    parts = [_measure_column(columns[:, d]) for d in range(columns.shape[1])]
    table = np.array(parts, np.float64).reshape(-1, 8).T
    mean, std, median, low, high, least, most, missing = table
    return Statistics(mean, std, median, np.stack([low, high]), least, most, missing)


def _by_channel(x: Array, form: Form) -> Array:
    """Reshape images or windows to (numbers of each channel, C)."""
    return x.reshape(-1, _channels(form))


def _channels(form: Form) -> int:
    """Channels of an image or series: the last axis, or one where an image has none."""
    return form.row_shape[-1] if len(form.row_shape) == 3 or form.kind == "series" else 1


def _measure_column(column: Array) -> tuple[float, ...]:
    if column.dtype == np.uint8:
        return _measure_bytes(column)
    values = np.asarray(column, np.float64)
    present = values[~np.isnan(values)]
    missing = 1 - len(present) / len(values)
    if not len(present):
        return (np.nan,) * 7 + (missing,)
    low, median, high = np.quantile(present, [0.25, 0.5, 0.75])
    least, most = present.min(), present.max()
    if least == most:  # exactly: a mean of equal numbers would leave a spread of rounding errors
        return (least, 0.0, least, least, least, least, most, missing)
    # In units of the half range, so that neither 1e-200 nor 1e200 under- or overflows squared.
    unit = most / 2 - least / 2
    scaled = (present - least) / unit
    mean = least + scaled.mean() * unit
    return mean, scaled.std() * unit, median, low, high, least, most, missing


def _measure_bytes(column: Array) -> tuple[float, ...]:
    """Statistics of bytes, from counts of the 256 values, without a float64 of every pixel."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(column), _COUNTED):
        counts += np.bincount(column[start : start + _COUNTED], minlength=256)
    values, total = np.arange(256.0), int(counts.sum())
    seen = np.flatnonzero(counts)
    mean = float(counts @ values) / total
    std = (float(counts @ (values - mean) ** 2) / total) ** 0.5
    places = np.array([0.25, 0.5, 0.75]) * (total - 1)  # between two sorted values
    sums = counts.cumsum()
    below = np.searchsorted(sums, np.floor(places), "right")
    above = np.searchsorted(sums, np.ceil(places), "right")
    low, median, high = below + (above - below) * (places % 1)
    if len(seen) == 1:  # exactly, as for other numbers
        mean, std = values[seen[0]], 0.0
    return (mean, std, median, low, high, float(seen[0]), float(seen[-1]), 0.0)


def _offset_and_scale(
    statistics: Statistics, scaling: str, edge: np.dtype[Any]
) -> tuple[Array, Array]:
    """(offset, scale): what is subtracted, then divided by; scale is 0 where nothing varies.

    edge: dtype of the arithmetic. What varies by less than it can divide by counts as constant.
    """
    varies = statistics.std > 0
    if scaling == "standard":
        offset, scale = statistics.mean, statistics.std
    elif scaling == "robust":
        spread = (statistics.quartiles[1] - statistics.quartiles[0]) / _TO_SIGMA
        # More than half of the values are equal: the quartiles say nothing of the rest.
        offset = statistics.median
        scale = np.where(spread > 0, spread, statistics.std)
    elif scaling == "range":
        offset, scale = statistics.min, statistics.max - statistics.min
    else:
        offset, scale = np.zeros_like(statistics.mean), np.ones_like(statistics.mean)
        # Constant columns come back as they were, without the network having to learn a number.
        offset = np.where(varies, offset, statistics.mean)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        usable = varies & np.isfinite((1 / scale).astype(edge))
    return offset, np.where(usable, scale, 0.0)


def _settle(module: Preprocess, _: object) -> None:  # a function, so that models pickle
    module.settle()


class Preprocess(nn.Module):
    """Scale what goes in, fill what is missing, and undo both for what comes out.

    levels: (), since only MixedPreprocess has categories. Computes in double for float64 rows, so
    that a column whose mean is 1e6 std stays exact, and in single for uint8 and float32. Its
    buffers are saved with the model.
    """

    levels: tuple[int, ...] = ()

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.dtype = dtype = form.dtype
        size = form.row_shape if form.kind == "table" else (_channels(form),)
        edge = torch.float64 if dtype == "float64" else torch.float32
        for name in ("offset", "offset_rest", "gain", "scale"):
            self.register_buffer(name, torch.zeros(size, dtype=edge))
        self.register_buffer("fill", torch.zeros(size, dtype=torch.float32))
        self.register_buffer("integer", torch.zeros(size, dtype=torch.bool))
        self.register_load_state_dict_post_hook(_settle)
        self.settle()

    offset: Tensor
    offset_rest: Tensor
    gain: Tensor
    scale: Tensor
    fill: Tensor
    integer: Tensor

    @property
    def numbers(self) -> Preprocess:
        """The module that scales a row's numbers: this one. MixedPreprocess has it as a part."""
        return self

    def fit(self, statistics: Statistics, scaling: str, integer: NDArray[np.bool_]) -> Preprocess:
        """Set the buffers from statistics of the training rows; returns itself."""
        edge = self.offset.numpy().dtype
        offset, scale = _offset_and_scale(statistics, scaling, edge)
        gain = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        rest = np.where(np.abs(offset) * gain > _FAR, offset - offset.astype(edge), 0.0)
        fill = np.nan_to_num((statistics.median - offset) * gain)
        for name, value in (
            ("offset", offset),
            ("offset_rest", rest),
            ("gain", gain),
            ("scale", scale),
            ("fill", fill),
            ("integer", np.broadcast_to(integer, offset.shape)),
        ):
            buffer = getattr(self, name)
            buffer.copy_(torch.from_numpy(np.array(value)).to(buffer.dtype))
        self.settle()
        return self

    def settle(self) -> None:
        """Decide from the buffers which steps are needed; the traced graph has no others."""
        self._has_rest = bool(self.offset_rest.any())
        self._rounds = "all" if self.integer.all() else "some" if self.integer.any() else "none"

    def present(self, x: Tensor) -> Tensor | None:
        """Mask of the numbers of x that are not missing, in its shape; None for uint8."""
        return None if self.dtype == "uint8" else ~torch.isnan(x)

    def scale_rows(self, x: Tensor) -> Tensor:
        """Scaled rows s, in the dtype of `fill`. x: (B, ...) in data units; NaN is filled."""
        s = x.to(self.offset.dtype) - self.offset
        if self._has_rest:
            s = s - self.offset_rest
        s = (s * self.gain).to(self.fill.dtype)
        if self.dtype == "uint8":
            return s
        s = torch.where(torch.isnan(s), self.fill, s)
        return s.clamp(-LIMIT, LIMIT)

    def unscale_rows(self, y: Tensor) -> Tensor:
        """Rows in data units and the dtype of x, integers rounded. y: (B, ...) scaled."""
        x = self.unrounded(y)
        if self._rounds == "all":
            x = x.round()
        elif self._rounds == "some":
            x = torch.where(self.integer, x.round(), x)
        return x.clamp(0, 255).to(torch.uint8) if self.dtype == "uint8" else x

    def unrounded_parts(self, y: Tensor) -> tuple[Tensor, ...]:
        """The array that `unrounded` gives, in a tuple."""
        return (self.unrounded(y),)

    def unrounded(self, y: Tensor) -> Tensor:
        """Rows in data units before rounding and clipping."""
        return y.to(self.scale.dtype) * self.scale + self.offset
