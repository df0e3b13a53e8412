"""Rows in one call of a graph, and threads, chosen for the cache and a limit of memory."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

from ae_runtime.errors import TooLittleMemory
from ae_runtime.model.cpus import available_cpus
from ae_runtime.model.devices import CUDA

MIN_TILE, MAX_TILE = 16, 256
CACHE_BYTES = 16 << 20  # for the values of one tile: a core's share of the last-level cache
# Memory of sessions, in units of the graphs' bytes: those bytes, kept for pickles and forks, the
# weights, and their second copy in the order that multiplication wants.
COPIES = 3
OVERHEAD_BYTES = 8 << 20  # for two sessions, without their weights
MAX_ROWS_BYTES = 256 << 20  # for the rows of all threads together, without max_memory
# Small enough to stay in the cache between reader and threads, large enough that handing it on
# costs nothing beside the work.
BLOCK_BYTES, MAX_BLOCK_ROWS = 2 << 20, 1 << 16
CUDA_TILE_BYTES, CUDA_MAX_TILE = 64 << 20, 8192
CUDA_THREADS = 2  # one moves rows to and from the device while the other computes there


class Needs(Protocol):
    """Bytes that a graph takes while it runs: fixed, for any number of rows, and per row."""

    @property
    def fixed(self) -> int: ...
    @property
    def per_row(self) -> int: ...


class Plan(NamedTuple):
    """tile: rows in one call of onnxruntime. threads: calls at the same time.

    lean: whether sessions save memory at the cost of microseconds a call, as a tile needs much.
    """

    tile: int
    threads: int
    lean: bool = False


def make_plan(
    needs: Collection[Needs],
    graph_bytes: int,
    provider: str = "",
    *,
    tile: int | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
) -> Plan:
    """Tile and threads for graphs with these needs, within max_memory where it is given.

    graph_bytes: size of all graphs together. tile, threads: as asked for; None: chosen here. Raises
    TooLittleMemory where what is asked for, or one row on one thread, does not fit.
    """
    per_row = max(1, *(need.per_row for need in needs))
    fixed = max(need.fixed for need in needs)
    room = MAX_ROWS_BYTES
    if max_memory is not None:
        room = (max_memory - COPIES * graph_bytes - OVERHEAD_BYTES) * 3 // 4  # rest: for files
    on_cuda = provider == CUDA
    best_threads = CUDA_THREADS if on_cuda else available_cpus()
    best_tile = (
        _power_of_two(CUDA_TILE_BYTES // per_row, CUDA_MAX_TILE)
        if on_cuda
        else max(MIN_TILE, _power_of_two(CACHE_BYTES // per_row, MAX_TILE))
    )
    fitting = room // (fixed + per_row * (tile or 1))
    used = threads or max(1, min(best_threads, fitting))
    if max_memory is not None and used > fitting:
        least = COPIES * graph_bytes + OVERHEAD_BYTES
        least += -(-used * (fixed + per_row * (tile or 1)) * 4 // 3)
        raise TooLittleMemory(
            f"max_memory is {max_memory:,} bytes; {tile or 1} rows at once on {used} "
            f"thread{'s' if used > 1 else ''} need {least:,}"
        )
    if tile is None:
        tile = min(best_tile, _power_of_two((room // used - fixed) // per_row, best_tile))
    lean = max_memory is not None or fixed + tile * per_row > 2 * CACHE_BYTES
    return Plan(tile, used, lean)


def memory_of(plan: Plan, needs: Collection[Needs], graph_bytes: int) -> int:
    """Bytes that sessions and tiles take with this plan."""
    tile = max(need.fixed + plan.tile * need.per_row for need in needs)
    return COPIES * graph_bytes + OVERHEAD_BYTES + plan.threads * tile


def block_rows(row_bytes: int, plan: Plan, max_memory: int | None) -> int:
    """How many rows to read, compute and write at a time: one tile or less, or whole tiles.

    row_bytes: bytes read and bytes written for one row, added. In memory are a block for each
    thread, and four that wait to be computed or written.
    """
    room = BLOCK_BYTES
    if max_memory is not None:
        room = min(room, max_memory // (8 * (plan.threads + 4)))
    rows = max(1, min(room // row_bytes, MAX_BLOCK_ROWS))
    return rows - rows % plan.tile if rows > plan.tile else rows


def _power_of_two(wanted: int, most: int) -> int:
    """The largest power of two that is at most `wanted` and `most`; at least 1."""
    return 1 << (max(1, min(wanted, most)).bit_length() - 1)
