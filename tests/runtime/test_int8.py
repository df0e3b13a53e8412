"""Layers in int8 are sums of integers, on processors with and without instructions for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ae_runtime.model import devices

# The largest that ae_export writes: two products fit into the 16 bits that x86-64 without VNNI has.
MOST_WEIGHT, MOST_X = 80, 204
ZERO = 100


@pytest.mark.parametrize("rows", [1, 2, 65])
@pytest.mark.parametrize("inputs", [64, 201])
def test_sums_are_exact(w: SimpleNamespace, rows: int, inputs: int) -> None:
    random = np.random.default_rng(0)
    weight = random.integers(-MOST_WEIGHT, MOST_WEIGHT + 1, (48, inputs)).astype(np.int8)
    weight[0], weight[1] = MOST_WEIGHT, -MOST_WEIGHT
    bias = random.integers(-(2**20), 2**20, 48).astype(np.int32)
    x_scale = np.float32(0.03)
    scales = random.uniform(1e-3, 1e-2, 48).astype(np.float32)
    integers = random.integers(0, MOST_X + 1, (rows, inputs))
    integers[0] = MOST_X  # beside weights of one sign: the largest sums
    y_scale = x_scale * scales
    graph = w.model(
        w.node("QuantizeLinear", "x x_scale x_zero", "x_quantized"),
        w.node("DequantizeLinear", "x_quantized x_scale x_zero", "x_dequantized"),
        w.node("DequantizeLinear", "weight scales zeros", "weights", w.attribute("axis", 0)),
        w.node("DequantizeLinear", "bias y_scale zeros_32", "biases", w.attribute("axis", 0)),
        w.node("Gemm", "x_dequantized weights biases", "y", w.attribute("transB", 1)),
        tensors=(
            w.tensor("x_scale", x_scale),
            w.tensor("x_zero", np.uint8(ZERO)),
            w.tensor("weight", weight),
            w.tensor("scales", scales),
            w.tensor("zeros", np.zeros(48, np.int8)),
            w.tensor("bias", bias),
            w.tensor("y_scale", y_scale),
            w.tensor("zeros_32", np.zeros(48, np.int32)),
        ),
        inputs=(w.port("x", 1, ["batch", inputs]),),
        outputs=(w.port("y", 1, ["batch", 48]),),
    )
    x = ((integers - ZERO) * x_scale).astype(np.float32)
    y = devices.compute(devices.open_session(graph), ["y"], {"x": x})[0]
    expected = (integers - ZERO) @ weight.T.astype(int) + bias
    # float32 holds sums below 2^24 whole, and their product with a scale to a quarter of one here.
    assert np.abs(expected).max() < 1 << 22
    np.testing.assert_array_equal(np.rint(y / y_scale.astype(float)), expected)
