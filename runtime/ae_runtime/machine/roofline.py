"""Work that a graph needs for one row, and the most that this machine can do.

The roofline of Williams, Waterman and Patterson (2009): a computation is bound by arithmetic or by
memory, whichever takes longer at the machine's best.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from ae_runtime.graphs.graph import read_graph
from ae_runtime.graphs.operators import OPERATORS
from ae_runtime.graphs.shape_inference import infer
from ae_runtime.model.devices import compute, open_session

PRODUCT = 1024  # sides of the matrices that are multiplied: large, and within a cache
COPIED_BYTES = 64 << 20  # more than a cache holds


class Work(NamedTuple):
    """Floating-point operations in products of matrices, and bytes in and out, for one row."""

    operations: int
    io_bytes: int


class Machine(NamedTuple):
    """The most that was measured: floating-point operations and bytes copied in a second."""

    operations: float
    io_bytes: float


def work_of(raw: bytes) -> Work:
    """Work of the graph in `raw`: its products, convolutions and recurrences."""
    graph = read_graph(raw)
    inference = infer(graph, 1)
    products = 0
    for step in inference.steps:
        rule = OPERATORS[step.call.node.op].products
        products += rule(step.call, step.outputs) if rule else 0
    ports = [*graph.inputs, *graph.outputs]
    return Work(2 * products, sum(inference.values[port.name].nbytes for port in ports))


def measure(threads: int, seconds: float) -> Machine:
    """The best of this machine on so many threads, each for about half of the seconds."""
    session = open_session(_product_graph())
    a, b = (np.full((PRODUCT, PRODUCT), 1 / PRODUCT, np.float32) for _ in range(2))
    source, to = (np.zeros(COPIED_BYTES // threads, np.uint8) for _ in range(2))
    return Machine(
        2
        * PRODUCT**3
        * _rate(partial(compute, session, ("c",), {"a": a, "b": b}), threads, seconds),
        # Read once and written once, as rows and latents are.
        2 * source.nbytes * _rate(partial(np.copyto, to, source), threads, seconds),
    )


def _rate(work: Callable[[], object], threads: int, seconds: float) -> float:
    """How often a second `work` is done on all threads together, in the best of a few tries."""
    tries, best = 5, 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(tries):
            ends = time.perf_counter() + seconds / 2 / tries

            def until(ends: float = ends) -> int:
                done = 0
                while time.perf_counter() < ends or not done:
                    work()
                    done += 1
                return done

            started = time.perf_counter()
            futures = [pool.submit(until) for _ in range(threads)]
            done = sum(future.result() for future in futures)
            best = max(best, done / (time.perf_counter() - started))
    return best


def _product_graph() -> bytes:
    """An ONNX model of c = a @ b, in protobuf's wire format."""

    def field(number: int, value: int | str | bytes) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3, value])
        raw = value.encode() if isinstance(value, str) else value
        return bytes([number << 3 | 2, len(raw)]) + raw

    def port(name: str) -> bytes:
        axes = b"".join(field(1, field(2, f"{name}{axis}")) for axis in range(2))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, axes)))

    node = field(1, "a") + field(1, "b") + field(2, "c") + field(4, "MatMul")
    graph = field(1, node) + field(2, "product") + field(11, port("a")) + field(11, port("b"))
    opset = field(1, "") + field(2, 18)
    return field(1, 8) + field(8, opset) + field(7, graph + field(12, port("c")))
