"""A graph with its large layers in int8, for the integer kernels of onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_export.calibrate import LEAST_SCALE, TensorRange, observe
from ae_runtime import extras
from ae_runtime.errors import VerificationFailed

Array = NDArray[Any]
# Share of multiplications, and products a sum: layers with less stay in float32, because there
# making integers of x takes the time that int8 saves.
LEAST_SHARE = 0.05
LEAST_SUM = {"Gemm": 64, "MatMul": 64, "Conv": 128}
# Steps of the scale: processors without VNNI add two products of a weight and an x in 16 bits, into
# which 2 * 80 * 204 just fits. x is clipped there, since rows far from the training rows would else
# reach 255. Other ways to share these bits, 64 * 255 and 127 * 129, reconstruct rows less well.
MOST_WEIGHT, MOST_X = 80, 204
# Bound of a bias, and of the sum of its products: together they fit into 32 bits.
MOST_SUM = 1 << 29
ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "Erf", "Softmax", "GRU", "LSTM"})


@dataclass(frozen=True)
class _Layer:
    """A node with weights. weight: float32, its outputs on `axis`; bias: (outputs,), 0 for none."""

    node: Any
    weight: Array
    bias: Array
    axis: int

    @property
    def x(self) -> str:
        return str(self.node.input[0])

    @property
    def y(self) -> str:
        return str(self.node.output[0])

    @property
    def sum_length(self) -> int:
        """Products that are summed up for one number of y."""
        return self.weight.size // self.weight.shape[self.axis]


def quantize(graph: bytes, rows: Mapping[str, Array]) -> bytes:
    """The graph with its large Gemm, MatMul and Conv in int8: QuantizeLinear, DequantizeLinear.

    rows: input name -> (B, ...), hundreds of training rows drawn at random; values far outside of
    theirs saturate. Ranges are static, so rows do not influence each other. Weights become int8
    with one scale for each output, what they are multiplied with uint8 with one for each tensor
    (Jacob et al. 2018, arXiv:1712.05877; Nagel et al. 2021, arXiv:2106.08295). In float32 stay
    inputs, outputs and what costs little: scaling, activations, small layers; and the PCA path,
    or any layer with no activation before or after it, which carries most of the signal. The
    same graph and rows give the same bytes. Raises VerificationFailed if no layer is left to
    quantize or a value is not finite, DataError without rows.
    """
    model = extras.need("onnx", "export").load_from_string(graph)
    layers = _layers(model.graph)
    names = [name for layer in layers for name in (layer.x, layer.y)]
    ranges = observe(graph, names, rows) if layers else {}
    chosen = {layer.y: layer for layer in _large(layers, ranges)}
    if not chosen:
        longest = max((layer.sum_length for layer in layers), default=0)
        raise VerificationFailed(
            f"no layer of the graph is large enough for int8: found {len(layers)} beside "
            f"activations, with sums of at most {longest} products; export as fp32"
        )
    rewritten = _Rewritten(ranges, _before_float_relu(model.graph, chosen.values()))
    for node in model.graph.node:
        if node.output[0] in chosen:
            rewritten.add_layer(chosen[node.output[0]])
        else:
            rewritten.nodes.append(node)
    used = {name for node in rewritten.nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(rewritten.nodes)
    model.graph.initializer.extend(constants + rewritten.tensors)
    return bytes(model.SerializeToString(deterministic=True))


def _layers(graph: Any) -> list[_Layer]:
    """The nodes that could be quantized, in order."""
    to_array = extras.need("onnx", "export").numpy_helper.to_array
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    early, followed = _before_activations(graph), _before_another_activation(graph)
    layers = []
    for node in graph.node:
        weights = [constants.get(name) for name in node.input[1:3]]
        if node.op_type not in ("Gemm", "MatMul", "Conv") or None in weights:
            continue
        straight = node.input[0] in early and node.output[0] not in followed
        weight, *bias = map(to_array, weights)
        axis = _output_axis(node, weight)
        if straight or axis is None or uses[node.input[1]] > 1 or weight.dtype != np.float32:
            continue
        outputs = weight.shape[axis]
        if all(b.shape == (outputs,) for b in bias):
            layers.append(_Layer(node, weight, bias[0] if bias else np.zeros(outputs), axis))
    return layers


def _before_activations(graph: Any) -> set[str]:
    """Tensors computed without any activation."""
    tensors = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        if node.op_type not in ACTIVATIONS and all(name in tensors for name in node.input if name):
            tensors.update(node.output)
    return tensors


def _before_another_activation(graph: Any) -> set[str]:
    """Tensors that an activation is computed from."""
    tensors: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in ACTIVATIONS or tensors.intersection(node.output):
            tensors.update(node.input)
    return tensors


def _before_float_relu(graph: Any, chosen: Iterable[_Layer]) -> set[str]:
    """Inputs of each Relu or Clip that no layer on integers follows."""
    integer = {layer.x for layer in chosen}
    return {
        node.input[0]
        for node in graph.node
        if node.op_type in ("Relu", "Clip") and node.output[0] not in integer
    }


def _output_axis(node: Any, weight: Array) -> int | None:
    """The weight's axis of outputs; None for what the integer kernels do not take."""
    value = extras.need("onnx", "export").helper.get_attribute_value
    settings = {attribute.name: value(attribute) for attribute in node.attribute}
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1 if weight.ndim == 2 else None
    if settings.get("transA", 0) or (settings.get("alpha", 1), settings.get("beta", 1)) != (1, 1):
        return None
    return 0 if settings.get("transB", 0) else 1


