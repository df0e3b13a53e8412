"""Random graphs of every operator, with absurd numbers among them: refused, or loaded and run.

Of what runs, every shape is the one that was known before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ae_runtime.graphs.operators import OPERATORS

# In a process of its own, so that a crash is a failed test and not the end of the tests.
SCRIPT = """
import collections, json, resource, sys
from pathlib import Path
import numpy as np
from ae_runtime.model import devices
from ae_runtime import errors
from ae_runtime.graphs import admission
from ae_runtime.bundle.manifest import Port

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
found = collections.Counter()
x, z = Port("x", "float64", [None, 6]), Port("z", "float32", [None, 2])
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, file=sys.stderr, flush=True)
    raw, step = path.read_bytes(), "admission"
    try:
        admission.admit("", raw, [x], [z])
        step = "onnxruntime"
        session = devices.open_session(raw)
        step = "runs"
        devices.compute(session, ["z"], {"x": np.ones((2, 6))})
    except errors.BundleRefused:
        found[step] += 1
    else:
        found["whole"] += 1
# Not by getrusage: its peak is that of the process that started this one, where that is larger.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
found["peak_mb"] = int(peak.split()[1]) >> 10
print(json.dumps(found))
"""
# Of graphs that have every value as an output: dims, type and numbers, known before and found.
COMPARE = """
import collections, json, sys
from pathlib import Path
import numpy as np
from ae_runtime.model import devices
from ae_runtime.graphs import admission
from ae_runtime.graphs.graph import DTYPES, read_graph
from ae_runtime.graphs.values import MANY, GraphError, with_rows
from ae_runtime.graphs.shape_inference import infer

found = collections.Counter()

def walked(graph, rows):
    try:
        return infer(graph, rows).values
    except GraphError as error:
        return str(error)

for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, file=sys.stderr, flush=True)
    raw = path.read_bytes()
    graph = read_graph(raw)
    if any(check(graph) for check in admission.CHECKS):
        found["refused"] += 1
        continue
    whole = {rows: walked(graph, rows) for rows in (1, 3, MANY)}
    for rows in (1, 3):
        known = whole[rows]
        if isinstance(known, str):
            found["refused"] += 1
            continue
        try:
            session = devices.open_session(raw)
            names = [output.name for output in session.get_outputs()]
            port, = session.get_inputs()
            dims = [rows if not isinstance(size, int) else size for size in port.shape]
            x = np.ones(dims, {"tensor(double)": "f8", "tensor(float)": "f4"}.get(port.type, "u1"))
            arrays = devices.compute(session, names, {port.name: x})
        except Exception:
            found["not run"] += 1
            continue
        found["same"] += 1
        many = whole[MANY]
        each = not isinstance(many, str) and not isinstance(whole[1], str) and all(
            tuple(with_rows(size, 1) for size in many[name].dims) == whole[1][name].dims
            for name in many
        )
        found["each row alike"] += each
        for name, array in zip(names, arrays):
            value = known[name]
            assert (value.dims, DTYPES[value.dtype][0]) == (array.shape, array.dtype.name), (
                path.name, rows, name, value, array.shape, array.dtype
            )
            if value.numbers is not None:
                assert value.numbers == tuple(array.ravel().tolist()), (path.name, name, value)
            if each:
                dims = tuple(with_rows(size, rows) for size in many[name].dims)
                assert dims == array.shape, (path.name, rows, name, dims, array.shape)
