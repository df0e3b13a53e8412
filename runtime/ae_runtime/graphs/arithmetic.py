"""Whole numbers that shapes are computed from, as far as a graph may compute with them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import add, mul, sub

from ae_runtime.graphs.shape_rules import slices
from ae_runtime.graphs.values import INT64, MAX_DIM, MAX_NUMBERS, Call, Dims, parts

Numbers = Callable[[Call], Dims | None]


def numbers_of(call: Call, dims: Dims, dtype: int) -> Dims | None:
    """The numbers that an operator gives in a value of these dims; None if they are not known."""
    rule = RULES.get(call.node.op)
    if rule is None or dtype != INT64 or (len(dims) > 1 and rule is not _first):
        return None
    if prod(dims) > MAX_NUMBERS:
        return None
    found = rule(call)
    return found if found is None or all(map(_is_exact, found)) else None


def _is_exact(number: int) -> bool:
    """Whether onnxruntime's int64 holds a number, for whatever number of rows there may be."""
    a, b = parts(number)
    return -(1 << 63) <= a < 1 << 63 and abs(b) <= MAX_DIM


def _first(call: Call) -> Dims | None:
    return call.input().numbers


def _shape(call: Call) -> Dims:
    dims = call.dims()
    return dims[call.number("start", 0) : call.number("end", len(dims))]


def _gather(call: Call) -> Dims | None:
    data = call.input()
    if data.numbers is None or len(data.dims) != 1:
        return None
    return tuple(data.numbers[call.axis(at, len(data.numbers))] for at in call.numbers(1))


def _slice(call: Call) -> Dims | None:
    numbers = call.input().numbers
    if numbers is None:
        return None
    ((start, count, step),) = slices(call)
    return tuple(numbers[start + at * step] for at in range(count))


def _concat(call: Call) -> Dims | None:
    pieces = [value.numbers for value in call.inputs if value]
    return None if None in pieces else tuple(n for piece in pieces for n in piece or ())


def _calculated(calculate: Callable[[int, int], int]) -> Numbers:
    def rule(call: Call) -> Dims | None:
        a, b = call.input(0).numbers, call.input(1).numbers
        if a is None or b is None:
            return None
        count = max(len(a), len(b)) if a and b else 0
        a, b = (numbers * count if len(numbers) == 1 else numbers for numbers in (a, b))
        return tuple(map(calculate, a, b))

    return rule


RULES: dict[str, Numbers] = {
    **dict.fromkeys(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape"), _first),
    **{"Shape": _shape, "Gather": _gather, "Slice": _slice, "Concat": _concat},
    **{"Add": _calculated(add), "Sub": _calculated(sub), "Mul": _calculated(mul)},
}
