"""Operators that put the elements along axes together: sums, extremes, the largest, and norms."""

from __future__ import annotations

from math import prod

from ae_runtime.graphs.operators.op import Call, Op, Outputs
from ae_runtime.graphs.values import INT64, Dims, shown

_INDEX_BYTES = 8


def _axes(call: Call) -> set[int]:
    """Axes of which a Reduce or Arg operator makes one."""
    rank = len(call.dims())
    if call.node.op.startswith("Arg"):
        return {call.axis(call.number("axis", 0), rank)}
    numbers = call.numbers(1) if call.optional(1) else ()
    axes = {call.axis(number, rank) for number in numbers}
    return axes if axes or call.flag("noop_with_empty_axes") else set(range(rank))


def _reduce(call: Call) -> list[Dims]:
    dims, axes = call.dims(), _axes(call)
    if call.flag("keepdims", default=True):
        return [tuple(1 if at in axes else size for at, size in enumerate(dims))]
    return [tuple(size for at, size in enumerate(dims) if at not in axes)]


def _index_bytes(call: Call, outputs: Outputs) -> int:
    """Bytes of the places of elements that are taken together, and of where such groups begin.

    The last axis that is reduced, and the last that is not, take none: from one place of these
    follow the others.
    """
    dims, axes = call.dims(), _axes(call)
    along = [size for at, size in enumerate(dims) if at in axes]
    across = [size for at, size in enumerate(dims) if at not in axes]
    return _INDEX_BYTES * (prod(along[:-1]) + prod(across[:-1]))


def _top(call: Call) -> list[Dims]:
    dims, counts = call.dims(), call.numbers(1)
    axis = call.axis(call.number("axis", -1), len(dims))
    if len(counts) != 1 or not 0 <= counts[0] <= dims[axis]:
        call.refuse(f"asks for {counts[:2]} of {shown(dims)} along axis {axis}")
    return [(*dims[:axis], counts[0], *dims[axis + 1 :])] * 2


def _batch_norm(call: Call) -> list[Dims]:
    x = call.dims(0, least=1)
    channels = x[1:2] or (1,)
    for at in range(1, 5):
        call.input(at)
        call.check_dims(at, channels)
    return [x, channels, channels]


def _layer_norm(call: Call) -> list[Dims]:
    x = call.dims()
    axis = call.axis(call.number("axis", -1), len(x))
    call.input(1)
    for at in (1, 2):
        call.check_fits(at, x[axis:])
    return [x, *[(*x[:axis], *[1] * (len(x) - axis))] * 2]


def _instance_norm(call: Call) -> list[Dims]:
    x = call.dims(0, least=3)
    for at in (1, 2):
        call.input(at)
        call.check_dims(at, x[1:2])
    return [x]


REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
OPERATORS = {
    **dict.fromkeys(REDUCTIONS, Op(_reduce, workspace=_index_bytes, nonempty_from=0)),
    **dict.fromkeys(("ArgMax", "ArgMin"), Op(_reduce, INT64, workspace=_index_bytes)),
    "TopK": Op(_top, second_dtype=INT64, nonempty_from=0),
    "BatchNormalization": Op(_batch_norm),
    "LayerNormalization": Op(_layer_norm),
    "InstanceNormalization": Op(_instance_norm, nonempty_from=0),
}
