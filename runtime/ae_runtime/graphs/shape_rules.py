"""Dims of what each operator gives, from those of what it takes; window_rules has the others."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ae_runtime.graphs.graph import REAL_DTYPES
from ae_runtime.graphs.values import MAX_DIM, Call, Dims, shown

Rule = Callable[[Call], list[Dims]]


def broadcast(call: Call, *shapes: Dims) -> Dims:
    """Dims that all of these broadcast to, as numpy has it."""
    found = list(shapes[0])
    for dims in shapes[1:]:
        if dims == tuple(found):
            continue
        found[:0] = [1] * (len(dims) - len(found))
        for at, size in enumerate(dims, len(found) - len(dims)):
            if found[at] == 1:
                found[at] = size
            elif size not in (1, found[at]):
                call.refuse(f"takes {shown(shapes[0])} and {shown(dims)}, which do not fit")
    return tuple(found)


def fits(call: Call, at: int, into: Dims) -> None:
    """Complain unless its input `at`, if there is one, broadcasts to these dims."""
    value = call.given(at)
    if value is not None and broadcast(call, into, value.dims) != into:
        call.refuse(f"takes {shown(value.dims)}, which does not fit {shown(into)}")


def _same(call: Call) -> list[Dims]:
    return [call.dims()]


def _all(call: Call) -> list[Dims]:
    return [broadcast(call, *(call.dims(at) for at in range(max(1, len(call.inputs)))))]


def _two(call: Call) -> list[Dims]:
    return [broadcast(call, call.dims(0), call.dims(1))]


def _div(call: Call) -> list[Dims]:
    # A quotient of whole numbers can end the process with a signal, which nothing catches, in
    # onnxruntime 1.23 and 1.32.
    for at in (0, 1):
        if call.input(at).dtype not in REAL_DTYPES:
            call.refuse(f"takes {call.node.inputs[at]!r:.60}, which is not floating-point")
    return _two(call)


def _where(call: Call) -> list[Dims]:
    return [broadcast(call, call.dims(0), call.dims(1), call.dims(2))]


def _prelu(call: Call) -> list[Dims]:
    call.input(1)
    fits(call, 1, call.dims())
    return [call.dims()]


def _clip(call: Call) -> list[Dims]:
    for bound in (1, 2):
        fits(call, bound, ())
    return [call.dims()]


def _along_axis(call: Call) -> list[Dims]:
    call.axis(call.number("axis", -1), len(call.dims()))
    return [call.dims()]


def _matmul(call: Call) -> list[Dims]:
    a, b = call.dims(0, least=1), call.dims(1, least=1)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        call.refuse(f"takes {shown(a)} and {shown(b)}, which do not fit")
    rows, columns = left[-2:-1] * (len(a) > 1), right[-1:] * (len(b) > 1)
    return [broadcast(call, left[:-2], right[:-2]) + rows + columns]


def _gemm(call: Call) -> list[Dims]:
    a, b = call.dims(0), call.dims(1)
    if len(a) != 2 or len(b) != 2:
        call.refuse(f"takes {shown(a)} and {shown(b)}; both must have 2 axes")
    rows, inner = a[::-1] if call.flag("transA") else a
    found, columns = b[::-1] if call.flag("transB") else b
    if inner != found:
        call.refuse(f"takes {shown(a)} and {shown(b)}, which do not fit")
    fits(call, 2, (rows, columns))
    return [(rows, columns)]


def reduced_axes(call: Call) -> set[int]:
    """Axes that a Reduce or Arg operator makes one of."""
    rank = len(call.dims())
    if call.node.op.startswith("Arg"):
        return {call.axis(call.number("axis", 0), rank)}
    axes = {call.axis(number, rank) for number in call.numbers(1)} if call.given(1) else set[int]()
    return axes if axes or call.flag("noop_with_empty_axes") else set(range(rank))


def _reduce(call: Call) -> list[Dims]:
    dims, axes = call.dims(), reduced_axes(call)
    if call.flag("keepdims", default=True):
        return [tuple(1 if at in axes else size for at, size in enumerate(dims))]
    return [tuple(size for at, size in enumerate(dims) if at not in axes)]


def _top(call: Call) -> list[Dims]:
    dims, counts = call.dims(), call.numbers(1)
    axis = call.axis(call.number("axis", -1), len(dims))
    if len(counts) != 1 or not 0 <= counts[0] <= dims[axis]:
        call.refuse(f"asks for {counts[:2]} of {shown(dims)} along axis {axis}")
    return [(*dims[:axis], counts[0], *dims[axis + 1 :])] * 2


def _shape(call: Call) -> list[Dims]:
    rank = len(call.dims())
    start, end = call.number("start", 0), call.number("end", rank)
    return [(len(range(rank)[start:end]),)]


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
    order = call.whole.get("perm", list(range(len(dims)))[::-1])
    if sorted(order) != list(range(len(dims))):
        call.refuse(f"has perm {order[:8]} for {shown(dims)}")
    return [tuple(dims[at] for at in order)]


def _squeeze(call: Call) -> list[Dims]:
    dims = call.dims()
    if not call.given(1):
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


def _without(dims: Dims, axis: int) -> Dims:
    return dims[:axis] + dims[axis + 1 :]


def _split(call: Call) -> list[Dims]:
    dims, count = call.dims(), len(call.node.outputs)
    axis = call.axis(call.number("axis", 0), len(dims))
    if call.given(1):
        sizes = call.numbers(1)
    else:  # as even as can be, and what is left over last
        each = -(-dims[axis] // count)
        sizes = (*[each] * (count - 1), dims[axis] - each * (count - 1))
    if len(sizes) != count or min(sizes) < 0 or sum(sizes) != dims[axis]:
        call.refuse(f"cannot split {shown(dims)} into {count} along axis {axis}")
    return [(*dims[:axis], size, *dims[axis + 1 :]) for size in sizes]


def slices(call: Call) -> list[tuple[int, int, int]]:
    """Of each axis: where Slice starts, how many it takes, and by which step."""
    dims, starts, ends = call.dims(), call.numbers(1), call.numbers(2)
    axes = call.numbers(3) if call.given(3) else tuple(range(len(starts)))
    steps = call.numbers(4) if call.given(4) else (1,) * len(starts)
    found = [(0, size, 1) for size in dims]
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
        found[axis] = start, count, step
    return found


def _place(place: int, size: int, low: int, high: int) -> int:
    """Where a number is on an axis; one that is larger than any axis is behind its end."""
    if abs(place) >= MAX_DIM:
        return high if place > 0 else low
    return max(low, min(high, place + size if place < 0 else place))


def _slice(call: Call) -> list[Dims]:
    return [tuple(count for _, count, _ in slices(call))]


def _gather(call: Call) -> list[Dims]:
    dims = call.dims(0, least=1)
    axis = call.axis(call.number("axis", 0), len(dims))
    return [dims[:axis] + call.dims(1) + dims[axis + 1 :]]


def _expand(call: Call) -> list[Dims]:
    return [broadcast(call, call.dims(), call.sizes(1))]


def _constant_of_shape(call: Call) -> list[Dims]:
    return [call.sizes(0)]


def _tile(call: Call) -> list[Dims]:
    dims, times = call.dims(), call.sizes(1)
    if len(times) != len(dims):
        call.refuse(f"is given {len(times)} numbers for {shown(dims)}")
    return [tuple(size * many for size, many in zip(dims, times, strict=True))]


def _pad(call: Call) -> list[Dims]:
    dims, pads = list(call.dims()), call.numbers(1)
    axes = call.numbers(3) if call.given(3) else tuple(range(len(dims)))
    if len(pads) != 2 * len(axes):
        call.refuse(f"is given {len(pads)} numbers for {len(axes)} axes")
    for number, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        axis = call.axis(number, len(dims))
        taken = min(before, 0) + min(after, 0)
        if taken and dims[axis] + taken < 1:  # onnxruntime 1.23 reads at null
            call.refuse(f"takes {-taken} away from axis {axis} of {shown(call.dims())}")
        dims[axis] += before + after
    return [tuple(dims)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Pow", "Equal", "Greater"), _two),
    **dict.fromkeys(("GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"), _two),
    **dict.fromkeys(("Max", "Min"), _all),
    **dict.fromkeys(("Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin"), _same),
    **dict.fromkeys(("Cos", "Sign", "Relu", "LeakyRelu", "Elu", "Selu", "Celu"), _same),
    **dict.fromkeys(("Softplus", "Softsign", "Sigmoid", "HardSigmoid", "HardSwish"), _same),
    **dict.fromkeys(("Mish", "Tanh", "Round", "Floor", "Ceil", "Cast", "IsNaN"), _same),
    **dict.fromkeys(("IsInf", "Not", "Identity"), _same),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _along_axis),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ArgMax", "ArgMin"), _reduce),
    **{
        "Where": _where,
        "Div": _div,
        "PRelu": _prelu,
        "Clip": _clip,
        "MatMul": _matmul,
        "Gemm": _gemm,
    },
    **{"TopK": _top, "Shape": _shape, "Flatten": _flatten, "Reshape": _reshape},
    **{"Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze},
    **{"Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather},
    **{"Expand": _expand, "ConstantOfShape": _constant_of_shape, "Tile": _tile, "Pad": _pad},
}
