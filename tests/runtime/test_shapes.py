"""Shapes and sizes that a graph may ask for: bounded, and never of nothing where that crashes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ae_runtime import admission, asked
from ae_runtime.graph import read_graph

Refusal = Callable[[bytes], str]
Writer = SimpleNamespace
I64_MAX = 2**63 - 1


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def model(w: Writer, *nodes: bytes, **tensors: Any) -> bytes:
    """The encoder of w.model with nodes that lead nowhere beside it, and tensors by their names."""
    made = tuple(w.tensor(name, values) for name, values in tensors.items())
    return w.model(tensors=made, graph=b"".join(w.field(1, node) for node in nodes))


def complaints(raw: bytes) -> list[str]:
    graph = read_graph(raw)
    return [complaint for check in admission.CHECKS for complaint in check(graph)]


def admitted(raw: bytes) -> bool:
    return complaints(raw) == []


def not_bounded(op: str, limit: int = 1 << 24) -> str:
    return (
        f"operator {op} is given a shape that is not bounded; sizes must be constants, at most "
        f"{limit} together, or come from one Shape"
    )


EXPANDING = {"Expand": "x s", "ConstantOfShape": "s", "Tile": "x s", "Resize": "x - - s"}


@pytest.mark.parametrize("op", EXPANDING)
@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (numbers(3, 4), True),
        (numbers(), True),
        (numbers(0, 1 << 24), True),
        (numbers(1 << 12, 1 << 12), True),
        (numbers(1 << 12, 1 << 12, 2), False),
        (numbers(1 << 24, 1, 2), False),
        (numbers(-(1 << 25)), False),
        (numbers(I64_MAX), False),
        (numbers(-(2**63)), False),
        (numbers(*[1] * 65), False),  # no shape has so many; each node would read all of them
        (np.array([3, 4], np.int32), False),
        (np.array([3, 4], np.float32), False),
    ],
)
def test_constant_shapes(
    refusal: Refusal, w: Writer, op: str, shape: np.ndarray, fits: bool
) -> None:
    encoder = model(w, w.node(op, EXPANDING[op], "y"), s=shape)
    if not fits:
        assert refusal(encoder) == not_bounded(op)
    elif op != "Tile" or np.prod(np.maximum(shape, 1)) <= asked.MAX_GROWTH:
        assert admitted(encoder)


def shape_nodes(w: Writer) -> dict[str, list[bytes]]:
    """Ways to compute s from Shape of x, which is (batch, 6), and from constants."""
    dims, axis, first = w.node("Shape", "x", "d"), w.attribute("axis", 0), "zero"
    to_int64 = w.attribute("to", 7)
    return {
        "shape": [w.node("Shape", "x", "s")],
        "one dim": [dims, w.node("Gather", f"d {first}", "g"), w.node("Identity", "g", "s")],
        "one dim and constants": [
            dims,
            w.node("Slice", "d zero one", "b"),
            w.node("Concat", "b three", "s", axis),
        ],
        "cast and squeezed": [
            dims,
            w.node("Cast", "d", "c", to_int64),
            w.node("Unsqueeze", "c zero", "u"),
            w.node("Squeeze", "u zero", "s"),
        ],
        "end of no matter": [dims, w.node("Slice", "d one far", "s")],
        "constants": [w.node("Constant", "", "s", w.attribute("value", w.tensor("", numbers(3))))],
    }


CONSTANTS = {"zero": numbers(0), "one": numbers(1), "three": numbers(3), "far": numbers(I64_MAX)}


@pytest.mark.parametrize("op", EXPANDING)
def test_shapes_that_come_from_shape(w: Writer, op: str) -> None:
    for nodes in shape_nodes(w).values():
        assert admitted(model(w, *nodes, w.node(op, EXPANDING[op], "y"), **CONSTANTS))


@pytest.mark.parametrize("op", EXPANDING)
def test_shapes_that_are_computed(refusal: Refusal, w: Writer, op: str) -> None:
    dims, axis = w.node("Shape", "x", "d"), w.attribute("axis", 0)

    def cast(inputs: str, output: str, to: int) -> bytes:
        return w.node("Cast", inputs, output, w.attribute("to", to))

    for nodes in (
        [w.node("Mul", "wide wide", "s")],
        [dims, w.node("Mul", "d d", "s")],
        [cast("x", "s", 7)],
        [w.node("ArgMax", "x", "s")],
        [w.node("Concat", "wide wide", "s", axis)],  # each is within the bound, not together
        [w.node("Gather", "wide twice", "s")],  # a number that is chosen twice
        [dims, w.node("Gather", "d twice", "s")],
        [dims, w.node("Concat", "d d", "s", axis)],  # would square the rows
        [cast("minus", "u", 2), cast("u", "s", 7)],  # -1 is 255 as uint8
        [w.node("Constant", "", "s", w.attribute("value_ints", [3, 4]))],
        [w.node("Identity", "s", "s2"), w.node("Identity", "s2", "s")],  # round and round
        [w.node("Shape", "", "s")],
        [w.node("Gather", "wide", "s")],
    ):
        encoder = model(
            w,
            *nodes,
            w.node(op, EXPANDING[op], "y"),
            wide=numbers(1 << 20),
            twice=numbers(0, 0),
            minus=numbers(-1, -1, -1, -1),
        )
        assert refusal(encoder) == not_bounded(op)
    assert refusal(model(w, w.node(op, "x", "y"))) == not_bounded(op)


def test_a_shape_that_doubles_with_every_operator(refusal: Refusal, w: Writer) -> None:
    names = ["one", *(f"v{at}" for at in range(60))]
    axis = w.attribute("axis", 0)
    doubled = [w.node("Concat", f"{a} {a}", b, axis) for a, b in pairwise(names)]
    encoder = model(w, *doubled, w.node("Expand", f"x {names[-1]}", "y"), one=numbers(1))
    assert refusal(encoder) == not_bounded("Expand")  # and at once: there are 2**60 ones in it


def test_growth_is_bounded_together(refusal: Refusal, w: Writer) -> None:
    message = "its Tile and Resize operators ask for more than 65536 times"
    double = np.array([1, 1, 2, 2], np.float32)
    tile, resize = w.node("Tile", "x n", "a"), w.node("Resize", "x - f", "b")
    assert admitted(model(w, tile, resize, n=numbers(1, 1 << 14), f=double))
    assert refusal(model(w, tile, resize, n=numbers(1, 1 << 15), f=double)) == message
    twice = [tile, w.node("Tile", "a n", "c")]
    assert refusal(model(w, *twice, n=numbers(1, 1 << 9))) == message
    six = [w.node("Resize", "x - f", f"r{at}") for at in range(9)]
    assert admitted(model(w, *six[:8], f=double))
    assert refusal(model(w, *six, f=double)) == message
    # Windows become no larger where they are made smaller elsewhere.
    halves = np.array([0.5, 64, 64, 16], np.float32)
    assert admitted(model(w, resize, f=halves))
    assert refusal(model(w, resize, tile, f=halves, n=numbers(2))) == message


@pytest.mark.parametrize(
    "scales",
    [
        np.array([1, 65], np.float32),
        np.array([1, 0], np.float32),
        np.array([1, -2], np.float32),
        np.array([1, np.nan], np.float32),
        np.array([1, np.inf], np.float32),
        np.array([], np.float32),
        np.array([1, 2], np.float64),
        np.ones(65, np.float32),
    ],
)
def test_factors_of_resize(refusal: Refusal, w: Writer, scales: np.ndarray) -> None:
    assert refusal(model(w, w.node("Resize", "x - f", "y"), f=scales)) == not_bounded("Resize")
    computed = [w.node("Cast", "x", "f", w.to_float), w.node("Resize", "x - f", "y")]
    assert refusal(model(w, *computed)) == not_bounded("Resize")


def test_sizes_of_resize_are_what_they_say(refusal: Refusal, w: Writer) -> None:
    def resize(policy: str) -> bytes:
        attribute = w.attribute("keep_aspect_ratio_policy", policy)
        return model(w, w.node("Resize", "x - - s", "y", attribute), s=numbers(4, 4))

    assert admitted(resize("stretch"))
    for policy in ("not_larger", "not_smaller"):
        assert refusal(resize(policy)) == not_bounded("Resize")


def test_padding(refusal: Refusal, w: Writer) -> None:
    pad = w.node("Pad", "x p", "y")
    for pads in (numbers(0, 0, 0, 0), numbers(0, -1, 2, 4093), numbers(0, 255, 255, 0)):
        assert admitted(model(w, pad, p=pads))
    for pads in (
        numbers(0, 255, 256, 0),  # 257 times 256 elements, of one
        numbers(0, 0, 0, I64_MAX),
        numbers(0, 0, 0, -(2**63)),
        numbers(0, 0, 0),
        np.array([0, 0, 0, 0], np.int32),
    ):
        assert refusal(model(w, pad, p=pads)) == not_bounded("Pad", 1 << 16)
    computed = [w.node("Shape", "x", "p"), pad]
    assert refusal(model(w, *computed)) == not_bounded("Pad", 1 << 16)
    again = w.node("Pad", "y p", "y2")
    assert refusal(model(w, pad, again, p=numbers(0, 0, 0, 2049))) == (
        "its Pad operators add 4098; at most 4096 is taken"
    )


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("name", ["kernel_shape", "strides", "dilations", "pads"])
def test_numbers_of_convolutions_and_pools(refusal: Refusal, w: Writer, op: str, name: str) -> None:
    least = 0 if name == "pads" else 1  # pools divide by them
    for value, fits in ((64, True), (65, False), (1, True), (0, least == 0), (-1, False)):
        encoder = model(w, w.node(op, "w w", "y", w.attribute(name, [1, value])))
        if fits:
            assert admitted(encoder)
            continue
        found = [1, value % 2**64]
        assert refusal(encoder) == (f"operator {op} has {name} {found}; {least} to 64 are taken")


@pytest.mark.parametrize(
    ("op", "name", "most"),
    [
        ("Conv", "group", 1 << 28),
        ("ConvTranspose", "group", 1 << 28),
        ("DepthToSpace", "blocksize", 64),
        ("SpaceToDepth", "blocksize", 64),
        *((op, "hidden_size", 1 << 16) for op in ("GRU", "LSTM", "RNN")),
    ],
)
def test_numbers_that_are_divided_by(
    refusal: Refusal, w: Writer, op: str, name: str, most: int
) -> None:
    for value, fits in ((1, True), (most, True), (most + 1, False), (0, False), (1 << 32, False)):
        encoder = model(w, w.node(op, "w w", "y", w.attribute(name, value)))
        message = f"operator {op} has {name} [{value}]; 1 to {most} are taken"
        assert (message in complaints(encoder)) == (not fits)
    nothing = w.field(1, name) + w.field(20, 2)  # a number that is not written is 0
    assert refusal(model(w, w.node(op, "w w", "y", nothing))) == (
        f"operator {op} has {name} [0]; 1 to {most} are taken"
    )


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        ({"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}, True),
        ({"strides": [2], "output_padding": [1]}, True),
        ({"kernel_shape": [2, 2], "strides": [1]}, False),
        ({"kernel_shape": [2, 2], "pads": [0, 0]}, False),
        ({"pads": [0, 0, 0]}, True),  # which onnxruntime refuses
        ({"dilations": [1], "pads": [0, 0, 0]}, False),
        ({"strides": [2, 2], "output_padding": [9]}, False),
        ({"output_padding": [9]}, False),  # of an image: it reads past the end
    ],
)
def test_numbers_are_for_the_same_axes(
    refusal: Refusal, w: Writer, attributes: dict[str, list[int]], fits: bool
) -> None:
    given = [w.attribute(name, value) for name, value in attributes.items()]
    encoder = model(w, w.node("ConvTranspose", "w w", "y", *given))
    if fits:
        assert admitted(encoder)
    else:
        message = "operator ConvTranspose has numbers for more axes, and for fewer"
        assert refusal(encoder) == message


def test_what_convolutions_and_recurrent_operators_must_not_say(
    refusal: Refusal, w: Writer
) -> None:
    shape = w.attribute("output_shape", [4])
    assert refusal(model(w, w.node("ConvTranspose", "w w", "y", shape))) == (
        "operator ConvTranspose has output_shape, which is not taken"
    )
    for name in ("activation_alpha", "activation_beta"):  # a shorter list is read past its end
        floats = w.field(1, name) + w.field(7, b"\0\0\0\0") + w.field(20, 6)
        assert refusal(model(w, w.node("RNN", "w w w", "y", floats))) == (
            f"operator RNN has {name}, which is not taken"
        )


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_weights_of_recurrent_operators_are_those_of_their_size(
    refusal: Refusal, w: Writer, op: str, gates: int
) -> None:
    def recurrent(inputs: str, **tensors: tuple[int, ...]) -> bytes:
        node = w.node(op, inputs, "y", w.attribute("hidden_size", 5))
        zeros = {name: np.zeros(dims, np.float32) for name, dims in tensors.items()}
        return model(w, w.node("Identity", "r", "s"), node, **zeros)

    fitting = {"v": (2, 5 * gates, 3), "r": (2, 5 * gates, 5)}
    assert admitted(recurrent("x v r", **fitting))
    message = f"operator {op} must have constant weights, of its hidden_size"
    for encoder in (
        recurrent("x v r", **fitting | {"v": (2, 4 * gates, 3)}),
        recurrent("x v r", **fitting | {"v": (5 * gates,)}),
        recurrent("x v r", **fitting | {"r": (2, 4 * gates, 5)}),
        recurrent("x v r", **fitting | {"r": (2, 5 * gates, 4)}),
        recurrent("x v r", **fitting | {"r": (5 * gates, 5)}),
        recurrent("x v s", **fitting),  # computed, if only copied
        model(w, w.node(op, "x w", "y")),
    ):
        assert refusal(encoder) == message


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
def test_blocks_of_quantization(refusal: Refusal, w: Writer, op: str) -> None:
    encoder = model(w, w.node(op, "w w", "y", w.attribute("block_size", 2**31 - 1)))
    assert refusal(encoder) == f"operator {op} has block_size, which is not taken"


def test_axes(refusal: Refusal, w: Writer) -> None:
    for axis in (0, 1, 8, -1, -8):
        assert admitted(model(w, w.node("Softmax", "x", "y", w.attribute("axis", axis))))
    for axis in (9, -9, 1 << 32, I64_MAX, -(2**63)):
        encoder = model(w, w.node("Softmax", "x", "y", w.attribute("axis", axis)))
        assert refusal(encoder) == (
            f"operator Softmax has axis [{axis % 2**64}]; 0 to 8 are taken, or as many from the end"
        )


def test_what_convolutions_widen(refusal: Refusal, w: Writer) -> None:
    double = w.attribute("strides", [2, 1])
    nodes = [w.node("ConvTranspose", "w w", f"y{at}", double) for at in range(7)]
    assert admitted(model(w, *nodes[:6]))
    assert refusal(model(w, *nodes)) == (
        "its ConvTranspose operators widen 128 times; at most 64 is taken"
    )


def test_split_has_the_outputs_that_it_says(refusal: Refusal, w: Writer) -> None:
    # Else onnxruntime writes past the end of a list, or makes one of any length.
    message = "operator Split has not as many outputs as it says"
    for outputs, count in (("a b c", 1), ("a b", 3), ("a", 0), ("a", 1 << 28), ("a", -1)):
        split = w.node("Split", "x", outputs, w.attribute("num_outputs", count))
        assert refusal(model(w, split)) == message
    for outputs in ("a -", "- a", "-"):
        assert refusal(model(w, w.node("Split", "x halves", outputs), halves=numbers(3, 3))) == (
            message
        )
    assert admitted(model(w, w.node("Split", "x", "a b", w.attribute("num_outputs", 2))))
    assert admitted(model(w, w.node("Split", "x halves", "a b"), halves=numbers(3, 3)))


@pytest.mark.parametrize("op", sorted(admission.OPERATORS))
def test_inputs_that_are_left_out(w: Writer, op: str) -> None:
    for inputs in ("w - w", "- w", "w -"):
        found = [one for one in complaints(model(w, w.node(op, inputs, "y"))) if "lacks" in one]
        fits = op in admission.MAY_HAVE_GAPS
        assert found == [f"operator {op} lacks one of its inputs"] * (not fits)


RECURRENT = ("GRU", "LSTM", "RNN")


def fragile(w: Writer, *nodes: bytes, **tensors: Any) -> dict[str, bytes]:
    """Graphs in which the value v goes into each operator that must not be given nothing."""
    size = w.attribute("hidden_size", 1)
    given = {"GRU": "v k k", "LSTM": "v k k", "RNN": "v k k", "ConvTranspose": "v k"}
    given |= {"Conv": "k v", "TopK": "v one"}
    tensors |= {"k": np.ones((1, 1, 1), np.float32), "one": numbers(1)}
    return {
        op: model(w, *nodes, w.node(op, inputs, "y", *[size] * (op in RECURRENT)), **tensors)
        for op, inputs in (given | {"InstanceNormalization": "v k k"}).items()
    }


def full_ways(w: Writer) -> list[list[bytes]]:
    """Ways to v from x that leave something of whatever has elements."""
    axis = w.attribute("axis", 0)
    return [
        [w.node("Identity", "x", "v")],
        [w.node("Cast", "x", "a", w.to_float), w.node("Transpose", "a", "v")],
        [w.node("Reshape", "x any", "v")],
        [w.node("Slice", "x zero one", "v")],
        [w.node("Slice", "x minus far zero one", "v")],
        [w.node("Slice", "x minus near zero minus", "v")],  # backwards
        [w.node("Split", "x threes", "v rest")],
        [w.node("Pad", "x threes", "v")],
        [w.node("Tile", "x threes", "v")],
        [w.node("Expand", "x threes", "v")],
        [w.node("Shape", "x", "s"), w.node("ConstantOfShape", "s", "v")],
        [
            w.node("Shape", "x", "s"),
            w.node("Gather", "s zero", "rows"),
            w.node("Concat", "rows threes", "t", axis),
            w.node("Expand", "w t", "v"),
        ],
        [w.node("TopK", "x one", "v i")],
        [w.node("Resize", "x - double", "v")],
        [w.node("Resize", "x - - threes", "v")],
        [w.node("Gather", "x zero", "v")],
        [w.node("ReduceMean", "x zero", "v")],
        [w.node("GRU", "x w w", "v", w.attribute("hidden_size", 1))],
    ]


def empty_ways(w: Writer) -> list[list[bytes]]:
    """Ways to v from x that may leave nothing."""
    kernel = w.attribute("kernel_shape", [3])
    return [
        [w.node("Identity", "none", "v")],
        [w.node("Add", "x none", "v")],
        [w.node("Gather", "x none_chosen", "v")],
        [w.node("Slice", "x one far", "v")],
        [w.node("Slice", "x zero minus", "v")],
        [w.node("Slice", "x zero zero", "v")],
        [w.node("Slice", "x minus zero", "v")],
        [w.node("Slice", "x one far zero minus", "v")],
        [w.node("Slice", "x computed one", "v")],
        [w.node("Split", "x", "v rest", w.attribute("num_outputs", 2))],
        [w.node("Split", "x zero_one", "v rest")],
        [w.node("Pad", "x minus_one", "v")],
        [w.node("Tile", "x zero", "v")],
        [w.node("Expand", "x zero", "v")],
        [w.node("ConstantOfShape", "zero", "v")],
        [w.node("TopK", "x zero", "v i")],
        [w.node("Resize", "x - half", "v")],
        [w.node("Resize", "x - - zero", "v")],
        [w.node("MaxPool", "x", "v", kernel)],
        [w.node("AveragePool", "x", "v", kernel)],
        [w.node("Shape", "x", "s"), w.node("Cast", "s", "v", w.to_float)],  # of a scalar, nothing
        [w.node("Shape", "none", "s"), w.node("ConstantOfShape", "s", "v")],
        [w.node("Relu", "nowhere", "v")],
        [w.node("Constant", "", "v", w.attribute("value_float", 1.0))],
        [w.node("Identity", "b", "v"), w.node("Identity", "x", "b")],  # out of order
    ]


WAYS = {
    "zero": numbers(0),
    "one": numbers(1),
    "minus": numbers(-1),
    "far": numbers(I64_MAX),
    "near": numbers(-(2**63)),
    "any": numbers(-1, 2, 3),
    "threes": numbers(3, 3, 3, 3)[:2],
    "double": np.array([1, 2], np.float32),
    "half": np.array([1, 0.5], np.float32),
    "zero_one": numbers(0, 1),
    "minus_one": numbers(0, 0, -1, 0),
    "none": np.empty((3, 0, 2), np.float32),
    "none_chosen": numbers(),
}


def empty(raw: bytes) -> list[str]:
    """Complaints of values that could be without elements."""
    return [complaint for complaint in complaints(raw) if complaint.endswith("without elements")]


def test_what_keeps_elements_may_go_anywhere(w: Writer) -> None:
    for way in full_ways(w):
        for op, encoder in fragile(w, *way, **WAYS).items():
            assert empty(encoder) == [], (op, way)


def test_what_may_be_empty_goes_nowhere_that_crashes(refusal: Refusal, w: Writer) -> None:
    # Recurrent operators abort, the others read at null, when a tensor has no elements.
    for way in empty_ways(w):
        for op, encoder in fragile(w, *way, **WAYS).items():
            complaint = f"operator {op} takes 'v', which could be without elements"
            assert empty(encoder) == [complaint], (op, way)
    assert refusal(encoder) == complaint


def test_weights_of_fragile_operators_have_elements(w: Writer) -> None:
    for op in admission.FULL_ONLY:
        encoder = model(w, w.node(op, "x none none", "y"), none=np.empty((1, 0), np.float32))
        complaint = f"operator {op} takes 'none', which could be without elements"
        assert empty(encoder) == [complaint] * 2


def test_a_mixed_table_without_numbers_goes_nowhere_that_crashes(w: Writer) -> None:
    nothing = (w.port("x", 11, ["batch", 0]),)
    encoder = w.model(graph=w.field(1, w.node("RNN", "x w w", "y")), inputs=nothing)
    assert empty(encoder) == ["operator RNN takes 'x', which could be without elements"]


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (numbers(0, 2, 3), True),  # the rows, then groups and their elements
        (numbers(-1, 2, 3, 4), True),
        (numbers(2, 2, 0), False),
        (numbers(0, 2, -1), False),
        (numbers(0, 0, 3), False),
        (numbers(0, 2), False),
    ],
)
def test_reshape_says_that_groups_have_elements(w: Writer, shape: np.ndarray, fits: bool) -> None:
    nodes = (
        w.node("MaxPool", "x", "p", w.attribute("kernel_shape", [2])),
        w.node("Reshape", "p s", "v"),
    )
    for op, encoder in fragile(w, *nodes, s=shape).items():
        assert (empty(encoder) == []) == (fits and op == "InstanceNormalization")
