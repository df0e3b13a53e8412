"""Names, shapes and statistics of weights, as the article's reader wants to see them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ae_runtime.bundle.opening import open_bundle
from ae_runtime.bundle.weights import Weight, list_weights


def test_every_weight_of_both_graphs(digits_bundle: Path) -> None:
    weights = list_weights(open_bundle(digits_bundle))
    shapes = {(w.graph, w.name): w.shape for w in weights}
    assert len(shapes) == len(weights)
    assert list(dict.fromkeys(w.graph for w in weights)) == ["encoder", "decoder"]
    assert shapes["encoder", "path.encode_axes.weight"] == (8, 64)
    assert shapes["decoder", "path.decode_axes.weight"] == (64, 8)
    assert shapes["decoder", "arch.decode_net.0.bias"] == (256,)
    # Rows of the PCA path have length 1, so the mean square of a weight is 1 / 64.
    axes = next(w for w in weights if w.name == "path.encode_axes.weight")
    assert axes.dtype == "float32"
    assert 0.5 < (axes.mean**2 + axes.std**2) * 64 < 2  # training moves them a little


def test_statistics_are_those_of_the_finite_elements(
    table_bundle: Path, rewrite: Callable[..., Path], onnx_writer: SimpleNamespace
) -> None:
    w = onnx_writer
    tensors = {
        "float32": np.array([[1, 2], [3, np.nan]], np.float32),
        "float64": np.array([1e6, np.inf, 1e6 + 1]),
        "int64": np.array([-4, 4]),
        "uint8": np.array(255, np.uint8),
        "empty": np.empty((0, 3), np.float32),
    }
    encoder = w.model(tensors=tuple(w.tensor(name, values) for name, values in tensors.items()))
    weights = list_weights(open_bundle(rewrite(table_bundle, {"encoder.onnx": encoder})))
    found = [weight for weight in weights if weight.graph == "encoder"]
    assert found[:5] == [
        Weight("encoder", "w", "float32", (6, 2), 5.5, pytest.approx(np.arange(12).std()), 0, 11),
        Weight("encoder", "float32", "float32", (2, 2), 2, pytest.approx((2 / 3) ** 0.5), 1, 3),
        Weight("encoder", "float64", "float64", (3,), 1e6 + 0.5, 0.5, 1e6, 1e6 + 1),
        Weight("encoder", "int64", "int64", (2,), 0, 4, -4, 4),
        Weight("encoder", "uint8", "uint8", (), 255, 0, 255, 255),
    ]
    empty = found[5]
    assert (empty.name, empty.shape) == ("empty", (0, 3))
    assert all(math.isnan(v) for v in (empty.mean, empty.std, empty.min, empty.max))
