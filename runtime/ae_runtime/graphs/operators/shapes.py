"""Operators that move elements or make room for them, and those that shapes are computed with."""

from __future__ import annotations

from math import prod

from ae_runtime.graphs.operators.op import Call, Op, numbers_of_first
from ae_runtime.graphs.values import (
    FLOAT,
    INT64,
    MAX_DIM,
    MAX_NUMBERS,
    Dims,
    TensorInfo,
    of_tensor,
    shown,
)


def constant(call: Call) -> TensorInfo:
    """What is known of the value of a Constant, from its one attribute."""
    node = call.node
    if node.tensors:
        return of_tensor(node.tensors[0])
    ((name, numbers),) = node.integers or [("", [])]
    if "value_float" in node.attributes:
        return TensorInfo((), FLOAT, constant=True)
    if name == "value_int" and len(numbers) == 1:
        return TensorInfo((), INT64, tuple(numbers), constant=True)
    if name == "value_ints" and len(numbers) <= MAX_NUMBERS:
        return TensorInfo((len(numbers),), INT64, tuple(numbers), constant=True)
    call.refuse(f"has {', '.join(node.attributes)[:60]!r}, which is not taken")


def _constant(call: Call) -> list[Dims]:
    return [constant(call).dims]


def _same(call: Call) -> list[Dims]:
    return [call.dims()]


def _shape(call: Call) -> list[Dims]:
    rank = len(call.dims())
    start, end = call.number("start", 0), call.number("end", rank)
    return [(len(range(rank)[start:end]),)]


def _shape_numbers(call: Call) -> Dims:
    dims = call.dims()
    return dims[call.number("start", 0) : call.number("end", len(dims))]


def _flatten(call: Call) -> list[Dims]:
    dims, axis = call.dims(), call.number("axis", 1)
    if axis != len(dims):
        axis = call.axis(axis, len(dims))
    return [(prod(dims[:axis]), prod(dims[axis:]))]


def _reshape(call: Call) -> list[Dims]:
    dims, asked = call.dims(), list(call.sizes(1))
    if not call.flag("allowzero"):
        for at, size in enumerate(asked):
            if size == 0:
                asked[at] = dims[call.axis(at, len(dims))]
    total, rest = prod(dims), prod(size for size in asked if size != -1)
    if asked.count(-1) == 1 and rest > 0 and total % rest == 0:
        asked[asked.index(-1)] = total // rest
    if min(asked, default=0) < 0 or prod(asked) != total:
        call.refuse(f"cannot make {shown(call.sizes(1))} of {shown(dims)}")
    return [tuple(asked)]


def _transpose(call: Call) -> list[Dims]:
    dims = call.dims()
    order = call.integers.get("perm", list(range(len(dims)))[::-1])
    if sorted(order) != list(range(len(dims))):
        call.refuse(f"has perm {order[:8]} for {shown(dims)}")
    return [tuple(dims[at] for at in order)]


def _squeeze(call: Call) -> list[Dims]:
    dims = call.dims()
    if not call.optional(1):
        return [tuple(size for size in dims if size != 1)]
    axes = {call.axis(number, len(dims)) for number in call.numbers(1)}
    if any(dims[at] != 1 for at in axes):
        call.refuse(f"squeezes axes of {shown(dims)} that are not 1")
    return [tuple(size for at, size in enumerate(dims) if at not in axes)]


def _unsqueeze(call: Call) -> list[Dims]:
    rest, numbers = list(call.dims()), call.numbers(1)
    rank = len(rest) + len(numbers)
    axes = {call.axis(number, rank) for number in numbers}
    if len(axes) != len(numbers):
        call.refuse("names an axis twice")
    return [tuple(1 if at in axes else rest.pop(0) for at in range(rank))]


def _concat(call: Call) -> list[Dims]:
    first = call.dims(0, least=1)
    axis = call.axis(call.number("axis", 0), len(first))
    total = 0
    for at in range(len(call.inputs)):
        dims = call.dims(at)
        total += dims[axis] if axis < len(dims) else 0
        if len(dims) != len(first) or _without(dims, axis) != _without(first, axis):
            call.refuse(f"takes {shown(first)} and {shown(dims)}, which do not fit")
    return [(*first[:axis], total, *first[axis + 1 :])]


def _concat_numbers(call: Call) -> Dims | None:
    pieces = [value.numbers for value in call.inputs if value]
    return None if None in pieces else tuple(n for piece in pieces for n in piece or ())


def _without(dims: Dims, axis: int) -> Dims:
    return dims[:axis] + dims[axis + 1 :]


