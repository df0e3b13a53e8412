#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU, x86-64) gives a wrong maximum where a NaN stands in the row.
# ReduceMax gives NaN only if the NaN comes first. Elsewhere it is passed over, and may take a larger
# neighbour with it: of 0, NaN, 2, 3, 4, 5, 6, 7 the answer is 6. numpy, torch and onnx's own reference
# evaluator give NaN. MaxPool of two NaN gives -3.4e38. Rows that may hold missing values have to be
# filled before such an operator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def both(node, x, y_shape, **constants):
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0], ReferenceEvaluator(model).run(None, {"x": x})[0]


node = helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)
for at, wanted in ((0, np.nan), (1, 6.0), (4, 7.0)):
    x = np.arange(8, dtype=np.float32)[None]
    x[0, at] = np.nan
    found, reference = both(node, x, [1], axes=np.array([1]))
    print(f"ReduceMax of {x[0]}: {found[0]}; reference {reference[0]}")
    assert np.isnan(reference[0])
    np.testing.assert_array_equal(found[0], np.float32(wanted), "changed")
x = np.array([[[1, np.nan, np.nan, np.nan]]], np.float32)
node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], strides=[2])
found, reference = both(node, x, [1, 1, 2])
print(f"MaxPool of {x[0, 0]}: {found[0, 0]}; reference {reference[0, 0]}")
assert found[0, 0].tolist() == [1.0, float(np.finfo(np.float32).min)], "changed"
PYTHON
