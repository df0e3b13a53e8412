"""Graphs in int8: what is quantized and how, what stays, and how far results move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ae_export.calibrate import FAR, observe
from ae_export.quantize import MOST_WEIGHT, MOST_X, quantize
from ae_runtime.errors import DataError, VerificationFailed
from ae_runtime.model.devices import import_onnxruntime, open_session

RANDOM = np.random.default_rng(0)
ROWS = {"x": RANDOM.standard_normal((300, 77), np.float32)}

# What onnxruntime makes of a layer on integers.
FUSED = ("QGemm", "QLinearConv", "MatMulIntegerToFloat")


class Net:
    """A graph that grows: each call adds a node, or a layer with random weights."""

    def __init__(self, *row: int) -> None:
        self.random = np.random.default_rng(1)
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.row = row

    def op(self, op: str, *inputs: str, **settings: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"node_{name}", **settings))
        return name

    def layer(self, op: str, x: str, *shape: int, axis: int = 0, **settings: Any) -> str:
        """A layer with a weight of this shape, its outputs on `axis`, and a bias but for MatMul."""
        name = f"net.{len(self.nodes)}"
        fan_in = math.prod(shape) / shape[axis]
        # Outputs of very different sizes: one scale for all would show.
        sizes = np.logspace(-1, 0, shape[axis]).reshape(
            [-1 if i == axis else 1 for i in range(len(shape))]
        )
        weight = self.random.standard_normal(shape) * sizes / fan_in**0.5
        self.weights[f"{name}.weight"] = weight.astype(np.float32)
        if op == "MatMul":
            return self.op(op, x, f"{name}.weight", **settings)
        self.weights[f"{name}.bias"] = (self.random.standard_normal(shape[axis]) / 10).astype(
            np.float32
        )
        return self.op(op, x, f"{name}.weight", f"{name}.bias", **settings)

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def graph(self, y: str, rank: int = 2) -> bytes:
        self.nodes.append(helper.make_node("Identity", [y], ["y"], "node_y"))
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "net",
            [info("x", 1, ["batch", *self.row])],
            [info("y", 1, ["batch", *[None] * (rank - 1)])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        return model.SerializeToString(deterministic=True)


def perceptron(activation: str = "silu", bias: float = 1.0) -> bytes:
    """77 -> 130 -> 101 -> 4 beside a straight layer 77 -> 4, as an encoder with its PCA path."""
    net = Net(77)
    h = "x"
    for inputs, outputs in ((77, 130), (130, 101)):
        h = net.layer("Gemm", h, outputs, inputs, transB=1)
        h = net.silu(h) if activation == "silu" else net.op(activation, h)
    h = net.layer("Gemm", h, 4, 101, transB=1)
    straight = net.layer("Gemm", "x", 77, 4, axis=1)
    net.weights["net.0.bias"] *= np.float32(bias)
    return net.graph(net.op("Add", straight, h))


def convolutions(axes: int) -> bytes:
    net = Net(3, *[9] * axes)
    settings = {"strides": [2] * axes, "pads": [2] * 2 * axes, "kernel_shape": [5] * axes}
    h = net.silu(net.layer("Conv", "x", 30, 3, *[5] * axes, **settings))
    h = net.silu(net.layer("Conv", h, 20, 30, *[5] * axes, **settings))
    return net.graph(net.layer("Gemm", net.op("Flatten", h), 20 * 3**axes, 4, axis=1))


def steps() -> bytes:
    """MatMul and Add on (B, 5, 70), as a layer for each time step is exported."""
    net = Net(5, 70)
    net.weights["shift"] = np.linspace(-0.2, 0.2, 90, dtype=np.float32)
    h = net.op("Tanh", net.op("Add", net.layer("MatMul", "x", 70, 90, axis=1), "shift"))
    return net.graph(net.op("Tanh", net.layer("MatMul", h, 90, 80, axis=1)), rank=3)


def matrices() -> bytes:
    net = Net(77)
    net.weights["shift"] = np.linspace(-0.2, 0.2, 90, dtype=np.float32)
    h = net.op("Erf", net.op("Add", net.layer("MatMul", "x", 77, 90, axis=1), "shift"))
    h = net.op("Relu", net.layer("MatMul", h, 90, 80, axis=1))
    return net.graph(net.layer("Gemm", h, 4, 80, transB=1))


def rows(*shape: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(2).standard_normal((300, *shape), np.float32)}


KINDS = {
    "silu": (perceptron("silu"), ROWS),
    "relu": (perceptron("Relu"), ROWS),
    "erf": (perceptron("Erf"), ROWS),
    "conv2d": (convolutions(2), rows(3, 9, 9)),
    "conv1d": (convolutions(1), rows(3, 9)),
    "steps": (steps(), rows(5, 70)),
    "matrices": (matrices(), ROWS),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[bytes, bytes, np.ndarray]:
    """A float graph, the same in int8, and other rows than those it was calibrated on."""
    graph, calibration = KINDS[request.param]
    x = np.random.default_rng(3).standard_normal((37, *calibration["x"].shape[1:]), np.float32)
    return graph, quantize(graph, calibration), x


def run(graph: bytes, x: np.ndarray, batch: int | None = None) -> np.ndarray:
    session = open_session(graph)
    batch = batch or len(x)
    parts = [x[start : start + batch] for start in range(0, len(x), batch)]
    return np.concatenate([session.run(None, {"x": part})[0] for part in parts])


def tensors(graph: bytes) -> dict[str, np.ndarray]:
    initializers = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in initializers}


def operators(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


def test_a_batch_of_n_is_n_batches_of_1_bit_for_bit(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    _, graph, x = kind
    for batch in (1, 2, 7, 16):
        np.testing.assert_array_equal(run(graph, x, batch), run(graph, x))


def test_an_outlier_does_not_move_the_other_rows(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    _, graph, x = kind
    expected = run(graph, x)
    x = x.copy()
    x[5] = 1e6
    np.testing.assert_array_equal(np.delete(run(graph, x), 5, 0), np.delete(expected, 5, 0))


def test_results_are_close_to_those_in_float(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    graph, quantized, x = kind
    y = run(graph, x)
    error = (run(quantized, x) - y).std() / (y - y.mean(0)).std()
    assert 0 < error < 0.05  # 7 to 8 bits, in up to two layers


def test_weights_are_symmetric_int8_with_a_scale_for_each_output(
    kind: tuple[bytes, bytes, np.ndarray],
) -> None:
    before, after = tensors(kind[0]), tensors(kind[1])
    found = 0
    for node in onnx.load_from_string(kind[1]).graph.node:
        if node.op_type != "DequantizeLinear" or not node.input[0].endswith(".weight_int8"):
            continue
        found += 1
        integers, scales, zeros = (after[name] for name in node.input)
        axis = node.attribute[0].i
        weight = before[node.input[0].removesuffix("_int8")]
        others = tuple(i for i in range(weight.ndim) if i != axis)
        assert (np.abs(integers.astype(int)).max(axis=others) == MOST_WEIGHT).all()
        np.testing.assert_allclose(scales * MOST_WEIGHT, np.abs(weight).max(axis=others), rtol=1e-6)
        assert not zeros.any()
    assert found


def test_two_products_fit_into_16_bits_for_rows_far_out_too(
    kind: tuple[bytes, bytes, np.ndarray],
) -> None:
    assert 2 * MOST_WEIGHT * MOST_X < 1 << 15
    graph = onnx.load_from_string(kind[1])
    makers = {name: node for node in graph.graph.node for name in node.output}
    layers = [node for node in graph.graph.node if ".weight_deq" in " ".join(node.input)]
    # A layer takes what DequantizeLinear makes of what QuantizeLinear and Clip wrote.
    multiplied = sorted({makers[layer.input[0]].input[0] for layer in layers})
    assert multiplied
    graph.graph.output.extend(helper.make_tensor_value_info(n, 2, None) for n in multiplied)
    session = open_session(graph.SerializeToString())
    for far in (1.0, 30.0, 1e6, -1e6):
        for integers in session.run(multiplied, {"x": far * (1 + kind[2])}):
            assert integers.max() <= MOST_X


def test_bias_has_the_scale_of_the_products() -> None:
    found = tensors(quantize(perceptron(), ROWS))
    scale = found["x_scale"] * found["net.0.weight_scale"]
    np.testing.assert_array_equal(found["net.0.bias_scale"], scale)
    bias = tensors(perceptron())["net.0.bias"]
    # half a unit, and the float32 of a bias of millions of units
    np.testing.assert_allclose(found["net.0.bias_int32"] * scale, bias, atol=scale.max(), rtol=1e-6)


def test_a_bias_too_large_for_the_products_does_not_overflow() -> None:
    graph = perceptron(bias=1e12)
    x = ROWS["x"][:20]
    y = run(graph, x)
    # of huge numbers 7 to 8 bits are right, too
    np.testing.assert_allclose(run(quantize(graph, ROWS), x), y, atol=np.ptp(y) * 0.02)


def test_zero_weights_and_constant_inputs_stay_what_they_are() -> None:
    graph = onnx.load_from_string(perceptron())
    for tensor in graph.graph.initializer:
        if tensor.name in ("net.0.weight", "net.0.bias"):
            array = np.zeros(tensor.dims, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    raw = graph.SerializeToString()
    x = np.zeros((5, 77), np.float32)
    y = run(quantize(raw, {"x": x}), x)
    np.testing.assert_allclose(y, run(raw, x), atol=1e-5)


def test_onnxruntime_computes_in_integers(
    kind: tuple[bytes, bytes, np.ndarray], tmp_path: Any
) -> None:
    _, graph, _ = kind
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    optimized = (tmp_path / "optimized.onnx").read_bytes()
    fused = [op for op in operators(optimized) if op in FUSED]
    layers = [name for name in tensors(graph) if name.endswith(".weight_int8")]
    assert len(fused) == len(layers)
    large = [array.dtype for array in tensors(optimized).values() if array.size > 5000]
    assert set(large) <= {np.dtype(np.int8)}  # none was made float again


def test_only_clip_quantize_and_dequantize_are_new(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    graph, quantized, _ = kind
    new = set(operators(quantized)) - set(operators(graph))
    assert new - {"Gemm"} == {"Clip", "QuantizeLinear", "DequantizeLinear"}
    before, after = onnx.load_from_string(graph), onnx.load_from_string(quantized)
    onnx.checker.check_model(after, full_check=True)
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.opset_import == before.opset_import
    assert after.ir_version == 8
    assert {node.domain for node in after.graph.node} == {""}
    names = [node.name for node in after.graph.node]
    assert len(set(names)) == len(names)
    assert not any(m.doc_string or len(m.metadata_props) for m in (after, *after.graph.node))


def test_tensors_are_raw_and_each_is_used(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    graph = onnx.load_from_string(kind[1]).graph
    used = {name for node in graph.node for name in node.input}
    for tensor in graph.initializer:
        assert {field.name for field, _ in tensor.ListFields()} <= {
            *("name", "dims", "data_type", "raw_data")
        }
        assert tensor.name in used


def test_small_and_straight_layers_stay_in_float() -> None:
    found = tensors(quantize(perceptron(), ROWS))
    weights = {name for name in found if ".weight" in name and name.rpartition("_")[2] != "scale"}
    kept = {name for name in weights if name.endswith(".weight")}
    assert kept == {"net.6.weight", "net.7.weight"}  # 101 -> 4, and the straight 77 -> 4


def test_a_wide_straight_layer_stays_in_float() -> None:
    net = Net(77)
    straight = net.layer("Gemm", "x", 200, 77, transB=1)
    h = net.silu(net.layer("Gemm", "x", 100, 77, transB=1))
    h = net.layer("Gemm", h, 200, 100, transB=1)
    found = tensors(quantize(net.graph(net.op("Add", straight, h)), ROWS))
    assert [name for name in found if name.endswith(".weight")] == ["net.0.weight"]


def test_a_product_of_two_activations_is_left_alone() -> None:
    net = Net(77)
    h = net.silu(net.layer("Gemm", "x", 100, 77, transB=1))
    graph = net.graph(net.op("MatMul", h, net.op("Transpose", h)))
    assert operators(quantize(graph, ROWS)).count("QuantizeLinear") == 1


def test_the_file_shrinks() -> None:
    net = Net(77)
    h = net.silu(net.layer("Gemm", "x", 300, 77, transB=1))
    graph = net.graph(net.silu(net.layer("Gemm", h, 200, 300, transB=1)))
    assert len(quantize(graph, ROWS)) < 0.3 * len(graph)


def test_the_same_bytes_twice(kind: tuple[bytes, bytes, np.ndarray]) -> None:
    graph, quantized, _ = kind
    calibration = next(rows for float_graph, rows in KINDS.values() if float_graph == graph)
    assert quantize(graph, calibration) == quantized


def test_a_row_far_out_does_not_take_the_range_from_the_others() -> None:
    x = ROWS["x"].copy()
    x[7] = 300
    seen = observe(perceptron(), ["x"], {"x": x})["x"]
    assert seen.high < 2 * FAR * np.abs(ROWS["x"]).max()
    graph, held_out = perceptron(), ROWS["x"][100:]
    y = run(graph, held_out)
    assert (run(quantize(graph, {"x": x}), held_out) - y).std() < 0.03 * y.std()


def test_ranges_are_the_extremes_of_ordinary_rows() -> None:
    seen = observe(perceptron(), ["x"], ROWS)["x"]
    assert (seen.low, seen.high) == (ROWS["x"].min(), ROWS["x"].max())
    assert seen.row_shape == (77,)
    above = observe(perceptron(), ["x"], {"x": np.abs(ROWS["x"]) + 1})["x"]
    assert above.low == 0  # zero itself is always exact


def test_nothing_to_quantize_is_said() -> None:
    net = Net(77)
    straight = net.graph(net.layer("Gemm", "x", 100, 77, transB=1))
    net = Net(5)
    small = net.graph(net.silu(net.layer("Gemm", "x", 9, 5, transB=1)))
    for graph, x, found in (
        (straight, ROWS, "found 0 beside activations, with sums of at most 0 products"),
        (small, rows(5), "found 1 beside activations, with sums of at most 5 products"),
    ):
        with pytest.raises(VerificationFailed) as error:
            quantize(graph, x)
        message = f"no layer of the graph is large enough for int8: {found}; export as fp32"
        assert str(error.value) == message


def test_rows_without_values_are_said() -> None:
    x = ROWS["x"].copy()
    x[3, 4] = np.nan
    with pytest.raises(VerificationFailed) as error:
        quantize(perceptron(), {"x": x})
    assert str(error.value).startswith("the graph cannot be quantized: ")
    assert str(error.value).endswith(
        "is no finite number in row 3 of the calibration rows; export as fp32"
    )
    with pytest.raises(DataError) as no_rows:
        quantize(perceptron(), {"x": x[:0]})
    assert str(no_rows.value) == (
        "ranges cannot be found without rows, found 0; pass some training rows"
    )