def _split(call: Call) -> list[Dims]:
    dims, count = call.dims(), len(call.node.outputs)
    axis = call.axis(call.number("axis", 0), len(dims))
    if call.optional(1):
        sizes = call.numbers(1)
    else:  # as even as can be, and what is left over last
        each = -(-dims[axis] // count)
        sizes = (*[each] * (count - 1), dims[axis] - each * (count - 1))
    if len(sizes) != count or min(sizes) < 0 or sum(sizes) != dims[axis]:
        call.refuse(f"cannot split {shown(dims)} into {count} along axis {axis}")
    return [(*dims[:axis], size, *dims[axis + 1 :]) for size in sizes]


def _slices(call: Call) -> list[tuple[int, int, int]]:
    """(start, count, step) of a Slice along each axis."""
    dims, starts, ends = call.dims(), call.numbers(1), call.numbers(2)
    axes = call.numbers(3) if call.optional(3) else tuple(range(len(starts)))
    steps = call.numbers(4) if call.optional(4) else (1,) * len(starts)
    slices = [(0, size, 1) for size in dims]
    if not len(starts) == len(ends) == len(axes) == len(steps):
        call.refuse("is given more of some numbers than of others")
    for number, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = call.axis(number, len(dims))
        size = dims[axis]
        if step == 0:
            call.refuse("has step 0")
        low, high = (0, size) if step > 0 else (-1, size - 1)  # what a place is at least, at most
        start, end = (_place(place, size, low, high) for place in (start, end))
        count = max(0, (end - start + step - (1 if step > 0 else -1)) // step)
        slices[axis] = start, count, step
    return slices


def _place(place: int, size: int, low: int, high: int) -> int:
    """The place on an axis that a number stands for; a very large one is behind the end."""
    if abs(place) >= MAX_DIM:
        return high if place > 0 else low
    return max(low, min(high, place + size if place < 0 else place))


def _slice(call: Call) -> list[Dims]:
    return [tuple(count for _, count, _ in _slices(call))]


def _slice_numbers(call: Call) -> Dims | None:
    numbers = call.input().numbers
    if numbers is None:
        return None
    ((start, count, step),) = _slices(call)
    return tuple(numbers[start + at * step] for at in range(count))


def _gather(call: Call) -> list[Dims]:
    dims = call.dims(0, least=1)
    axis = call.axis(call.number("axis", 0), len(dims))
    return [dims[:axis] + call.dims(1) + dims[axis + 1 :]]


def _gather_numbers(call: Call) -> Dims | None:
    data = call.input()
    if data.numbers is None or len(data.dims) != 1:
        return None
    return tuple(data.numbers[call.axis(at, len(data.numbers))] for at in call.numbers(1))


def _expand(call: Call) -> list[Dims]:
    return [call.broadcast(call.dims(), call.sizes(1))]


def _constant_of_shape(call: Call) -> list[Dims]:
    return [call.sizes(0)]


def _constant_of_shape_dtype(call: Call) -> int:
    return call.node.tensors[0].dtype if call.node.tensors else FLOAT


def _tile(call: Call) -> list[Dims]:
    dims, times = call.dims(), call.sizes(1)
    if len(times) != len(dims):
        call.refuse(f"is given {len(times)} numbers for {shown(dims)}")
    return [tuple(size * many for size, many in zip(dims, times, strict=True))]


def _pad(call: Call) -> list[Dims]:
    dims, pads = list(call.dims()), call.numbers(1)
    axes = call.numbers(3) if call.optional(3) else tuple(range(len(dims)))
    if len(pads) != 2 * len(axes):
        call.refuse(f"is given {len(pads)} numbers for {len(axes)} axes")
    for number, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        axis = call.axis(number, len(dims))
        taken = min(before, 0) + min(after, 0)
        if taken and dims[axis] + taken < 1:  # onnxruntime 1.23 reads at null
            call.refuse(f"takes {-taken} away from axis {axis} of {shown(call.dims())}")
        dims[axis] += before + after
    return [tuple(dims)]


OPERATORS = {
    "Constant": Op(_constant, folds=False),
    "Identity": Op(_same, numbers=numbers_of_first),
    "Shape": Op(_shape, INT64, numbers=_shape_numbers),
    "Flatten": Op(_flatten),
    "Reshape": Op(_reshape, numbers=numbers_of_first),
    "Transpose": Op(_transpose),
    "Squeeze": Op(_squeeze, numbers=numbers_of_first),
    "Unsqueeze": Op(_unsqueeze, numbers=numbers_of_first),
    "Concat": Op(_concat, numbers=_concat_numbers),
    "Split": Op(_split),
    "Slice": Op(_slice, numbers=_slice_numbers, skips_inputs=True),
    "Gather": Op(_gather, numbers=_gather_numbers),
    "Expand": Op(_expand),
    "ConstantOfShape": Op(_constant_of_shape, _constant_of_shape_dtype),
    "Tile": Op(_tile),
    "Pad": Op(_pad, skips_inputs=True),
}