def _large(layers: list[_Layer], ranges: Mapping[str, TensorRange]) -> list[_Layer]:
    """The layers that do most of the multiplications."""
    costs = [layer.sum_length * prod(ranges[layer.y].row_shape) for layer in layers]
    least = LEAST_SHARE * sum(costs)
    return [
        layer
        for layer, cost in zip(layers, costs, strict=True)
        if cost >= least and layer.sum_length >= LEAST_SUM[layer.node.op_type]
    ]


class _Rewritten:
    """Nodes and initializers of the graph to come.

    onnxruntime turns a Gemm into a QGemm with a float32 result only if its bias is int32 with the
    product of both scales, and if all zero points are written out; a Conv into a QLinearConv only
    if its output is quantized, too. Else it makes the weights float again when it loads them.
    """

    def __init__(self, ranges: Mapping[str, TensorRange], before_relu: set[str]) -> None:
        self.onnx = extras.need("onnx", "export")
        self.ranges, self.before_relu = ranges, before_relu
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.scales: dict[str, np.float32] = {}

    def add_layer(self, layer: _Layer) -> None:
        """The layer on integers, from its float32 x to its float32 y."""
        scale = self._in_uint8(
            layer.x, self.ranges[layer.x], f"{layer.x}_dequantized", clipped=True
        )
        integers, scales, bias = _in_integers(layer, scale)
        name = str(layer.node.input[1]).removesuffix(".weight")
        weight = self._dequantized(f"{name}.weight", integers, scales, layer.axis)
        inputs, op = [f"{layer.x}_dequantized", weight], layer.node.op_type
        if op == "MatMul" and len(self.ranges[layer.x].row_shape) == 1:
            # onnxruntime would fuse a MatMul of matrices and the Add after it into a float Gemm.
            op = "Gemm"
        # onnxruntime would fuse Gemm, bias and Relu without QuantizeLinear into a float FusedGemm.
        split = op == "Gemm" and layer.y in self.before_relu
        if op != "MatMul" and not split:
            inputs.append(self._dequantized(f"{name}.bias", bias, scale * scales, 0))
        output = layer.y + ("_products" if split else "_exact" if op == "Conv" else "")
        node = {"op_type": op, "name": layer.node.name, "attribute": layer.node.attribute}
        self.nodes.append(self.onnx.NodeProto(input=inputs, output=[output], **node))
        if split:
            constant = self._constant(f"{name}.bias_float32", layer.bias.astype(np.float32))
            self._node("Add", [output, constant], layer.y)
        elif op == "Conv":
            self._in_uint8(output, self.ranges[layer.y], layer.y, clipped=False)

    def _in_uint8(
        self, tensor: str, tensor_range: TensorRange, result: str, *, clipped: bool
    ) -> np.float32:
        """The scale of `tensor` in uint8; adds the nodes that make `result` of it, once.

        clipped: values beyond MOST_X steps become MOST_X, as the input of a layer must.
        """
        if tensor not in self.scales:
            scale = self.scales[tensor] = tensor_range.scale(MOST_X)
            zero = np.uint8(np.rint(-tensor_range.low / scale))
            names = f"{tensor}_scale", f"{tensor}_zero_point"
            ends = [*map(self._constant, names, (scale, zero))]
            middle = self._node("QuantizeLinear", [tensor, *ends], f"{tensor}_quantized")
            if clipped:
                limits = [f"{tensor}_least", f"{tensor}_most"]
                steps = map(self._constant, limits, (np.uint8(0), np.uint8(MOST_X)))
                middle = self._node("Clip", [middle, *steps], f"{tensor}_clipped")
            self._node("DequantizeLinear", [middle, *ends], result)
        return self.scales[tensor]

    def _dequantized(self, name: str, integers: Array, scales: Array, axis: int) -> str:
        """The tensor that holds integers * scales. scales: one for each index of the axis."""
        inputs = [
            self._constant(f"{name}_{integers.dtype.name}", integers),
            self._constant(f"{name}_scale", scales),
            self._constant(f"{name}_zero_point", np.zeros(len(scales), integers.dtype)),
        ]
        return self._node("DequantizeLinear", inputs, f"{name}_dequantized", axis=axis)

    def _constant(self, name: str, value: Any) -> str:
        self.tensors.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, op: str, inputs: list[str], output: str, **settings: int) -> str:
        name = f"{op}_{inputs[0]}"
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name, **settings))
        return output


def _in_integers(layer: _Layer, x_scale: np.float32) -> tuple[Array, Array, Array]:
    """Weights in int8 of the same shape, the scale of each output, and the bias in int32.

    The largest weight gets MOST_WEIGHT: to clip it for less squared error measures no better. A
    scale is larger where sums or the bias would not fit into 32 bits.
    """
    outputs = np.moveaxis(layer.weight, layer.axis, 0)
    matrix = np.abs(outputs.reshape(len(outputs), -1), dtype=np.float64)
    bias = layer.bias.astype(np.float64)
    least = [
        matrix.max(axis=1) / MOST_WEIGHT,
        255 * matrix.sum(axis=1) / MOST_SUM,
        np.abs(bias) / (float(x_scale) * MOST_SUM),
        np.full(len(matrix), LEAST_SCALE),
    ]
    scales = np.maximum.reduce(least).astype(np.float32)
    along = [-1 if axis == layer.axis else 1 for axis in range(layer.weight.ndim)]
    integers = np.rint(layer.weight / scales.reshape(along)).astype(np.int8)
    return integers, scales, np.rint(bias / (x_scale * scales)).astype(np.int32)
