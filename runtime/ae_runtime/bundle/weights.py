"""Names, shapes and statistics of the weights in a bundle's graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ae_runtime.bundle.opening import GRAPHS, Bundle
from ae_runtime.graphs.graph import DTYPES, Tensor, read_graph


@dataclass(frozen=True)
class Weight:
    """One weight: where it is, and its statistics over finite elements (NaN if there are none)."""

    graph: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float


def list_weights(bundle: Bundle) -> list[Weight]:
    """The initializers of both graphs, in the order of the files."""
    return [
        _describe(name.removesuffix(".onnx"), tensor)
        for name in GRAPHS
        for tensor in read_graph(bundle.files[name]).initializers
    ]


def _describe(graph: str, tensor: Tensor) -> Weight:
    dtype = DTYPES[tensor.dtype][0]
    values = np.frombuffer(tensor.raw, np.dtype(dtype).newbyteorder("<")).astype(np.float64)
    finite = values[np.isfinite(values)]
    statistics = [
        float(f(finite)) if finite.size else np.nan for f in (np.mean, np.std, np.min, np.max)
    ]
    return Weight(graph, tensor.name, dtype, tuple(tensor.dims), *statistics)
