"""Numbers and shapes that a graph may ask for: known, bounded, and fitting one another.

What the loader is kept from was met with onnxruntime 1.23 and 1.32. No graph here reaches it: each
holds an operator on a type that it does not take, which every onnxruntime refuses to load.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import BundleRefused
from ae_runtime.graphs import admission
from ae_runtime.graphs.graph import read_graph
from ae_runtime.graphs.operators import OPERATORS

Refusal = Callable[[bytes], str]
Writer = SimpleNamespace
I64_MAX = 2**63 - 1
X, Z = Port("x", "float64", [None, 6]), Port("z", "float32", [None, 2])


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def reals(*dims: int) -> np.ndarray:
    return np.ones(dims, np.float32)


def model(w: Writer, *nodes: bytes, **tensors: Any) -> bytes:
    """The encoder of w.model with nodes that lead nowhere beside it, and tensors by their names.

    The first node is a Not of real numbers: onnxruntime loads no such graph, and the loader, which
    does not check types, says nothing of it.
    """
    made = tuple(w.tensor(name, values) for name, values in tensors.items())
    body = b"".join(w.field(1, node) for node in [w.node("Not", "w", "never"), *nodes])
    return w.model(tensors=made, graph=body)


def complaint(raw: bytes) -> str:
    """What is said against a graph; nothing if it is admitted."""
    try:
        admission.admit("", raw, [X], [Z])
    except BundleRefused as error:
        return str(error).removeprefix(": ")
    return ""


NOT_KNOWN = "is given a shape that is not known; sizes must be constants, or come from Shape"
UNEVEN = "gives a value whose size does not grow evenly with rows, or without end"
# What takes a shape s, and one that fits.
EXPANDING = {"Expand": "x s", "ConstantOfShape": "s", "Tile": "x s", "Resize": "x - - s"}


@pytest.mark.parametrize("op", EXPANDING)
@pytest.mark.parametrize(
    "shape",
    [
        np.array([3, 4], np.int32),
        np.array([3, 4], np.float32),
        numbers(*[1] * 65),  # no shape has so many; each node would read all of them
        numbers(3, 4).reshape(2, 1),
    ],
)
def test_shapes_that_are_not_known(refusal: Refusal, w: Writer, op: str, shape: np.ndarray) -> None:
    assert (
        refusal(model(w, w.node(op, EXPANDING[op], "y"), s=shape)) == f"operator {op} {NOT_KNOWN}"
    )


@pytest.mark.parametrize("op", ["Expand", "ConstantOfShape", "Tile", "Resize", "Reshape"])
def test_shapes_that_are_computed_of_rows(refusal: Refusal, w: Writer, op: str) -> None:
    given = (EXPANDING | {"Reshape": "x s"})[op]
    to_int64, nothing = w.attribute("to", 7), w.attribute("value_string", "12")
    for nodes in (
        [w.node("Cast", "x", "s", to_int64)],
        [w.node("ArgMax", "x", "s")],
        [w.node("Shape", "x", "d"), w.node("Mul", "d d", "s")],  # the square of the rows
        [w.node("Max", "three three", "s")],
        [w.node("Cast", "three", "u", w.attribute("to", 2)), w.node("Cast", "u", "s", to_int64)],
    ):
        encoder = model(w, *nodes, w.node(op, given, "y"), three=numbers(3, -1))
        assert refusal(encoder) == f"operator {op} {NOT_KNOWN}"
    assert refusal(model(w, w.node(op, "x" if op != "Resize" else "x - -", "y"))) == {
        "ConstantOfShape": f"operator {op} {NOT_KNOWN}",
        "Resize": "operator Resize must be given either scales or sizes",
    }.get(op, f"operator {op} lacks one of its inputs")
    assert refusal(model(w, w.node("Constant", "", "s", nothing), w.node(op, given, "y"))) == (
        "operator Constant has 'value_string', which is not taken"
    )


def shape_nodes(w: Writer) -> dict[str, list[bytes]]:
    """Ways to compute s, two numbers, from Shape of x, which is (batch, 6), and from constants."""
    dims, axis = w.node("Shape", "x", "d"), w.attribute("axis", 0)
    rows = w.node("Gather", "d first", "r")
    return {
        "shape": [w.node("Shape", "x", "s")],
        "its start": [w.node("Shape", "v", "s", w.attribute("end", 2))],
        "one dim and constants": [
            dims,
            w.node("Slice", "d zero one", "b"),
            w.node("Concat", "b six", "s", axis),
        ],
        "calculated": [
            dims,
            rows,
            w.node("Mul", "r two", "m"),
            w.node("Add", "m six", "a"),
            w.node("Sub", "a r", "b"),
            w.node("Sub", "b six", "c"),  # the rows again
            w.node("Concat", "c six", "s", axis),
        ],
        "cast and squeezed": [
            dims,
            w.node("Cast", "d", "c", w.attribute("to", 7)),
            w.node("Unsqueeze", "c zero", "u"),
            w.node("Squeeze", "u zero", "s"),
        ],
        "backwards twice": [
            dims,
            w.node("Slice", "d minus near zero minus", "e"),
            w.node("Slice", "e minus near zero minus", "s"),
        ],
        "chosen": [dims, w.node("Gather", "d both", "s")],
        "constants": [
            w.node("Constant", "", "s", w.attribute("value", w.tensor("", numbers(1, 6))))
        ],
        "whole numbers": [w.node("Constant", "", "s", w.attribute("value_ints", [1, 6]))],
        "one whole number": [
            w.node("Constant", "", "o", w.attribute("value_int", 1)),
            w.node("Unsqueeze", "o zero", "u"),
            w.node("Concat", "u six", "s", axis),
        ],
    }


CONSTANTS = {
    **{"zero": numbers(0), "one": numbers(1), "two": numbers(2), "six": numbers(6)},
    **{"minus": numbers(-1), "near": numbers(-(2**63)), "far": numbers(I64_MAX)},
    **{"first": numbers(0), "both": numbers(0, -1)},
}


@pytest.mark.parametrize("op", [*EXPANDING, "Reshape"])
def test_shapes_that_come_from_shape(w: Writer, op: str) -> None:
    given = EXPANDING | {"Expand": "w6 s", "Tile": "w6 s", "Resize": "w6 - - s"}
    seed = w.node("Unsqueeze", "x two", "v")
    for way, nodes in shape_nodes(w).items():
        rows = way not in ("constants", "whole numbers", "one whole number")
        source = "x s" if rows else "w6 s"
        encoder = model(
            w,
            seed,
            *nodes,
            # Resize makes one row of many here; each takes numbers that depend on the rows.
            w.node(op, source if op == "Reshape" else given[op], "y"),
            w6=reals(1, 6),
            **CONSTANTS,
        )
        unknown = f"operator {op} is given numbers that depend on how many rows there are"
        assert complaint(encoder) == (unknown if op == "Resize" and rows else ""), way


def test_a_shape_that_doubles_with_every_operator(refusal: Refusal, w: Writer) -> None:
    names = ["one", *(f"v{at}" for at in range(60))]
    axis = w.attribute("axis", 0)
    doubled = [w.node("Concat", f"{a} {a}", b, axis) for a, b in pairwise(names)]
    encoder = model(w, *doubled, w.node("Expand", f"x {names[-1]}", "y"), one=numbers(1))
    # And at once: there are 2**60 ones in it.
    assert refusal(encoder) == f"operator Concat {UNEVEN}"
    few = model(w, *doubled[:7], w.node("Expand", f"x {names[7]}", "y"), one=numbers(1))
    assert refusal(few) == f"operator Expand {NOT_KNOWN}"


def test_numbers_past_those_of_int64_are_not_known(refusal: Refusal, w: Writer) -> None:
    nodes = [
        w.node("Mul", "big big", "a"),
        w.node("Mul", "a big", "b"),
        w.node("Expand", "x b", "y"),
    ]
    assert refusal(model(w, *nodes, big=numbers(2**31))) == f"operator Expand {NOT_KNOWN}"
    nodes[2] = w.node("ConstantOfShape", "a", "y")
    assert refusal(model(w, *nodes, big=numbers(2**31))) == f"operator ConstantOfShape {UNEVEN}"


def rows(what: str, first: str = "(0, 6)") -> str:
    return f"value 'y' has shape {what}, but {first} for one row"


def test_rows_stand_alone(refusal: Refusal, w: Writer) -> None:
    """Values of which one row has another share are refused, whatever makes them."""
    flat = w.node("Reshape", "x minus", "f")
    spatial = [w.node("Transpose", "x", "t"), w.node("Unsqueeze", "t zero", "u")]
    kernel, strides = w.attribute("kernel_shape", [2]), w.attribute("strides", [2])
    ones = w.attribute("kernel_shape", [1])
    for nodes, message in (
        ([w.node("Slice", "x zero three", "y")], rows("(3, 6)", "(1, 6)")),
        ([w.node("Slice", "x one three", "y")], rows("(2, 6)")),
        ([w.node("Slice", "x minus_three far", "y")], rows("(3, 6)", "(1, 6)")),
        ([w.node("Slice", "x one far", "y")], f"operator Slice {UNEVEN}"),
        ([w.node("Slice", "x zero minus", "y")], f"operator Slice {UNEVEN}"),
        ([w.node("Slice", "x zero far zero three", "y")], f"operator Slice {UNEVEN}"),
        ([w.node("Slice", "x zero far zero far", "y")], f"operator Slice {UNEVEN}"),
        ([flat, w.node("Reshape", "f fours", "y")], f"operator Reshape {UNEVEN}"),
        ([w.node("Reshape", "x threes", "y")], "operator Reshape cannot make (3, 6) of (batch, 6)"),
        ([w.node("Reshape", "x four_any", "y")], f"operator Reshape {UNEVEN}"),
        ([w.node("Squeeze", "x", "y")], rows("(batch, 6)", "(6)")),
        ([w.node("Add", "x five", "y")],
         "operator Add takes (batch, 6) and (5, 1), which do not fit"),
        ([w.node("Mul", "x s", "y"), w.node("Shape", "x", "s")],
         "operator Mul takes 's', which nothing gives before it"),
        ([w.node("Expand", "x threes", "y")],
         "operator Expand takes (batch, 6) and (3, 6), which do not fit"),
        ([w.node("MatMul", "x x", "y")],
         "operator MatMul takes (batch, 6) and (batch, 6), which do not fit"),
        ([w.node("Split", "x", "y y2", w.attribute("num_outputs", 2))], f"operator Split {UNEVEN}"),
        ([*spatial, w.node("MaxPool", "u", "y", ones, strides)], f"operator MaxPool {UNEVEN}"),
        ([*spatial, w.node("MaxPool", "u", "y", kernel)], f"operator MaxPool {UNEVEN}"),
        ([w.node("Resize", "x - half", "y")],
         "operator Resize is given factor 0.5 for an axis of (batch)"),
        # Pairs of all rows, and of pairs.
        ([w.node("Unsqueeze", "x zero", "u"), w.node("Unsqueeze", "x one", "v"),
          w.node("Add", "u v", "y")],
         "operator Add gives a value of (batch, batch, 6), which grows faster than rows"),
    ):  # fmt: skip
        encoder = model(
            w,
            *nodes,
            **CONSTANTS,
            three=numbers(3),
            minus_three=numbers(-3),
            fours=numbers(4, -1),
            four_any=numbers(4, -1),
            threes=numbers(3, 6),
            five=np.ones((5, 1)),
            half=np.array([0.5, 1], np.float32),
        )
        assert refusal(encoder) == message


def test_numbers_of_rows_choose_nothing(refusal: Refusal, w: Writer) -> None:
    # Of a bundle tuned to be small for one row and for many, and not in between.
    shape = [w.node("Shape", "x", "d"), w.node("Slice", "d zero one", "r")]
    for op, inputs in {
        "Slice": "table r far",
        "Gather": "numbers r",
        "Pad": "table pads",
        "TopK": "table r",
        "Split": "table pads",
    }.items():
        outputs = "y y2" if op in ("TopK", "Split") else "y"
        nodes = [
            *shape,
            w.node("Concat", "r r", "pads", w.attribute("axis", 0)),
            w.node(op, inputs, outputs),
            *[w.node("Expand", "x y", "e")] * (op == "Gather"),
        ]
        encoder = model(w, *nodes, table=reals(9), numbers=numbers(1, 1, 9), **CONSTANTS)
        assert refusal(encoder) == (
            f"operator {op} is given numbers that depend on how many rows there are"
        )


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (np.array([1, 0], np.float32), "is given factor 0 for an axis of (6)"),
        (np.array([1, -2], np.float32), "is given factor -2 for an axis of (6)"),
        (np.array([1, np.nan], np.float32), "is given factor nan for an axis of (6)"),
        (np.array([1, np.inf], np.float32), "is given factor inf for an axis of (6)"),
        (np.array([1, 1e30], np.float32), UNEVEN),
        (np.array([], np.float32), "must be given either scales or sizes"),
        (np.array([1], np.float32), "is not given a constant size for each axis of (batch, 6)"),
        (np.array([1, 2], np.float64), "is not given a constant size for each axis of (batch, 6)"),
        (np.ones(65, np.float32), "is not given a constant size for each axis of (batch, 6)"),
    ],
)
def test_factors_of_resize(refusal: Refusal, w: Writer, scales: np.ndarray, message: str) -> None:
    encoder = model(w, w.node("Resize", "x - f", "y"), f=scales)
    assert refusal(encoder) == f"operator Resize {message}"


def test_factors_of_resize_are_constants(refusal: Refusal, w: Writer) -> None:
    computed = [w.node("Cast", "x", "f", w.to_float), w.node("Resize", "x - f", "y")]
    assert refusal(model(w, *computed)) == (
        "operator Resize is not given a constant size for each axis of (batch, 6)"
    )
    both = w.node("Resize", "x - f s", "y")
    assert refusal(model(w, both, f=reals(2), s=numbers(1, 6))) == (
        "operator Resize must be given either scales or sizes"
    )


def test_sizes_of_resize_are_what_they_say(refusal: Refusal, w: Writer) -> None:
    def resize(policy: str) -> bytes:
        attribute = w.attribute("keep_aspect_ratio_policy", policy)
        return model(w, w.node("Resize", "v - - s", "y", attribute), s=numbers(4, 4), v=reals(2, 3))

    assert complaint(resize("stretch")) == ""
    for policy in ("not_larger", "not_smaller"):
        assert refusal(resize(policy)) == (
            "operator Resize has a keep_aspect_ratio_policy, which is not taken"
        )


def test_padding(refusal: Refusal, w: Writer) -> None:
    pad = w.node("Pad", "x p", "y")
    for pads in (numbers(0, 0, 0, 0), numbers(0, -1, 0, 4093), numbers(0, -5, 0, 0)):
        assert complaint(model(w, pad, p=pads)) == ""
    for pads, message in (
        (numbers(0, 0, 0, I64_MAX), UNEVEN),
        (numbers(0, 0, 0, -(2**63)), f"takes {2**63} away from axis 1 of (batch, 6)"),
        (numbers(0, 0, 0, -6), "takes 6 away from axis 1 of (batch, 6)"),
        (numbers(0, -6, 0, 6), "takes 6 away from axis 1 of (batch, 6)"),  # 1.23 reads at null
        (numbers(0, 0, 0), "is given 3 numbers for 2 axes"),
        (np.array([0, 0, 0, 0], np.int32), NOT_KNOWN),
    ):
        assert refusal(model(w, pad, p=pads)) == f"operator Pad {message}"
    again = w.node("Pad", "x p - a", "y")
    assert refusal(model(w, again, p=numbers(0, 1), a=numbers(2))) == (
        "operator Pad has axis 2 of a value with 2 axes"
    )


# Inputs that fit: of an image, and of weights.
IMAGE = {"i": reals(1, 1, 70, 70), "k": reals(1, 1, 1, 1)}
WINDOWED = {"Conv": "i k", "ConvTranspose": "i k", "MaxPool": "i", "AveragePool": "i"}


@pytest.mark.parametrize("op", WINDOWED)
@pytest.mark.parametrize("name", ["kernel_shape", "strides", "dilations", "pads"])
def test_numbers_of_convolutions_and_pools(refusal: Refusal, w: Writer, op: str, name: str) -> None:
    least = 0 if name == "pads" else 1  # pools divide by them
    shape = w.attribute("kernel_shape", [1, 1])
    for value in (65, 0, -1, 1 << 32):
        if value >= least and value < 65:
            continue
        encoder = model(w, w.node(op, "w w", "y", w.attribute(name, [1, value])))
        assert refusal(encoder) == f"operator {op} has {name} {[1, value]}; {least} to 64 are taken"
    if name in ("strides", "dilations"):
        for value in (1, 64):
            given = w.node(op, WINDOWED[op], "y", shape, w.attribute(name, [1, value]))
            assert complaint(model(w, given, **IMAGE)) == ""


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
    for value in (most + 1, 0, 1 << 32):
        encoder = model(w, w.node(op, "w w", "y", w.attribute(name, value)))
        assert refusal(encoder) == f"operator {op} has {name} [{value}]; 1 to {most} are taken"
    nothing = w.field(1, name) + w.field(20, 2)  # a number that is not written is 0
    assert refusal(model(w, w.node(op, "w w", "y", nothing))) == (
        f"operator {op} has {name} [0]; 1 to {most} are taken"
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}, ""),
        ({"strides": [2, 2], "output_padding": [1, 0]}, ""),
        ({"strides": [2]}, "has 1 strides; it must have 2"),
        ({"kernel_shape": [2, 2], "pads": [0, 0]}, "has 2 pads; it must have 4"),
        ({"pads": [0, 0, 0]}, "has 3 pads; it must have 4"),
        ({"dilations": [1, 1, 1]}, "has 3 dilations; it must have 2"),
        ({"strides": [2, 2], "output_padding": [1]}, "has 1 output_padding; it must have 2"),
        (
            {"strides": [2, 2], "output_padding": [0, 2]},
            "has output_padding [0, 2], which is not less than its strides",
        ),
        # Of an image, 1.23 reads past the end.
        ({"output_padding": [9]}, "has 1 output_padding; it must have 2"),
        ({"kernel_shape": [2, 3]}, "has kernel_shape [2, 3], and weights of (2, 2)"),
        ({"kernel_shape": [2]}, "has 1 kernel_shape; it must have 2"),
        ({"pads": [9, 9, 9, 9]}, "makes nothing of (1, 2, 3, 3)"),
        ({"group": 2}, ""),
        ({"group": 3}, "takes (1, 2, 3, 3) and weights (2, 1, 2, 2), which do not fit"),
    ],
)
def test_numbers_are_for_the_axes_that_there_are(
    w: Writer, attributes: dict[str, list[int]], message: str
) -> None:
    given = [w.attribute(name, value) for name, value in attributes.items()]
    encoder = model(
        w, w.node("ConvTranspose", "i k", "y", *given), i=reals(1, 2, 3, 3), k=reals(2, 1, 2, 2)
    )
    assert complaint(encoder) == (message and f"operator ConvTranspose {message}")


@pytest.mark.parametrize(
    ("x", "weights", "message"),
    [
        ((1, 2, 6), (4, 2, 3), ""),
        # Weights of another rank end the process in 1.23.
        ((1, 2, 6), (4, 2, 3, 3), "takes (1, 2, 6) and weights (4, 2, 3, 3), which do not fit"),
        ((1, 2, 6, 6), (4, 2, 3), "takes (1, 2, 6, 6) and weights (4, 2, 3), which do not fit"),
        ((1, 2, 6), (4, 2), "takes (1, 2, 6) and weights (4, 2), which do not fit"),
        ((1, 3, 6), (4, 2, 3), "takes (1, 3, 6) and weights (4, 2, 3), which do not fit"),
        ((2, 6), (4, 2), "takes (2, 6); it must have 3 axes or more"),
        ((1, 2, 6), (4, 2, 7), "has a kernel of [7] on (6), which is larger"),
        ((1, 2, 0), (4, 2, 1), "has a kernel of [1] on (0), which is larger"),
    ],
)
def test_weights_of_convolutions_fit(
    w: Writer, x: tuple[int, ...], weights: tuple[int, ...], message: str
) -> None:
    encoder = model(w, w.node("Conv", "i k", "y"), i=reals(*x), k=reals(*weights))
    assert complaint(encoder) == (message and f"operator Conv {message}")


def test_what_convolutions_and_recurrent_operators_must_not_say(
    refusal: Refusal, w: Writer
) -> None:
    shape = w.attribute("output_shape", [4])
    assert refusal(model(w, w.node("ConvTranspose", "w w", "y", shape))) == (
        "operator ConvTranspose has output_shape, which is not taken"
    )
    for name in ("activation_alpha", "activation_beta"):  # 1.23 reads a shorter list past its end
        floats = w.field(1, name) + w.field(7, b"\0\0\0\0") + w.field(20, 6)
        assert refusal(model(w, w.node("RNN", "w w w", "y", floats))) == (
            f"operator RNN has {name}, which is not taken"
        )


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_weights_of_recurrent_operators_are_those_of_their_size(
    refusal: Refusal, w: Writer, op: str, gates: int
) -> None:
    def recurrent(inputs: str = "t v r", way: str = "forward", **dims: tuple[int, ...]) -> bytes:
        given = [w.attribute("hidden_size", 5), w.attribute("direction", way)]
        found = {"t": (4, 2, 3), "v": (1, 5 * gates, 3), "r": (1, 5 * gates, 5)} | dims
        values = {name: reals(*sizes) for name, sizes in found.items()}
        return model(w, w.node(op, inputs, "y", *given), **values)

    assert complaint(recurrent()) == ""
    both = {"v": (2, 5 * gates, 3), "r": (2, 5 * gates, 5)}
    assert complaint(recurrent(way="bidirectional", **both)) == ""
    # onnxruntime 1.23 reads as many as hidden_size says, whether they are there or not.
    for dims in (
        both,
        {"v": (1, 4 * gates, 3)},
        {"v": (5 * gates,)},
        {"v": (1, 5 * gates, 2)},
        {"r": (1, 4 * gates, 5)},
        {"r": (1, 5 * gates, 4)},
        {"r": (5 * gates, 5)},
    ):
        message = refusal(recurrent(**dims))
        assert message.startswith(f"operator {op} takes (4, 2, 3) and weights (")
        assert message.endswith("), which do not fit")
    for at, fits in enumerate([(1, 10 * gates), (2,), (1, 2, 5)], 3):
        gaps = " -" * (at - 3)
        assert complaint(recurrent(f"t v r{gaps} e", e=fits)) == ""
        found = "(" + ", ".join(map(str, [*fits[:-1], fits[-1] + 1])) + ")"
        wanted = "(" + ", ".join(map(str, fits)) + ")"
        assert refusal(recurrent(f"t v r{gaps} e", e=(*fits[:-1], fits[-1] + 1))) == (
            f"operator {op} takes {found} where it needs {wanted}"
        )
    assert refusal(model(w, w.node(op, "x w", "y"))) == (
        f"operator {op} takes (batch, 6); it must have 3 axes or more"
    )


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
def test_blocks_of_quantization(refusal: Refusal, w: Writer, op: str) -> None:
    encoder = model(w, w.node(op, "w w", "y", w.attribute("block_size", 2)))
    assert refusal(encoder) == f"operator {op} has block_size, which is not taken"


def test_axes(refusal: Refusal, w: Writer) -> None:
    for axis in (0, 1, -1, -2):
        assert complaint(model(w, w.node("Softmax", "x", "y", w.attribute("axis", axis)))) == ""
    # Of a number of 64 bits onnxruntime 1.23 keeps some.
    for axis in (2, -3, 9, -9, I64_MAX, -(2**63)):
        encoder = model(w, w.node("Softmax", "x", "y", w.attribute("axis", axis)))
        assert refusal(encoder) == f"operator Softmax has axis {axis} of a value with 2 axes"


# An axis that is absurd, given to whatever has axes, as an attribute or as an input.
@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        *(("ArgMax", "w"), ("Concat", "w w"), ("Flatten", "w"), ("Gather", "w i"), ("TopK", "w i")),
        *(("LogSoftmax", "w"), ("LayerNormalization", "w w"), ("Split", "w i")),
        *(("QuantizeLinear", "w v v8"), ("DequantizeLinear", "v28 v v8")),
    ],
)
def test_axes_of_every_operator(refusal: Refusal, w: Writer, op: str, inputs: str) -> None:
    outputs = "y y2" if op == "TopK" else "y"
    for axis in (3, -3, 9):
        encoder = model(
            w,
            w.node(op, inputs, outputs, w.attribute("axis", axis)),
            i=numbers(1),
            v=reals(2),
            v8=np.zeros(2, np.uint8),
            v28=np.zeros((6, 2), np.uint8),
        )
        assert refusal(encoder) == f"operator {op} has axis {axis} of a value with 2 axes"


@pytest.mark.parametrize("op", ["Squeeze", "ReduceMean", "Unsqueeze"])
def test_axes_that_are_given(refusal: Refusal, w: Writer, op: str) -> None:
    for axis in (3, -4, 9, -9):
        encoder = model(w, w.node(op, "w a", "y"), a=numbers(axis))
        rank = 3 if op == "Unsqueeze" else 2
        assert refusal(encoder) == f"operator {op} has axis {axis} of a value with {rank} axes"


def test_split_has_the_outputs_that_it_says(refusal: Refusal, w: Writer) -> None:
    # Else onnxruntime 1.23 writes past the end of a list, or makes one of any length.
    message = "operator Split has not as many outputs as it says"
    for outputs, count in (("a b c", 2), ("a b", 3), ("a", 0), ("a", 2)):
        split = w.node("Split", "x", outputs, w.attribute("num_outputs", count))
        assert refusal(model(w, split)) == message
    for outputs in ("a -", "- a", "-"):
        assert refusal(model(w, w.node("Split", "x halves", outputs), halves=numbers(3, 3))) == (
            message
        )
    axis = w.attribute("axis", 1)
    assert (
        complaint(model(w, w.node("Split", "x", "a b", axis, w.attribute("num_outputs", 2)))) == ""
    )
    split = w.node("Split", "x halves", "a b", axis)
    assert complaint(model(w, split, halves=numbers(3, 3))) == ""
    assert refusal(model(w, split, halves=numbers(3, 4))) == (
        "operator Split cannot split (batch, 6) into 2 along axis 1"
    )


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_inputs_that_are_left_out(w: Writer, op: str) -> None:
    for inputs in ("w - w", "- w", "w -"):
        # Max and Min of 1.23 and 1.32 read at null, and the process ends.
        graph = read_graph(model(w, w.node(op, inputs, "y")))
        found = [one for check in admission.CHECKS for one in check(graph) if "lacks" in one]
        fits = OPERATORS[op].skips_inputs
        assert found == [f"operator {op} lacks one of its inputs"] * (not fits)


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - {"Constant"}))
def test_inputs_that_there_are_not(w: Writer, op: str) -> None:
    for inputs in ("", "-"):
        assert complaint(model(w, w.node(op, inputs, "y"))) != "", inputs


def test_outputs_that_there_are_not(refusal: Refusal, w: Writer) -> None:
    assert refusal(model(w, w.node("Relu", "x", "y y2"))) == "operator Relu has 2 outputs"
    assert refusal(model(w, w.node("Relu", "x", ""))) == "operator Relu has 0 outputs"


def test_flags_are_0_or_1(refusal: Refusal, w: Writer) -> None:
    encoder = model(w, w.node("ReduceMax", "w", "y", w.attribute("keepdims", 2)))
    assert refusal(encoder) == "operator ReduceMax has keepdims 2; 0 or 1 is taken"


RECURRENT = ("GRU", "LSTM", "RNN")
NONEMPTY = sorted(name for name, op in OPERATORS.items() if op.nonempty_from is not None)


def fragile(w: Writer, op: str, *nodes: bytes, **tensors: Any) -> bytes:
    """A graph in which a value v of 3 axes goes into an operator that must not be given nothing."""
    size = [w.attribute("hidden_size", 1)] * (op in RECURRENT)
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}.get(op, 1)
    tensors |= {"k": reals(1, gates, 1), "o": reals(1), "one": numbers(1)}
    inputs = dict.fromkeys(RECURRENT, "v k k") | {"ConvTranspose": "v k", "Conv": "k v"}
    inputs |= {"TopK": "v one", "InstanceNormalization": "v o o"}
    outputs = "y y2" if op == "TopK" else "y"
    return model(w, *nodes, w.node(op, inputs.get(op, "v"), outputs, *size), **tensors)


@pytest.mark.parametrize("op", NONEMPTY)
def test_what_is_empty_goes_nowhere_that_crashes(refusal: Refusal, w: Writer, op: str) -> None:
    # Of 1.23 recurrent operators and convolutions end the process, as do TopK and
    # InstanceNormalization; of 1.32 the recurrent ones and InstanceNormalization. Reductions read
    # at null or give what is not there.
    ways = [
        [w.node("Identity", "none", "v")],
        [w.node("Expand", "o zeros", "v")],
        [w.node("ConstantOfShape", "zeros", "v")],
        [w.node("Slice", "k end end", "v")],
        [w.node("Gather", "k none_chosen", "v")],
        [w.node("Reshape", "none zeros", "v", w.attribute("allowzero", 1))],
        [w.node("Tile", "k zeros", "v")],
        [w.node("TopK", "k zero", "v i")],
        [w.node("Split", "k zero_one", "v rest")],
        [w.node("Resize", "k - - zeros", "v")],
        [w.node("Mul", "k none", "v")],
    ]
    tensors = {
        **{"zeros": numbers(1, 0, 1), "zero": numbers(0), "zero_one": numbers(0, 1)},
        **{"end": numbers(9), "none": reals(1, 0, 1), "none_chosen": numbers()},
    }
    for way in ways[: -1 if op in RECURRENT else None]:
        first = w.node("TopK", "k zero", "v i")
        found = refusal(fragile(w, op, *way, **tensors))
        if way == [first] or b"Mul" in way[0]:
            continue
        assert found == f"operator {op} takes 'v', which is without elements", way


def test_what_pools_leave_may_go_anywhere(w: Writer) -> None:
    # Before shapes were known, nothing behind a pool was sure to have elements.
    pool = w.node("MaxPool", "wide", "v", w.attribute("kernel_shape", [2]))
    for op in NONEMPTY:
        assert complaint(fragile(w, op, pool, wide=reals(1, 1, 2))) == "", op


def test_a_mixed_table_without_numbers_goes_nowhere_that_crashes(w: Writer) -> None:
    nothing = (w.port("x", 11, ["batch", 0]),)
    encoder = w.model(graph=w.field(1, w.node("ReduceMax", "x", "y")), inputs=nothing)
    with pytest.raises(BundleRefused) as caught:
        admission.admit("", encoder, [Port("x", "float64", [None, 0])], [Z])
    assert str(caught.value) == (": operator MatMul takes (batch, 0) and (6, 2), which do not fit")
