"""How much memory a graph asks for: which of its values are alive at once, and their sizes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import prod

from msgspec import Struct

from ae_runtime.graphs.graph import Graph
from ae_runtime.graphs.values import FLOAT, MANY, Known, Misfit, parts, shown, with_rows
from ae_runtime.graphs.walk import Walk, walk

_BLOCK = 16  # numbers of a vector: onnxruntime computes so many channels at once
_COPIES = 3  # of what is constant: it is computed when a graph is loaded, copied, and kept
_REORDERED = 2  # more copies of it, as weights of a convolution


class Needs(Struct, frozen=True):
    """Bytes that one call of a graph takes at most, beside its weights: fixed + rows * per_row."""

    fixed: int
    per_row: int


class Run(Struct, frozen=True):
    """What a graph does with memory, in bytes that may depend on the rows.

    always: what is there all the time. gives: of each operator the names of its values, and their
    bytes; own: what it needs for itself; takes: names of what goes in. orders: the operators'
    places, in the ways they may run. kept: names of the outputs.
    """

    always: int
    gives: list[list[tuple[str, int]]]
    own: list[int]
    takes: list[list[str]]
    orders: list[list[int]]
    kept: set[str]


def needs(graph: Graph, limit: int) -> Needs:
    """What a graph needs, if that is at most `limit` bytes for one row.

    Raises Misfit if it is more, or if the graph fits no bundle, in which rows stand alone.
    """
    found = walk(graph, MANY)
    _check_outputs(graph, found.values)
    _check_rows(graph, found.values)
    run = _run(graph, found)
    row = with_rows(run.always, 1) + max(_held(run, order) for order in run.orders)
    if row > limit:
        raise Misfit(
            f"it needs {row:,} bytes for one row, and {limit:,} are allowed; load(..., "
            f"max_memory={2 * row}) takes it, if you trust the bundle"
        )
    totals = [parts(total) for total in _totals(run)]
    per_row = max(b for _, b in totals)
    return Needs(max(a + b for a, b in totals) - per_row, per_row)


def _check_outputs(graph: Graph, values: dict[str, Known]) -> None:
    for port in graph.outputs:
        dims = tuple(MANY if size is None else size for size in port.dims)
        if port.name not in values:
            raise Misfit(f"nothing gives its output {port.name!r:.60}")
        if values[port.name].dims != dims:
            found = shown(values[port.name].dims)
            raise Misfit(f"its output {port.name!r:.60} has shape {found}, not {shown(dims)}")


def _check_rows(graph: Graph, values: dict[str, Known]) -> None:
    """Complain of values that are of another size for one row than many rows tell.

    All that decides on a size tends one way as the rows grow, so between them it is as they say.
    """
    single = walk(graph, 1).values
    for name, value in values.items():
        if single[name].dims != tuple(with_rows(size, 1) for size in value.dims):
            raise Misfit(
                f"value {name!r:.60} has shape {shown(value.dims)}, but {shown(single[name].dims)} "
                "for one row"
            )


def _run(graph: Graph, found: Walk) -> Run:
    always = sum(found.values[port.name].nbytes for port in graph.inputs)
    blocked = any(node.op == "Conv" for node in graph.nodes)
    gives, computed = [], set[str]()
    for at, (node, step) in enumerate(zip(graph.nodes, found.steps, strict=True)):
        names = [name or f"{place} of {at}" for place, name in enumerate(node.outputs)]
        pairs = list(zip(names, step.made, strict=True))
        gives.append([(name, _size(v, blocked)) for name, v in pairs if not v.constant])
        # Weights of whole numbers are made real where they are needed, not when a graph is loaded.
        if node.op not in ("Constant", "DequantizeLinear"):
            computed.update(name for name, value in pairs if value.constant)
        copies = 0 if node.op == "Constant" else _COPIES if pairs[0][0] in computed else 1
        always += sum(copies * value.nbytes for _, value in pairs if value.constant)
        if node.op.startswith("Conv") and node.inputs[1] in computed:
            always += _REORDERED * found.values[node.inputs[1]].nbytes
    return Run(
        always=always,
        gives=gives,
        own=[step.workspace for step in found.steps],
        takes=[node.inputs for node in graph.nodes],
        orders=list(_orders(graph)),
        kept={port.name for port in graph.outputs},
    )


def _size(value: Known, blocked: bool) -> int:
    """Bytes of a value; beside convolutions, images have whole blocks of channels."""
    if blocked and value.dtype == FLOAT and len(value.dims) == 4 and value.dims[1] < MANY:
        rows, channels, *sizes = value.dims
        return 4 * rows * -(-channels // _BLOCK) * _BLOCK * prod(sizes)
    return value.nbytes


def _orders(graph: Graph) -> Iterator[list[int]]:
    """Depth first from operators whose values nobody takes, as onnxruntime has it.

    Of two that one operator needs either may come first: that depends on what it fuses.
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


def _ends(run: Run, order: list[int]) -> list[list[str]]:
    """Names of the values that nothing takes any more, after each step of an order."""
    last = {name: at for at in order for name, _ in run.gives[at]}
    last |= {name: at for at in order for name in run.takes[at] if name in last}
    ends: list[list[str]] = [[] for _ in order]
    for name, at in last.items():
        if name not in run.kept:
            ends[at].append(name)
    return ends


def _totals(run: Run) -> Iterator[int]:
    """Bytes that are alive at each step of each order."""
    yield run.always
    for order in run.orders:
        size, total, ends = dict[str, int](), run.always, _ends(run, order)
        for at in order:
            size.update(run.gives[at])
            total += sum(nbytes for _, nbytes in run.gives[at])
            yield total + run.own[at]
            total -= sum(size[name] for name in ends[at])


def _held(run: Run, order: list[int]) -> int:
    """Bytes that an allocator holds for one row, which gives back nothing and joins no pieces.

    onnxruntime's does better, but not for values that grow from operator to operator: what was
    freed is too small for the next.
    """
    free, held, taken, ends = list[int](), 0, dict[str, int](), _ends(run, order)
    for at in order:
        for name, nbytes in (*run.gives[at], ("", run.own[at])):
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
