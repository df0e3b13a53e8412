"""Products of matrices, and the recurrent operators that are made of them."""

from __future__ import annotations

from math import prod

from ae_runtime.graphs.operators.op import Call, Op, Outputs
from ae_runtime.graphs.values import Dims, shown

_REAL_BYTES = 4
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}  # blocks in the weights of recurrent operators


def _matmul(call: Call) -> list[Dims]:
    a, b = call.dims(0, least=1), call.dims(1, least=1)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        call.refuse(f"takes {shown(a)} and {shown(b)}, which do not fit")
    rows, columns = left[-2:-1] * (len(a) > 1), right[-1:] * (len(b) > 1)
    return [call.broadcast(left[:-2], right[:-2]) + rows + columns]


def _matmul_products(call: Call, outputs: Outputs) -> int:
    return prod(outputs[0].dims) * call.dims()[-1]


def _gemm(call: Call) -> list[Dims]:
    a, b = call.dims(0), call.dims(1)
    if len(a) != 2 or len(b) != 2:
        call.refuse(f"takes {shown(a)} and {shown(b)}; both must have 2 axes")
    rows, inner = a[::-1] if call.flag("transA") else a
    inner_of_b, columns = b[::-1] if call.flag("transB") else b
    if inner != inner_of_b:
        call.refuse(f"takes {shown(a)} and {shown(b)}, which do not fit")
    call.check_fits(2, (rows, columns))
    return [(rows, columns)]


def _gemm_products(call: Call, outputs: Outputs) -> int:
    return prod(outputs[0].dims) * call.dims()[0 if call.flag("transA") else -1]


def _recurrent(call: Call) -> list[Dims]:
    x, w, r = call.dims(0, least=3), call.dims(1), call.dims(2)
    size, gates = call.number("hidden_size", 0), _GATES[call.node.op]
    ways = 2 if call.node.texts.get("direction") == "bidirectional" else 1
    if call.flag("layout"):
        call.refuse("has layout 1, which onnxruntime does not take")
    steps, rows = x[:2]
    weights = (ways, gates * size, x[2]), (ways, gates * size, size)
    if len(x) != 3 or (w, r) != weights:
        call.refuse(f"takes {shown(x)} and weights {shown(w)}, {shown(r)}, which do not fit")
    for at, dims in (
        (3, (ways, 2 * gates * size)),
        (4, (rows,)),
        *((at, (ways, rows, size)) for at in (5, 6)),
        (7, (ways, 3 * size)),
    ):
        call.check_dims(at, dims)
    return [(steps, ways, rows, size), *[(ways, rows, size)] * 2]


def _recurrent_workspace(call: Call, outputs: Outputs) -> int:
    """Bytes of the gates of all steps, and of the input and output of one way backwards."""
    steps, rows, width = call.dims()
    ways, _, size = call.dims(2)
    return _REAL_BYTES * steps * rows * ways * ((_GATES[call.node.op] + 2) * size + width)


def _recurrent_products(call: Call, outputs: Outputs) -> int:
    steps, rows, _ = call.dims()
    return steps * rows * sum(prod(call.dims(at)) for at in (1, 2))


_RECURRENT = Op(
    _recurrent,
    workspace=_recurrent_workspace,
    products=_recurrent_products,
    skips_inputs=True,
    bounds_attributes=True,
    nonempty_from=0,
)
OPERATORS = {
    "MatMul": Op(_matmul, products=_matmul_products),
    "Gemm": Op(_gemm, products=_gemm_products),
    **dict.fromkeys(_GATES, _RECURRENT),
}
