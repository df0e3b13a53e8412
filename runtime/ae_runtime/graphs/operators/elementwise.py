"""Operators that compute each element from those at its place, and comparisons of these."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, mul, sub

from ae_runtime.graphs.graph import DTYPES, REAL_DTYPES
from ae_runtime.graphs.operators.op import Call, Op, Outputs, numbers_of_first
from ae_runtime.graphs.values import BOOL, UINT8, Dims, shown


def _unary(call: Call) -> list[Dims]:
    return [call.dims()]


def _binary(call: Call) -> list[Dims]:
    return [call.broadcast(call.dims(0), call.dims(1))]


def _variadic(call: Call) -> list[Dims]:
    return [call.broadcast(*(call.dims(at) for at in range(max(1, len(call.inputs)))))]


def _div(call: Call) -> list[Dims]:
    # A quotient of whole numbers can end the process with a signal, which nothing catches, in
    # onnxruntime 1.23 and 1.32.
    for at in (0, 1):
        if call.input(at).dtype not in REAL_DTYPES:
            call.refuse(f"takes {call.node.inputs[at]!r:.60}, which is not floating-point")
    return _binary(call)


def _where(call: Call) -> list[Dims]:
    return [call.broadcast(call.dims(0), call.dims(1), call.dims(2))]


def _prelu(call: Call) -> list[Dims]:
    call.input(1)
    call.check_fits(1, call.dims())
    return [call.dims()]


def _clip(call: Call) -> list[Dims]:
    for bound in (1, 2):
        call.check_fits(bound, ())
    return [call.dims()]


def _softmax(call: Call) -> list[Dims]:
    call.axis(call.number("axis", -1), len(call.dims()))
    return [call.dims()]


def _quantize(call: Call) -> list[Dims]:
    x, scale = call.dims(), call.dims(1)
    if scale not in ((), (1,)):
        axis = call.axis(call.number("axis", 1), len(x))
        if scale != (x[axis],):
            call.refuse(f"takes {shown(x)} and a scale of {shown(scale)}, which do not fit")
    call.check_dims(2, scale)
    return [x]


def _second_dtype(call: Call) -> int:
    return call.input(1).dtype


def _cast_dtype(call: Call) -> int:
    return _known_dtype(call, call.number("to", 0))


def _quantized_dtype(call: Call) -> int:
    zero = call.optional(2)
    dtype = call.number("output_dtype", 0) or (zero.dtype if zero else UINT8)
    return _known_dtype(call, dtype)


def _known_dtype(call: Call, dtype: int) -> int:
    if dtype not in DTYPES:
        call.refuse(f"gives data type {dtype}, which is not taken")
    return dtype


def _calculated(calculate: Callable[[int, int], int]) -> Callable[[Call], Dims | None]:
    """The rule for the whole numbers of an operator of two inputs."""

    def numbers(call: Call) -> Dims | None:
        a, b = call.input(0).numbers, call.input(1).numbers
        if a is None or b is None:
            return None
        count = max(len(a), len(b)) if a and b else 0
        a, b = (one * count if len(one) == 1 else one for one in (a, b))
        return tuple(map(calculate, a, b))

    return numbers


def _two_copies(call: Call, outputs: Outputs) -> int:
    """Two values as large as the output."""
    return 2 * outputs[0].nbytes


UNARY = (
    *("Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Sign", "Relu"),
    *("LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Sigmoid", "HardSigmoid"),
    *("HardSwish", "Mish", "Tanh", "Round", "Floor", "Ceil"),
)
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
OPERATORS = {
    **dict.fromkeys(UNARY, Op(_unary)),
    **dict.fromkeys(("IsNaN", "IsInf", "Not"), Op(_unary, BOOL)),
    **dict.fromkeys(COMPARISONS, Op(_binary, BOOL)),
    **dict.fromkeys(("Max", "Min"), Op(_variadic, workspace=_two_copies)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), Op(_softmax, workspace=_two_copies)),
    "Cast": Op(_unary, _cast_dtype, numbers=numbers_of_first),
    "Add": Op(_binary, numbers=_calculated(add)),
    "Sub": Op(_binary, numbers=_calculated(sub)),
    "Mul": Op(_binary, numbers=_calculated(mul)),
    "Div": Op(_div),
    "Pow": Op(_binary),
    "Where": Op(_where, _second_dtype, workspace=_two_copies),
    "PRelu": Op(_prelu),
    "Clip": Op(_clip, skips_inputs=True),
    "QuantizeLinear": Op(_quantize, _quantized_dtype),
    "DequantizeLinear": Op(_quantize, _second_dtype, folds=False),
}
