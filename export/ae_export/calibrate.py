"""The ranges of a graph's tensors over rows, for static quantization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime import extras
from ae_runtime.errors import DataError, VerificationFailed
from ae_runtime.model.devices import open_session

BATCH = 256
# Multiple, and share of rows: a range ends at the extremes, as clipping closer measures no better,
# but at most at FAR times what COMMON of the rows keep to, since one row in 1,000 that lies 300 std
# out would take all resolution from the others.
FAR, COMMON = 2.0, 0.99
LEAST_SCALE = 1e-18  # the product of two is a normal float32


@dataclass(frozen=True)
class TensorRange:
    """The range of a tensor over all rows.

    low, high: the range to represent; 0 lies in it, so that zeros, of padding and of Relu, stay
    exact. row_shape: the shape without its batch axis.
    """

    low: float
    high: float
    row_shape: tuple[int, ...]

    def scale(self, steps: int) -> np.float32:
        """The scale of integers, `steps` of which reach from low to high.

        Rounded up to 8 binary digits: the last digit of a range, which differs from processor to
        processor, would else change the bytes of a graph.
        """
        digits, exponent = np.frexp(max((self.high - self.low) / steps, LEAST_SCALE))
        return np.float32(np.ldexp(np.ceil(digits * 256) / 256, exponent))


def observe(
    graph: bytes, names: Iterable[str], rows: Mapping[str, NDArray[Any]]
) -> dict[str, TensorRange]:
    """The ranges of the float32 tensors `names` inside the graph over the rows.

    rows: input name -> (B, ...), all with the same B. Raises DataError without rows, and
    VerificationFailed if a tensor holds infinities or NaN.
    """
    names = sorted(set(names))
    count = min(len(x) for x in rows.values())
    if count == 0:
        raise DataError("ranges cannot be found without rows, found 0; pass some training rows")
    session = open_session(_with_outputs(graph, names))
    lows: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    highs: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    shapes: dict[str, tuple[int, ...]] = {}
    for start in range(0, count, BATCH):
        feed = {name: x[start : start + BATCH] for name, x in rows.items()}
        for name, value in zip(names, session.run(names, feed), strict=True):
            flat = value.reshape(len(value), -1)
            lows[name].append(flat.min(axis=1))
            highs[name].append(flat.max(axis=1))
            shapes[name] = value.shape[1:]
    return {name: _range(name, lows[name], highs[name], shapes[name]) for name in names}


def _with_outputs(graph: bytes, names: Sequence[str]) -> bytes:
    onnx = extras.need("onnx", "export")
    model = onnx.load_from_string(graph)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    return bytes(model.SerializeToString())


def _range(
    name: str, lows: list[NDArray[Any]], highs: list[NDArray[Any]], row_shape: tuple[int, ...]
) -> TensorRange:
    """The range of a tensor, from the least and greatest value of each row, in batches."""
    low, high = np.concatenate(lows), np.concatenate(highs)
    largest = np.maximum(np.abs(low), np.abs(high))
    if not np.isfinite(largest).all():
        raise VerificationFailed(
            f"the graph cannot be quantized: {name} is no finite number in row "
            f"{int(np.argmin(np.isfinite(largest)))} of the calibration rows; export as fp32"
        )
    limit = FAR * float(np.quantile(largest, COMMON))
    return TensorRange(
        low=max(-limit, min(0.0, float(low.min()))),
        high=min(limit, max(0.0, float(high.max()))),
        row_shape=row_shape,
    )
