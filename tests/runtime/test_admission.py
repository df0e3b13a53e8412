"""What a graph may not hold: every check of the loader, before onnxruntime sees a byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import BundleRefused
from ae_runtime.graphs import admission
from ae_runtime.graphs.operators import OPERATORS

Rewrite = Callable[..., Path]
Refusal = Callable[[bytes], str]
Writer = SimpleNamespace
X, Z = Port("x", "float64", [None, 6]), Port("z", "float32", [None, 2])


def test_a_graph_written_here_is_loaded_and_right(
    table_bundle: Path, rewrite: Rewrite, w: Writer
) -> None:
    # Else the graphs below could be refused for what they share with these.
    x = np.random.default_rng(0).integers(-9, 9, (5, 6)).astype(np.float64)
    for encoder in (
        w.model(),
        w.model(ir_version=10),
        w.model(opsets=(("", 21),)),
        w.model(opsets=(("ai.onnx", 18),)),  # the standard domain by its other name
        w.model(model=w.field(99, "new") + w.field(14, b""), graph=w.field(98, 5)),
    ):
        ae = ae_runtime.load(rewrite(table_bundle, {"encoder.onnx": encoder}))
        np.testing.assert_array_equal(ae.encode(x), x @ w.weights)  # exact: small whole numbers


def test_the_decoder_is_checked_too(table_bundle: Path, rewrite: Rewrite, w: Writer) -> None:
    bundle = rewrite(table_bundle, {"decoder.onnx": w.model()})
    with pytest.raises(BundleRefused) as caught:
        ae_runtime.load(bundle)
    assert str(caught.value) == (
        f"{bundle}: decoder.onnx: its inputs are not those that the manifest names"
    )


def test_versions(refusal: Refusal, w: Writer) -> None:
    assert refusal(b"") == "IR version 0; at most 10 is taken"
    assert refusal(w.model(ir_version=0)) == "IR version 0; at most 10 is taken"
    assert refusal(w.model(ir_version=11)) == "IR version 11; at most 10 is taken"
    assert refusal(w.model(opsets=(("", 17),))) == "opset 17; 18 to 21 are taken"
    assert refusal(w.model(opsets=(("", 22),))) == "opset 22; 18 to 21 are taken"
    # onnxruntime goes by the first of two, a dictionary would keep the last.
    assert refusal(w.model(opsets=(("", 99), ("", 18)))) == "opset 99; 18 to 21 are taken"
    assert refusal(w.model(opsets=(("", 18), ("com.microsoft", 1)))) == (
        "operator domain 'com.microsoft'; only the standard one is taken"
    )


def test_structure(refusal: Refusal, w: Writer) -> None:
    def node(attribute: bytes) -> bytes:
        return w.model(graph=w.field(1, w.node("Constant", "", "c", attribute)))

    for encoder, what in (
        (w.model(model=w.field(25, w.field(1, "f"))), "model-local functions"),
        (w.model(model=w.field(20, b"")), "training information"),
        (w.model(graph=w.field(15, b"")), "sparse tensors"),
        # A few bytes of these say how many zeros onnxruntime is to write out.
        (node(w.field(1, "sparse_value") + w.field(22, w.field(3, 3))), "sparse tensors"),
        (node(w.field(23, b"")), "sparse tensors"),
        (node(w.field(6, b"")), "graphs inside operators"),
        (node(w.field(11, b"")), "graphs inside operators"),
    ):
        assert refusal(encoder) == f"it holds {what}, which no bundle has"
    many = w.model(graph=w.field(1, w.node("Relu", "x", "c")) * (admission.MAX_NODES - 1))
    assert refusal(many) == "it has 10001 operators; at most 10000 are taken"


@pytest.mark.parametrize(
    ("op", "domain", "shown"),
    [
        ("NonZero", "", "'ai.onnx::NonZero'"),
        ("RandomNormal", "", "'ai.onnx::RandomNormal'"),
        ("Loop", "ai.onnx", "'ai.onnx::Loop'"),
        ("gemm", "", "'ai.onnx::gemm'"),
        ("", "", "'ai.onnx::'"),
        ("Gemm", "evil", "'evil::Gemm'"),
        # No name of somebody else's paints this terminal, or fills it.
        ("\x1b[31m" + "A" * 5000, "", r"'ai.onnx::\x1b[31m" + "A" * 42),
    ],
)
def test_operators(refusal: Refusal, w: Writer, op: str, domain: str, shown: str) -> None:
    for node in (
        w.node(op, "x", "y", domain=domain),
        w.node("Relu", "x", "y", domain=domain) + w.field(4, op),  # the last name counts
    ):
        assert refusal(w.model(graph=w.field(1, node))) == (
            f"operators that a bundle may not use: {shown}; update ae-toolkit, or export again"
        )


def test_operators_are_listed_once_and_not_without_end(refusal: Refusal, w: Writer) -> None:
    names = [f"New{at:02}" for at in range(12)]
    nodes = b"".join(w.field(1, w.node(op, "x", "y")) for op in [*names, *names, "Relu"])
    listed = ", ".join(f"'ai.onnx::{op}'" for op in names[:10])
    assert refusal(w.model(graph=nodes)) == (
        f"operators that a bundle may not use: {listed}; update ae-toolkit, or export again"
    )


def test_the_list_of_operators_is_a_decision() -> None:
    # An operator that is added here needs a look at what it could do with a hostile shape.
    assert sorted(OPERATORS) == [
        *("Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast"),
        *("Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv"),
        *("ConvTranspose", "Cos", "DepthToSpace", "DequantizeLinear", "Div", "Elu", "Equal"),
        *("Erf", "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "Gemm"),
        *("GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid"),
        *("HardSwish", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LSTM"),
        *("LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax"),
        *("MatMul", "Max", "MaxPool", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pad"),
        *("Pow", "QuantizeLinear", "RNN", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean"),
        *("ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "Round"),
        *("Selu", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax", "Softplus", "Softsign"),
        *("SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "TopK", "Transpose"),
        *("Unsqueeze", "Where", "Xor"),
    ]


def test_the_limits_of_operators_are_a_decision() -> None:
    recurrent = {"GRU", "LSTM", "RNN"}
    assert {name for name, op in OPERATORS.items() if op.skips_inputs} == {
        *recurrent,
        *("Clip", "Pad", "Resize", "Slice"),
    }
    assert {name for name, op in OPERATORS.items() if op.bounds_attributes} == {
        *recurrent,
        *("AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "MaxPool", "SpaceToDepth"),
    }
    assert {name: op.nonempty_from for name, op in OPERATORS.items() if op.nonempty_from} == {
        "Conv": 1
    }
    assert {name for name, op in OPERATORS.items() if op.nonempty_from is not None} == {
        *recurrent,
        *("Conv", "ConvTranspose", "InstanceNormalization", "TopK", "ReduceL2", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"),
    }


ONE = np.float32([1])


def test_tensors(refusal: Refusal, w: Writer) -> None:
    bytes_differ = "does not hold the bytes its dims promise"
    location = w.field(13, w.field(1, "location") + w.field(2, "weights.bin"))
    for tensor, complaint in (
        (w.tensor("t", ONE) + location, "points outside the file"),
        (w.tensor("t", ONE) + w.field(14, 1), "points outside the file"),
        (w.tensor("t", ONE) + w.field(2, 8), "has data type 8"),  # strings
        (w.tensor("t", ONE) + w.field(2, 2**32 + 1), "has data type 4294967297"),
        (w.tensor("t", ONE, [1] * 9), "has dims [1, 1, 1, 1, 1, 1, 1, 1]"),
        (w.tensor("t", ONE, [1 << 28, 0, 2**62]), f"has dims [268435456, 0, {2**62}]"),
        (w.tensor("t", ONE, [0, (1 << 28) + 1]), "has dims [0, 268435457]"),
        (w.tensor("t", ONE, [-1, -1]), f"has dims [{2**64 - 1}, {2**64 - 1}]"),
        (w.field(1, w.varint(-4)) + w.tensor("t", ONE), f"has dims [{2**64 - 4}, 1]"),
        (w.tensor("t", ONE, [2]), bytes_differ),
        (w.tensor("t", ONE, [1 << 28]), bytes_differ),
        (w.tensor("t", ONE, [0]), bytes_differ),
        (w.tensor("t", ONE) + w.field(9, b""), bytes_differ),  # the last bytes count
        (w.tensor("t", ONE) + w.field(4, struct.pack("<f", 1)), bytes_differ),
    ):
        assert refusal(w.model(tensors=(tensor,))) == f"tensor 't' {complaint}"
        for attribute in (5, 10):  # of a Constant: one tensor, or several
            node = w.node("Constant", "", "c", w.field(attribute, tensor))
            assert refusal(w.model(graph=w.field(1, node))) == f"tensor 't' {complaint}"
    named = w.tensor("\x1b[31m" + "t" * 5000, ONE, [2])
    assert refusal(w.model(tensors=(named,))) == (
        r"tensor '\x1b[31m" + "t" * 51 + f" {bytes_differ}"
    )


def test_names_are_given_once(refusal: Refusal, w: Writer) -> None:
    # onnxruntime takes the last of two tensors, or what a Constant says.
    t = w.tensor("t", ONE)
    for encoder, name in (
        (w.model(tensors=(t, t)), "t"),
        (w.model(tensors=(w.tensor("x", ONE),)), "x"),
        (w.model(tensors=(t,), graph=w.field(1, w.node("Relu", "w", "t"))), "t"),
        (w.model(graph=w.field(1, w.node("Relu", "w", "c")) * 2), "c"),
        (w.model(graph=w.field(1, w.node("Relu", "w", "z"))), "z"),
        (w.model(graph=w.field(1, w.node("TopK", "w w", "c c"))), "c"),
    ):
        assert refusal(encoder) == f"the name {name!r} is given to two values"
    count = w.tensor("one", np.int64([1]))
    left_out = w.model(tensors=(count,), graph=w.field(1, w.node("TopK", "w one", "- -")))
    admission.admit("", left_out, [X], [Z])


def test_attributes_have_one_value(refusal: Refusal, w: Writer) -> None:
    # The second of two is what onnxruntime goes by, or the one that the type names.
    def attribute(*fields: bytes, name: str = "to") -> bytes:
        return w.field(1, name) + b"".join(fields)

    one, six, ints = w.field(3, 1), w.field(3, 6), w.field(8, 1)
    whole, list_of_whole, real = (w.field(20, kind) for kind in (2, 7, 1))
    tensor = w.field(5, w.tensor("t", ONE))
    for op, *attributes in (
        ("Cast", attribute(one, six, whole)),
        ("Cast", attribute(ints, six, whole)),
        ("Cast", attribute(one, list_of_whole)),
        ("Cast", attribute(one, real)),
        ("Cast", attribute(one)),
        ("Cast", attribute(one, w.field(20, 99))),
        ("Cast", attribute(one, whole, real)),
        ("Cast", attribute(one, whole, w.field(1, "to"))),
        ("Cast", attribute(one, whole, w.field(21, "to"))),  # a reference to another attribute
        ("Cast", attribute(w.field(3, b"\x01"), whole)),  # packed: parsers read 0
        ("Cast", attribute(one, whole), attribute(six, whole)),
        ("Constant", attribute(tensor, tensor, w.field(20, 4), name="value")),
        ("Constant", w.attribute("value_int", 5), attribute(tensor, w.field(20, 4), name="value")),
        ("Constant",),
    ):
        encoder = w.model(graph=w.field(1, w.node(op, "", "c", *attributes)))
        assert refusal(encoder) == (
            f"operator {op} has an attribute with more than one value, or of another type"
        )
    several = attribute(ints, ints, list_of_whole, w.field(13, "what it is for"), name="axes")
    cast = w.node("Cast", "x", "c", several, w.to_float)
    admission.admit("", w.model(graph=w.field(1, cast)), [X], [Z])


# A quotient of whole numbers may end the process that loads the graph, in onnxruntime 1.23 and
# 1.32; that of these two does not.
SIX, THREE = np.int32([6]), np.int32([3])


def divided(w: Writer, inputs: str, *nodes: bytes) -> bytes:
    """A graph with these nodes, and one that divides two of its values."""
    body = b"".join(w.field(1, node) for node in [*nodes, w.node("Div", inputs, "quotient")])
    named = {"six": SIX, "three": THREE, "size": np.int64([3]), "one": np.int64([1])}
    named |= {
        "image": np.float32([[[1, 2]]]),
        "scale": np.float32(1),
        "bytes": np.uint8([3]),
        "w1": np.float32([1]),
    }
    return w.model(tensors=tuple(w.tensor(*pair) for pair in named.items()), graph=body)


def test_division_of_whole_numbers(refusal: Refusal, w: Writer) -> None:
    to_int = w.attribute("to", 6)
    for found, inputs, *nodes in (
        ("six", "six three"),
        ("six", "x six"),
        ("s", "x s", w.node("Shape", "x", "s")),
        ("i", "x i", w.node("Cast", "x", "i", to_int)),
        ("a", "x a", w.node("ArgMax", "x", "a")),
        ("i", "v i", w.node("TopK", "x one", "v i")),
        ("i", "v i", w.node("MaxPool", "image", "v i", w.attribute("kernel_shape", [1]))),
        ("c", "w c", w.node("IsNaN", "w1", "b"), w.node("Where", "b six three", "c")),
        ("b", "w b", w.node("Identity", "six", "a"), w.node("Abs", "a", "b")),
        ("c", "w c", w.node("Constant", "", "c", w.attribute("value_int", 0))),
        ("q", "w q", w.node("QuantizeLinear", "w scale", "q")),
    ):
        assert refusal(divided(w, inputs, *nodes)) == (
            f"operator Div takes {found!r}, which is not floating-point"
        )


def test_division_of_what_there_is_not(refusal: Refusal, w: Writer) -> None:
    for encoder in (
        divided(w, "nowhere x"),
        # Out of order: which operator comes first is not left to onnxruntime.
        divided(w, "w b", w.node("Relu", "nowhere", "b"), w.node("Identity", "w", "nowhere")),
    ):
        assert refusal(encoder).endswith(" takes 'nowhere', which nothing gives before it")
    cast = w.node("Cast", "x", "i")
    assert refusal(divided(w, "w i", cast)) == (
        "operator Cast gives data type 0, which is not taken"
    )


def test_division_of_real_numbers(w: Writer) -> None:
    quarter = w.attribute("value", w.tensor("", np.float32([0.25])))
    for inputs, *nodes in (
        ("x x",),
        ("a a", w.node("Cast", "x", "a", w.to_float)),
        ("v w", w.node("TopK", "w one", "v i")),
        ("w c", w.node("Constant", "", "c", quarter)),
        ("w c", w.node("Constant", "", "c", w.attribute("value_float", 0.25))),
        ("c w", w.node("ConstantOfShape", "one", "c")),
        ("w c", w.node("DequantizeLinear", "bytes scale", "c")),
        ("w f", w.node("ArgMax", "w", "s"), w.node("Cast", "s", "f", w.to_float)),
    ):
        admission.admit("", divided(w, inputs, *nodes), [X], [Z])


def test_an_activation_divides_another(table_bundle: Path, rewrite: Rewrite, w: Writer) -> None:
    nodes = (
        w.node("Cast", "x", "x32", w.to_float),
        w.node("MatMul", "x32 w", "y"),
        w.node("Exp", "y", "e"),
        w.node("Div", "y e", "z"),
    )
    ae = ae_runtime.load(rewrite(table_bundle, {"encoder.onnx": w.model(*nodes)}))
    x = np.random.default_rng(0).standard_normal((5, 6)) * 0.1
    y = x @ w.weights
    np.testing.assert_allclose(ae.encode(x), y * np.exp(-y), rtol=1e-5)  # float32


def test_ports(refusal: Refusal, w: Writer) -> None:
    x, z = w.port("x", 11, ["batch", 6]), w.port("z", 1, ["batch", 2])
    for inputs in (
        (w.port("y", 11, ["batch", 6]),),
        (w.port("x", 1, ["batch", 6]),),
        (w.port("x", 8, ["batch", 6]),),  # strings, which no manifest can name
        (w.port("x", 11, ["batch", 5]),),
        (w.port("x", 11, [1, 6]),),
        (w.port("x", 11, ["batch", "n"]),),
        (w.port("x", 11, []),),
        (x, w.port("y", 11, ["batch", 6])),
    ):
        assert refusal(w.model(inputs=inputs)) == (
            "its inputs are not those that the manifest names"
        )
    for outputs in ((w.port("z", 1, ["batch", 3]),), (z, w.port("w", 1, [6, 2])), (x,)):
        assert refusal(w.model(outputs=outputs)) == (
            "its outputs are not those that the manifest names"
        )
