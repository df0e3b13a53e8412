#!/usr/bin/env bash
# OpenVINO 2026.4.1 (CPU) computes a float64 graph in float32, also with INFERENCE_PRECISION_HINT=f32.
# Sub of two float64 numbers near 1.7e9 (seconds since 1970), then Cast to float32, gives 0, 0, 256
# where 1.25, 2.5 and 200 are right: the inputs were rounded to float32 before the difference. The
# element type of input and graph is f64; there is no warning. onnxruntime 1.32.0 is exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

graph = helper.make_graph(
    [helper.make_node("Sub", ["x", "mean"], ["d"]),
     helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT)], "g",
    [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [3])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    [numpy_helper.from_array(np.array([1.7e9]), "mean")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
data = model.SerializeToString()
x = 1.7e9 + np.array([1.25, 2.5, 200.0])
exact = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
assert exact.tolist() == [1.25, 2.5, 200.0]
core = openvino.Core()
for config in ({}, {"INFERENCE_PRECISION_HINT": "f32"}):
    compiled = core.compile_model(core.read_model(data), "CPU", config)
    assert compiled.input(0).get_element_type() == openvino.Type.f64
    found = compiled([x])[0]
    print(f"{config or 'default'}: {found}; onnxruntime {exact}")
    assert np.abs(found - exact).max() > 1, "changed"
PYTHON