print(json.dumps(found))
"""
ABSURD = [-(2**63), -(2**31), -65536, -9, -2, -1, 0, 1, 2, 3, 7, 64, 65, 4096, 2**28, 2**31, 2**62]
F32, F64, U8, I32, BOOL = np.float32, np.float64, np.uint8, np.int32, np.bool_
POOL = {"kernel_shape": [2], "strides": [2], "pads": [0, 1], "dilations": [1]}
RECURRENT = {"hidden_size": 2, "direction": "forward", "layout": 0, "clip": 1.0}
NORM = [(F32, 2, 3, 4), (F32, 3), (F32, 3)]
WINDOWS = {"strides": [2, 2], "pads": [0, 1, 1, 0], "dilations": [1, 1], "auto_pad": "NOTSET"}
ONE_REAL: tuple[list[Any], dict[str, Any], int] = ([(F32, 2, 3)], {}, 1)
AXES = [(F32, 2, 3, 4), [1, -1]]
# Operands: a dtype and dims, or whole numbers; attributes; and how many outputs.
CASES: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "MaxPool": ([(F32, 2, 1, 6)], POOL | {"ceil_mode": 0, "storage_order": 0}, 2),
    "AveragePool": ([(F32, 2, 1, 4, 4)], {"kernel_shape": [2, 2], "count_include_pad": 1}, 1),
    "Conv": (
        [(F32, 1, 2, 6), (F32, 4, 1, 3), (F32, 4)],
        POOL | {"kernel_shape": [3], "group": 2},
        1,
    ),
    "ConvTranspose": (
        [(F32, 1, 2, 3, 3), (F32, 2, 2, 2, 2)],
        {"strides": [2, 2], "output_padding": [1, 0], "pads": [0, 1, 0, 1], "group": 1},
        1,
    ),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), ([(F32, 2, 3, 4, 4)], {}, 1)),
    "GRU": (
        [(F32, 3, 2, 4), (F32, 1, 6, 4), (F32, 1, 6, 2)],
        RECURRENT | {"linear_before_reset": 1},
        2,
    ),
    "LSTM": ([(F32, 3, 2, 4), (F32, 1, 8, 4), (F32, 1, 8, 2)], RECURRENT | {"input_forget": 0}, 3),
    "RNN": (
        [(F32, 3, 2, 4), (F32, 1, 2, 4), (F32, 1, 2, 2)],
        RECURRENT | {"activations": ["Elu"]},
        2,
    ),
    "Resize": ([(F32, 1, 1, 4), "", "", [1, 1, 8]], {"mode": "linear", "antialias": 0}, 1),
    "Pad": ([(F32, 2, 3), [0, 1, 0, 1]], {"mode": "reflect"}, 1),
    "Tile": ([(F32, 2, 3), [1, 2]], {}, 1),
    "Expand": ([(F32, 3, 1), [2, 3, 4]], {}, 1),
    "ConstantOfShape": ([[2, 3]], {}, 1),
    "DepthToSpace": ([(F32, 1, 4, 2, 2)], {"blocksize": 2, "mode": "CRD"}, 1),
    "SpaceToDepth": ([(F32, 1, 1, 4, 4)], {"blocksize": 2}, 1),
    "TopK": ([(F32, 2, 5), [2]], {"axis": -1, "largest": 0, "sorted": 1}, 2),
    "Split": ([(F32, 2, 6), [2, 4]], {"axis": 1}, 2),
    "Slice": ([(F32, 4, 4), [1], [3], [0], [1]], {}, 1),
    "Gather": ([(F32, 4, 4), [1, -2]], {"axis": 1}, 1),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceL2"), (AXES, {"keepdims": 0}, 1)),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMin", "ReduceSumSquare"),
        (AXES, {"keepdims": 1, "noop_with_empty_axes": 0}, 1),
    ),
    **dict.fromkeys(("ArgMax", "ArgMin"), ([(F32, 2, 5)], {"axis": 1, "select_last_index": 1}, 1)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), ([(F32, 2, 5)], {"axis": -1}, 1)),
    "BatchNormalization": ([*NORM, (F32, 3), (F32, 3)], {"training_mode": 0, "epsilon": 1e-5}, 1),
    "LayerNormalization": ([(F32, 2, 3), (F32, 3), (F32, 3)], {"axis": -1, "stash_type": 1}, 1),
    "InstanceNormalization": (NORM, {"epsilon": 1e-5}, 1),
    "QuantizeLinear": ([(F32, 2, 3), (F32, 3), (U8, 3)], {"axis": 1}, 1),
    "DequantizeLinear": ([(U8, 2, 3), (F32, 2), (U8, 2)], {"axis": 0}, 1),
    "Cast": ([(F32, 3)], {"to": 7}, 1),
    **dict.fromkeys(("Pow", "Max", "Min", "Mul"), ([(I32, 2, 3), (I32, 3)], {}, 1)),
    **dict.fromkeys(("Div", "PRelu", "MatMul"), ([(F32, 3, 3), (F32, 3, 3)], {}, 1)),
    "Gemm": ([(F64, 2, 3), (F64, 4, 3), (F64, 4)], {"transB": 1, "alpha": 0.5}, 1),
    "Where": ([(BOOL, 2, 3), (F32, 3), (F32, 2, 1)], {}, 1),
    "Clip": ([(F32, 2), (F32,), (F32,)], {}, 1),
    "Concat": ([(F32, 2, 3), (F32, 2, 1)], {"axis": 1}, 1),
    "Reshape": ([(F32, 2, 3), [3, -1]], {"allowzero": 0}, 1),
    "Transpose": ([(F32, 2, 3)], {"perm": [1, 0]}, 1),
    "Squeeze": ([(F32, 2, 1), [1]], {}, 1),
    "Unsqueeze": ([(F32, 2, 3), [0]], {}, 1),
    "Flatten": ([(F32, 2, 3, 4)], {"axis": 1}, 1),
    "Shape": ([(F32, 2, 3, 4)], {"start": 0, "end": -1}, 1),
    **dict.fromkeys(("Elu", "Celu", "HardSigmoid", "LeakyRelu"), ([(F32, 4)], {"alpha": 2.0}, 1)),
    **dict.fromkeys(("Erf", "Log", "Sqrt", "Softplus", "Mish", "Round"), ([(F64, 2, 3)], {}, 1)),
    **dict.fromkeys(("Equal", "Less", "GreaterOrEqual"), ([(I32, 2, 3), (I32, 3)], {}, 1)),
    **dict.fromkeys(("And", "Or", "Xor"), ([(BOOL, 2, 3), (BOOL, 3)], {}, 1)),
    **dict.fromkeys(("Add", "Sub", "Greater", "LessOrEqual"), ([(F32, 2, 3), (F32, 3)], {}, 1)),
    **dict.fromkeys(("Abs", "Neg", "Exp", "Reciprocal", "Sin", "Cos", "Sign"), ONE_REAL),
    **dict.fromkeys(("Relu", "Selu", "Softsign", "Sigmoid", "HardSwish", "Tanh"), ONE_REAL),
    **dict.fromkeys(("Floor", "Ceil", "IsNaN", "IsInf", "Identity"), ONE_REAL),
    "Not": ([(BOOL, 2)], {}, 1),
}
# More of those whose shapes have the most to say.
IMAGES: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "Conv": (
        [(F32, 1, 2, 6, 5), (F32, 4, 2, 3, 2), (F32, 4)],
        WINDOWS | {"kernel_shape": [3, 2], "strides": [1, 2]},
        1,
    ),
    "ConvTranspose": (
        [(F32, 1, 2, 3, 3), (F32, 2, 2, 2, 2)],
        WINDOWS | {"output_padding": [1, 0], "group": 1},
        1,
    ),
    "MaxPool": ([(F32, 2, 1, 7, 6)], WINDOWS | {"kernel_shape": [2, 3], "ceil_mode": 1}, 1),
    "AveragePool": (
        [(F32, 2, 1, 7, 6)],
        WINDOWS | {"kernel_shape": [2, 3], "ceil_mode": 1, "count_include_pad": 1},
        1,
    ),
    "Resize": ([(F32, 1, 1, 4, 3), "", (F32, 4)], {"mode": "nearest"}, 1),
    "Slice": ([(F32, 4, 5, 3), [1, 0], [3, 9], [0, -1], [1, 2]], {}, 1),
    "Reshape": ([(F32, 2, 3, 4), [0, -1, 2]], {"allowzero": 0}, 1),
    "Gather": ([(F32, 4, 4, 2), [1, -2]], {"axis": 1}, 1),
}


class Fuzz:
    """Random graphs: the encoder of onnx_writer, and up to 4 operators beside it."""

    def __init__(self, w: SimpleNamespace, seed: int) -> None:
        self.w, self.random = w, np.random.default_rng(seed)
        self.tensors: list[bytes] = []
        self.made = ["x"]

    def graph(self) -> bytes:
        nodes = [self.node() for _ in range(self.random.integers(1, 5))]
        body = b"".join(self.w.field(1, node) for node in nodes)
        opset = int(self.random.integers(18, 22))
        return self.w.model(tensors=tuple(self.tensors), graph=body, opsets=(("", opset),))

    def chance(self, one_in: int) -> bool:
        return bool(self.random.integers(one_in) == 0)

    def node(self) -> bytes:
        op = str(self.random.choice(list(CASES)))
        operands, attributes, outputs = CASES[op]
        inputs = [self.operand(operand) for operand in operands]
        if self.chance(4):
            inputs[0] = str(self.random.choice(self.made))
        if self.chance(20):
            inputs[self.random.integers(len(inputs))] = "-"
        if self.chance(30):
            inputs.pop()
        given = [
            self.w.attribute(name, self.value(value))
            for name, value in attributes.items()
            if not self.chance(10)
        ]
        names = [f"v{len(self.made) + at}" for at in range(outputs)]
        self.made += names
        shown = ["-" if self.chance(30) else name for name in names]
        return self.w.node(op, " ".join(inputs), " ".join(shown), *given)

    def operand(self, operand: Any) -> str:
        """The name of a new tensor."""
        if operand == "":
            return "-"
        name = f"t{len(self.tensors)}"
        if isinstance(operand, list):
            values = np.array(self.value(operand), np.int64)
        else:
            dtype, *dims = operand
            dims = [int(self.random.integers(4)) if self.chance(15) else size for size in dims]
            values = self.random.integers(0, 4, dims).astype(dtype)
        self.tensors.append(self.w.tensor(name, values))
        return name

    def value(self, value: Any) -> Any:
        """The value, or with some luck one that is absurd."""
        if isinstance(value, list):
            longer = value + value[:1] if self.chance(15) else value
            return [self.value(one) for one in longer]
        if isinstance(value, int) and self.chance(8):
            return int(self.random.choice(ABSURD))
        if isinstance(value, float) and self.chance(4):
            return float(self.random.choice([0, -1, 1e38, np.inf, np.nan]))
        return str(value) * 2 if isinstance(value, str) and self.chance(10) else value


# Shapes that x is given.
SHAPES = {
    "a": [-1, 1, 6],
    "b": [-1, 2, 3],
    "c": [-1, 1, 2, 3],
    "d": [-1, 2, 3, 1],
    "e": [0, 6, 1, 1],
}


class Plausible:
    """Random graphs that mostly run: values that depend on x, and operators that may take them."""

    def __init__(self, w: SimpleNamespace, seed: int) -> None:
        self.w, self.random = w, np.random.default_rng(seed)
        self.nodes = [w.node("Cast", "x", "x32", w.to_float)]
        self.tensors: list[bytes] = []
        self.made, self.ranked = ["x32"], {2: ["x32"]}
        for name, shape in SHAPES.items():
            self.add("Reshape", f"x32 {self.tensor(np.int64(shape))}", name)
            self.ranked.setdefault(len(shape), []).append(name)
        self.add("Transpose", "b", "t", w.attribute("perm", [1, 0, 2]))
        self.ranked[3].append("t")

    def add(self, op: str, inputs: str, outputs: str, *attributes: bytes) -> str:
        self.nodes.append(self.w.node(op, inputs, outputs, *attributes))
        self.made += outputs.split()
        return outputs

    def new(self) -> str:
        return f"v{len(self.made)}"

    def tensor(self, values: Any) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors.append(self.w.tensor(name, values))
        return name

    def chance(self, one_in: int) -> bool:
        return bool(self.random.integers(one_in) == 0)

    def graph(self) -> bytes:
        """A graph in which every value is an output."""
        for _ in range(self.random.integers(1, 3)):
            self.node()
        opset = int(self.random.integers(18, 22))
        outputs = tuple(self.w.field(1, name) for name in self.made)
        return self.w.model(
            *self.nodes, tensors=tuple(self.tensors), outputs=outputs, opsets=(("", opset),)
        )

    def node(self) -> None:
        cases = IMAGES if self.chance(3) else CASES
        op = str(self.random.choice(list(cases)))
        operands, attributes, count = cases[op]
        inputs = [self.operand(operand) for operand in operands]
        if self.chance(4):
            inputs[0] = str(self.random.choice(self.made))
        if self.chance(15) and len(inputs) > 1:
            inputs.pop()
        given = [
            self.w.attribute(name, self.value(name, value))
            for name, value in attributes.items()
            if not self.chance(5)
        ]
        first = len(self.made)
        names = [f"v{first + at}" for at in range(count)]
        self.add(op, " ".join(inputs), " ".join(names), *given)

    def operand(self, operand: Any) -> str:
        if operand == "":
            return "-"
        if isinstance(operand, list):
            numbers = np.array(self.value("", operand), np.int64)
            return self.computed(numbers) if self.chance(6) else self.tensor(numbers)
        dtype, *dims = operand
        if len(dims) in self.ranked and dtype == F32 and self.chance(3):
            return str(self.random.choice(self.ranked[len(dims)]))
        dims = [int(self.random.integers(1, 4)) if self.chance(8) else size for size in dims]
        if self.chance(40) and dims:
            dims[self.random.integers(len(dims))] = 0
        values = self.random.integers(0, 4, dims[self.chance(12) :])
        return self.tensor((values / 2 + 0.5 if self.chance(4) else values).astype(dtype))

    def computed(self, numbers: Any) -> str:
        """Numbers of a shape, and these, as exporters compute with them."""
        value = str(self.random.choice(["x32", *SHAPES]))
        dims = self.add("Shape", value, self.new())
        kind, zero = self.random.integers(4), self.tensor(np.int64([0]))
        if kind == 0:
            return dims
        if kind == 1:
            some = self.add("Gather", f"{dims} {zero}", self.new())
        else:
            end = self.tensor(np.int64([self.random.integers(1, 4)]))
            some = self.add("Slice", f"{dims} {zero} {end}", self.new())
        if kind == 2:
            op = str(self.random.choice(["Mul", "Add", "Sub"]))
            some = self.add(op, f"{some} {self.tensor(np.int64([2]))}", self.new())
        axis = self.w.attribute("axis", 0)
        return self.add("Concat", f"{some} {self.tensor(numbers[1:])}", self.new(), axis)

    def value(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(name, one) for one in value]
        if name == "auto_pad" and self.chance(3):
            return str(self.random.choice(["VALID", "SAME_UPPER", "SAME_LOWER"]))
        if name == "direction":
            return str(self.random.choice(["forward", "reverse", "bidirectional"]))
        if isinstance(value, int) and self.chance(3):
            return int(self.random.choice([-2, -1, 0, 1, 1, 2, 2, 3, 3, 4, 5]))
        return value


def check(python: Callable[..., str], w: SimpleNamespace, folder: Path, count: int) -> None:
    for seed in range(count):
        (folder / f"{seed:05}.onnx").write_bytes(Fuzz(w, seed).graph())
    found = json.loads(python(SCRIPT, folder))
    assert found.pop("peak_mb") < 512
    assert sum(found.values()) == count
    # Each line of defence had work, or the graphs prove nothing.
    assert min(found[step] for step in ("admission", "onnxruntime", "whole")) > count / 50


def compared(
    python: Callable[..., str], w: SimpleNamespace, folder: Path, seeds: range
) -> dict[str, int]:
    """How many graphs had which fate; what is refused never reaches onnxruntime."""
    for seed in seeds:
        (folder / f"{seed:06}.onnx").write_bytes(Plausible(w, seed).graph())
    found: dict[str, int] = json.loads(python(COMPARE, folder))
    return found


def test_cases_are_of_operators_that_are_admitted() -> None:
    assert set(CASES) <= set(OPERATORS)
    assert set(IMAGES) <= set(CASES)
    assert set(OPERATORS) - set(CASES) == {"Constant"}  # which takes nothing


def test_shapes_are_known_before(
    python: Callable[..., str], w: SimpleNamespace, tmp_path: Path
) -> None:
    found = compared(python, w, tmp_path, range(600))
    assert found["same"] > 400
    assert found["each row alike"] > 300


@pytest.mark.soak
def test_many_shapes_are_known_before(
    python: Callable[..., str], w: SimpleNamespace, tmp_path: Path
) -> None:
    found = compared(python, w, tmp_path, range(12_000))
    assert found["same"] > 8_000
    assert found["each row alike"] > 6_000


def test_fuzzed_graphs(python: Callable[..., str], w: SimpleNamespace, tmp_path: Path) -> None:
    check(python, w, tmp_path, 300)


@pytest.mark.soak
def test_many_fuzzed_graphs(python: Callable[..., str], w: SimpleNamespace, tmp_path: Path) -> None:
    check(python, w, tmp_path, 10_000)
