"""What a graph computes, by numpy in float64, with a bound on what float32 may make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bounds import (
    OF_A_CURVE,
    Value,
    add,
    eps,
    exact,
    logistic,
    matmul,
    moved,
    multiply,
    rising,
    rounded,
    subtract,
    tanh,
)
from onnx_wire import Array, Model, Node, read_model

MOST_X = 204  # steps that ae_export calibrates x to


class Reference:
    """A graph, interpreted."""

    def __init__(self, raw: bytes) -> None:
        self.model: Model = read_model(raw)

    def __call__(self, *inputs: Value) -> list[Value]:
        """The outputs for inputs in the graph's order."""
        known = {name: exact(value) for name, value in self.model.constants.items()}
        known |= dict(zip(self.model.inputs, inputs, strict=True))
        with np.errstate(all="ignore"):
            for node in self.model.nodes:
                given = [known[name] if name else None for name in node.inputs]
                found = OPERATORS[node.op](node, *given)
                found = found if isinstance(found, list) else [found]
                known |= zip(node.outputs, found, strict=True)
        return [known[name] for name in self.model.outputs]


def _binary(operator: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda _, a, b: operator(a, b)


def _gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Value:
    taken = {"alpha": 1.0, "beta": 1.0, "transA": 0} | node.attributes
    assert (taken["alpha"], taken["beta"], taken["transA"]) == (1, 1, 0)
    if taken.get("transB"):
        b = moved(b, np.transpose)
    return matmul(a, b, c or exact(np.zeros(1, a.dtype)))


def _clip(_: Node, x: Value, low: Value, high: Value) -> Value:
    return rising(lambda v: np.clip(v, float(low.centre), float(high.centre)), x)


def _cast(node: Node, x: Value) -> Value:
    dtype = np.dtype({1: "f4", 2: "u1", 6: "i4", 7: "i8", 11: "f8"}[node.attributes["to"]])
    if dtype.kind != "f":
        return Value(x.centre, x.radius, dtype)  # what comes here is whole, and in range
    centre = x.centre.astype(np.float64)
    return rounded(centre, x.radius, dtype)


def _softmax(node: Node, x: Value) -> Value:
    """Each share from its own end and the other ends of the rest."""
    assert node.attributes["axis"] in (1, -1)
    least, most = (_share(x, sign) for sign in (-1, 1))
    slack = (x.centre.shape[1] + 16) * eps(x.dtype)
    return Value((least + most) / 2, (most - least) / 2 + slack * most + OF_A_CURVE / 8, x.dtype)


def _share(x: Value, sign: int) -> Array:
    """The least (-1) or the largest (1) that each share of a softmax may be."""
    own, rest = x.centre + sign * x.radius, x.centre - sign * x.radius
    ratios = np.exp(rest[:, None, :] - own[:, :, None])  # (B, L, L), infinite where it is nothing
    at = np.arange(own.shape[1])
    ratios[:, at, at] = 1
    return 1 / ratios.sum(axis=2)


def _argmax(node: Node, x: Value) -> Value:
    """The first of the places that may hold the largest, up to the last of them."""
    assert node.attributes["keepdims"] == 1
    axis = node.attributes["axis"]
    best = (x.centre - x.radius).max(axis=axis, keepdims=True)
    may = x.centre + x.radius >= best
    last = x.centre.shape[axis] - 1 - np.flip(may, axis).argmax(axis=axis, keepdims=True)
    first = may.argmax(axis=axis, keepdims=True)
    # Of equals, known as such, it is the first.
    equal = (x.radius == 0).all(axis=axis, keepdims=True)
    last = np.where(equal, first, last)
    return Value((first + last) / 2, (last - first) / 2, np.dtype("i8"))


def _reshape(_: Node, x: Value, shape: Value) -> Value:
    return moved(x, lambda v: v.reshape(shape.centre))


def _slice(_: Node, x: Value, starts: Value, ends: Value, axes: Value, steps: Value) -> Value:
    at = [slice(None)] * x.centre.ndim
    for start, end, axis, step in zip(
        *(v.centre.tolist() for v in (starts, ends, axes, steps)), strict=True
    ):
        at[axis] = slice(start, end, step)
    return moved(x, lambda v: v[tuple(at)])


def _split(node: Node, x: Value, sizes: Value) -> list[Value]:
    axis, places = node.attributes["axis"], np.cumsum(sizes.centre)[:-1]
    parts = (np.split(v, places, axis) for v in (x.centre, x.radius))
    return [Value(*part, x.dtype) for part in zip(*parts, strict=True)]


def _concat(node: Node, *values: Value) -> Value:
    axis = node.attributes["axis"]
    centre, radius = (np.concatenate(side, axis) for side in list(zip(*values, strict=True))[:2])
    return Value(centre, radius, values[0].dtype)


def _gather(node: Node, x: Value, places: Value) -> Value:
    return moved(x, lambda v: np.take(v, places.centre, node.attributes["axis"]))


def _where(_: Node, condition: Value, a: Value, b: Value) -> Value:
    chosen = (np.where(condition.centre, a[at], b[at]) for at in (0, 1))
    return Value(*chosen, a.dtype)


def _equal(_: Node, a: Value, b: Value) -> Value:
    return exact(a.centre == b.centre)


def _is_nan(_: Node, x: Value) -> Value:
    return exact(np.isnan(x.centre))


def _quantize(_: Node, x: Value, scale: Value, zero: Value) -> Value:
    """Whole numbers of `scale`, where rounding may go either way on a border.

    x86-64 without VNNI adds two products with weights of at most 80 in 16 bits. In bundles written
    before ae_export clipped x, rows far out pass 204 steps, and these bits are full: the sum is
    then that of fewer steps, of 204 at least.
    """
    low, high = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max

    def steps(v: Array) -> Array:
        return np.clip(np.round(v / scale.centre) + zero.centre.astype(np.float64), low, high)

    # The quotient is rounded once before it is rounded to a whole number.
    near = Value(x.centre, x.radius + 2 * eps(x.dtype) * np.abs(x.centre), x.dtype)
    found = rising(steps, near)
    high_end = found.centre + found.radius
    low_end = np.minimum(found.centre - found.radius, MOST_X)
    centre = (high_end + low_end) / 2
    return Value(centre, high_end - centre, zero.dtype)


def _dequantize(node: Node, x: Value, scale: Value, zero: Value) -> Value:
    shape = [1] * x.centre.ndim
    if scale.centre.ndim:
        shape[node.attributes["axis"]] = -1
    steps = x.centre.astype(np.float64) - zero.centre.astype(np.float64).reshape(shape)
    by = moved(scale, lambda v: v.reshape(shape))
    return multiply(Value(steps, x.radius, scale.dtype), by)


def _gru(node: Node, x: Value, w: Value, r: Value, b: Value) -> Value:
    """All states (T, 1, B, H) of a forward GRU from a state of 0, x (T, B, C)."""
    wanted = {"direction": "forward", "layout": 0, "linear_before_reset": 1}
    assert wanted.items() <= node.attributes.items()
    size = node.attributes["hidden_size"]

    def gate(weights: Value, rows: Value, at: int, half: int) -> Value:
        part = slice(at * size, (at + 1) * size)
        bias = slice((3 * half + at) * size, (3 * half + at + 1) * size)
        return matmul(rows, moved(weights, lambda v: v[0, part].T), moved(b, lambda v: v[0, bias]))

    h = exact(np.zeros((x.centre.shape[1], size), np.float32))
    one, states = exact(np.ones(1, np.float32)), []
    for step in range(len(x.centre)):
        rows = moved(x, lambda v, step=step: v[step])
        z, reset = (logistic(add(gate(w, rows, at, 0), gate(r, h, at, 1))) for at in (0, 1))
        new = tanh(add(gate(w, rows, 2, 0), multiply(reset, gate(r, h, 2, 1))))
        h = add(multiply(subtract(one, z), new), multiply(z, h))
        states.append(h)
    return Value(*(np.stack([s[at] for s in states])[:, None] for at in (0, 1)), x.dtype)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _binary(add),
    "ArgMax": _argmax,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "DequantizeLinear": _dequantize,
    "Equal": _equal,
    "GRU": _gru,
    "Gather": _gather,
    "Gemm": _gemm,
    "IsNaN": _is_nan,
    "MatMul": lambda _, a, b: matmul(a, b, exact(np.zeros(1, a.dtype))),
    "Mul": _binary(multiply),
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Round": lambda _, x: rising(np.round, x),
    "Sigmoid": lambda _, x: logistic(x),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": lambda _, x, axes: moved(x, lambda v: v.squeeze(tuple(axes.centre))),
    "Sub": _binary(subtract),
    "Tanh": lambda _, x: tanh(x),
    "Transpose": lambda node, x: moved(x, lambda v: v.transpose(node.attributes["perm"])),
    "Unsqueeze": lambda _, x, axes: moved(x, lambda v: np.expand_dims(v, tuple(axes.centre))),
    "Where": _where,
}
