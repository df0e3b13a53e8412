"""The memory that a graph asks for: which of its values are alive at once, and their sizes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import prod

from msgspec import Struct

from ae_runtime.graphs.graph import Graph
from ae_runtime.graphs.operators import OPERATORS
from ae_runtime.graphs.shape_inference import Inference, infer
from ae_runtime.graphs.values import FLOAT, MANY, GraphError, TensorInfo, parts, shown, with_rows

_BLOCK = 16  # channels: onnxruntime computes so many at once
_CONSTANT_COPIES = 3  # of a computed constant: while the graph is loaded, a copy, and what is kept
_REORDERED_COPIES = 2  # more, where it is the weights of a convolution


class Needs(Struct, frozen=True):
    """Bytes that one call of a graph takes at most, beside its weights: fixed + rows * per_row."""

    fixed: int
    per_row: int


class Usage(Struct, frozen=True):
    """What a graph does with memory, in bytes that may depend on the rows.

    always: what is there all the time. outputs: of each operator, the names of its outputs and
    their bytes; workspace: what it takes while it runs; inputs: the names of its inputs. orders:
    the orders in which the operators may run. results: names of the graph's outputs.
    """

    always: int
    outputs: list[list[tuple[str, int]]]
    workspace: list[int]
    inputs: list[list[str]]
    orders: list[list[int]]
    results: set[str]


def memory_needs(graph: Graph, limit: int) -> Needs:
    """The memory that a graph needs, if that is at most `limit` bytes for one row.

    Raises GraphError if it is more, or if the graph fits no bundle, in which rows stand alone.
    """
    inference = infer(graph, MANY)
    _check_outputs(graph, inference.values)
    _check_rows(graph, inference.values)
    usage = _usage(graph, inference)
    row = with_rows(usage.always, 1) + max(_held(usage, order) for order in usage.orders)
    if row > limit:
        raise GraphError(
            f"it needs {row:,} bytes for one row, and {limit:,} are allowed; load(..., "
            f"max_memory={2 * row}) takes it, if you trust the bundle"
        )
    totals = [parts(total) for total in _totals(usage)]
    per_row = max(b for _, b in totals)
    return Needs(max(a + b for a, b in totals) - per_row, per_row)


def _check_outputs(graph: Graph, values: dict[str, TensorInfo]) -> None:
    for port in graph.outputs:
        dims = tuple(MANY if size is None else size for size in port.dims)
        if port.name not in values:
            raise GraphError(f"nothing gives its output {port.name!r:.60}")
        if values[port.name].dims != dims:
            inferred = shown(values[port.name].dims)
            raise GraphError(
                f"its output {port.name!r:.60} has shape {inferred}, not {shown(dims)}"
            )


def _check_rows(graph: Graph, values: dict[str, TensorInfo]) -> None:
    """Refuse values whose size for one row is not what the size for many rows tells.

    Every rule for a size tends one way as the rows grow, so between one and many it holds too.
    """
    single = infer(graph, 1).values
    for name, value in values.items():
        if single[name].dims != tuple(with_rows(size, 1) for size in value.dims):
            raise GraphError(
                f"value {name!r:.60} has shape {shown(value.dims)}, but {shown(single[name].dims)} "
                "for one row"
            )


def _usage(graph: Graph, inference: Inference) -> Usage:
    ops = [OPERATORS[node.op] for node in graph.nodes]
    always = sum(inference.values[port.name].nbytes for port in graph.inputs)
    is_blocked = any(op.blocks_channels for op in ops)
    outputs, computed = [], set[str]()
    for at, (op, step) in enumerate(zip(ops, inference.steps, strict=True)):
        node = step.call.node
        names = [name or f"{place} of {at}" for place, name in enumerate(node.outputs)]
        pairs = list(zip(names, step.outputs, strict=False))
        outputs.append([(name, _size(v, is_blocked)) for name, v in pairs if not v.constant])
        if op.folds:
            computed.update(name for name, value in pairs if value.constant)
        copies = 0 if node.op == "Constant" else _CONSTANT_COPIES if names[0] in computed else 1
        always += sum(copies * value.nbytes for _, value in pairs if value.constant)
        if op.reorders_weights and node.inputs[1] in computed:
            always += _REORDERED_COPIES * inference.values[node.inputs[1]].nbytes
    return Usage(
        always=always,
        outputs=outputs,
        workspace=[step.workspace for step in inference.steps],
        inputs=[node.inputs for node in graph.nodes],
        orders=list(_orders(graph)),
        results={port.name for port in graph.outputs},
    )


def _size(value: TensorInfo, is_blocked: bool) -> int:
    """Bytes of a value; beside convolutions, images have whole blocks of channels."""
    if is_blocked and value.dtype == FLOAT and len(value.dims) == 4 and value.dims[1] < MANY:
        rows, channels, *sizes = value.dims
        return 4 * rows * -(-channels // _BLOCK) * _BLOCK * prod(sizes)
    return value.nbytes


def _orders(graph: Graph) -> Iterator[list[int]]:
    """The operators depth first from those whose values nobody takes, as onnxruntime runs them.

    Two that one operator needs may come in either order: that depends on what onnxruntime fuses.
    """
    maker = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs if name}
    before = [
        sorted({maker[name] for name in node.inputs if name in maker}) for node in graph.nodes
    ]
    taken = {at for nodes in before for at in nodes}
    ends = [at for at in range(len(graph.nodes)) if at not in taken]
    for way in (1, -1):
        order, seen, todo = list[int](), set[int](), ends[::way]
        while todo:
            at = todo.pop()
            if at < 0:
                order.append(~at)
            elif at not in seen:
                seen.add(at)
                todo += [~at, *(other for other in before[at][::way] if other not in seen)]
        yield order


def _ends(usage: Usage, order: list[int]) -> list[list[str]]:
    """Names of the values that nothing takes any more, after each operator of an order."""
    last = {name: at for at in order for name, _ in usage.outputs[at]}
    last |= {name: at for at in order for name in usage.inputs[at] if name in last}
    ends: list[list[str]] = [[] for _ in order]
    for name, at in last.items():
        if name not in usage.results:
            ends[at].append(name)
    return ends


def _totals(usage: Usage) -> Iterator[int]:
    """Bytes that are alive at each operator of each order."""
    yield usage.always
    for order in usage.orders:
        size, total, ends = dict[str, int](), usage.always, _ends(usage, order)
        for at in order:
            size.update(usage.outputs[at])
            total += sum(nbytes for _, nbytes in usage.outputs[at])
            yield total + usage.workspace[at]
            total -= sum(size[name] for name in ends[at])


def _held(usage: Usage, order: list[int]) -> int:
    """Bytes for one row that an allocator holds which never gives memory back or joins pieces.

    onnxruntime's does better, but not for values that grow from operator to operator: what was
    freed is too small for the next.
    """
    free, held, taken, ends = list[int](), 0, dict[str, int](), _ends(usage, order)
    for at in order:
        for name, nbytes in (*usage.outputs[at], ("", usage.workspace[at])):
            wanted = with_rows(nbytes, 1)
            place = bisect_left(free, wanted)
            if place == len(free):
                held += wanted
                taken[name] = wanted
            else:
                taken[name] = free.pop(place)
        for name in ("", *ends[at]):
            insort(free, taken.pop(name, 0))
    return held
