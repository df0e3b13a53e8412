"""Bytes that an operator of onnxruntime needs for itself while it runs, beside what it gives."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ae_runtime.graphs.shape_rules import reduced_axes
from ae_runtime.graphs.values import Call, Known
from ae_runtime.graphs.window_rules import GATES

Workspace = Callable[[Call, list[Known]], int]
_REAL = 4
_PLACE = 8  # bytes


def workspace(call: Call, made: list[Known]) -> int:
    """Bytes that an operator takes while it makes these values."""
    rule = RULES.get(call.node.op)
    return rule(call, made) if rule else 0


def _conv(call: Call, made: list[Known]) -> int:
    """Each window of one image laid out as a column; and images whose layout is changed."""
    columns = prod(call.dims(1)[1:]) * prod(made[0].dims[2:])
    return _REAL * columns + _reordered(call, made)


def _conv_transpose(call: Call, _: list[Known]) -> int:
    return _REAL * prod(call.dims(1)[1:]) * prod(call.dims(0)[2:])


def _reordered(call: Call, made: list[Known]) -> int:
    """What goes in or what comes out in another layout."""
    return max(call.input().nbytes, made[0].nbytes)


def _recurrent(call: Call, made: list[Known]) -> int:
    """Gates of all steps, and of one way its input and output backwards."""
    steps, rows, width = call.dims()
    ways, _, size = call.dims(2)
    return _REAL * steps * rows * ways * ((GATES[call.node.op] + 2) * size + width)


def _copies(call: Call, made: list[Known]) -> int:
    """Two values as large as what it gives."""
    return 2 * made[0].nbytes


def _places(call: Call, made: list[Known]) -> int:
    """Where elements are that are taken together, and where such groups begin.

    Of the last axis that is reduced, and of the last that is not, each place gives the others.
    """
    dims, axes = call.dims(), reduced_axes(call)
    along = [size for at, size in enumerate(dims) if at in axes]
    across = [size for at, size in enumerate(dims) if at not in axes]
    return _PLACE * (prod(along[:-1]) + prod(across[:-1]))


def _resized(call: Call, made: list[Known]) -> int:
    """What is resized along one axis and not yet along the next."""
    pairs = zip(call.dims(), made[0].dims, strict=True)
    return _PLACE * prod(map(max, pairs)) if call.flag("antialias") else 0


RULES: dict[str, Workspace] = {
    **{"Conv": _conv, "ConvTranspose": _conv_transpose},
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"), _reordered),
    **dict.fromkeys(GATES, _recurrent),
    **dict.fromkeys(("Where", "Max", "Min", "Softmax", "LogSoftmax"), _copies),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _places),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ArgMax", "ArgMin"), _places),
    "Resize": _resized,
}
