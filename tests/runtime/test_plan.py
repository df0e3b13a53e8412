"""Tiles and threads: for the cache where there is room, and never more than max_memory allows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import ae_runtime
from ae_runtime.errors import TooLittleMemory
from ae_runtime.model import plan
from ae_runtime.model.devices import CUDA
from ae_runtime.model.plan import Plan, block_rows, make_plan

MB = 1 << 20


class Need(NamedTuple):
    fixed: int
    per_row: int


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 4)


@pytest.mark.parametrize(
    ("per_row", "expected"),
    [
        (0, Plan(256, 4)),
        (1000, Plan(256, 4)),
        (32 << 10, Plan(256, 4)),
        (200 << 10, Plan(64, 4)),
        (1 * MB, Plan(16, 4)),  # a row is more than the cache, and weights are read once for 16
        (8 * MB, Plan(8, 4)),  # 256 MB for all threads together
        (100 * MB, Plan(1, 2)),
        (250 * MB, Plan(1, 1)),
        (900 * MB, Plan(1, 1)),  # which admission takes with max_memory alone
    ],
)
def test_tiles_are_for_the_cache(per_row: int, expected: Plan) -> None:
    found = make_plan([Need(0, per_row), Need(0, 1)], graph_bytes=MB)
    assert found == expected._replace(lean=per_row >= 8 * MB)


def test_the_larger_need_counts() -> None:
    assert make_plan([Need(0, 8), Need(0, 128 << 10)], MB) == Plan(128, 4)
    assert make_plan([Need(100 * MB, 8), Need(0, 8)], MB) == Plan(256, 2, lean=True)


def test_what_is_asked_for_is_taken() -> None:
    needs = [Need(0, 1000)]
    assert make_plan(needs, MB, tile=5000, threads=9) == Plan(5000, 9)
    assert make_plan(needs, MB, tile=5000) == Plan(5000, 4)


@pytest.mark.parametrize("graph_bytes", [0, 3 * MB])
@pytest.mark.parametrize("per_row", [1000, 100_000, 10 * MB])
@pytest.mark.parametrize("fixed", [0, 5 * MB])
@pytest.mark.parametrize("max_memory", [40 * MB, 60 * MB, 500 * MB])
def test_max_memory_is_kept(fixed: int, per_row: int, graph_bytes: int, max_memory: int) -> None:
    found = make_plan([Need(fixed, per_row)], graph_bytes, max_memory=max_memory)
    rows = found.threads * (fixed + found.tile * per_row)
    assert rows + plan.COPIES * graph_bytes + plan.OVERHEAD_BYTES <= max_memory
    assert found.threads == 1 or found.threads <= 4


def test_max_memory_that_does_not_suffice() -> None:
    with pytest.raises(TooLittleMemory) as caught:
        make_plan([Need(0, 50 * MB)], 10 * MB, max_memory=80 * MB)
    assert str(caught.value) == (
        "max_memory is 83,886,080 bytes; 1 rows at once on 1 thread need 109,750,955"
    )
    assert make_plan([Need(0, 50 * MB)], 10 * MB, max_memory=109_750_955) == Plan(1, 1, True)
    with pytest.raises(TooLittleMemory) as caught:
        make_plan([Need(0, MB)], 0, tile=20, threads=2, max_memory=40 * MB)
    assert str(caught.value) == (
        "max_memory is 41,943,040 bytes; 20 rows at once on 2 threads need 64,312,662"
    )


def test_cuda_takes_more_rows_at_once() -> None:
    assert make_plan([Need(0, 1000)], MB, CUDA) == Plan(8192, 2)
    assert make_plan([Need(0, MB)], MB, CUDA) == Plan(64, 2, lean=True)


def test_blocks_are_whole_tiles_of_some_megabytes() -> None:
    assert block_rows(3264, Plan(256, 2), None) == 512
    assert block_rows(1, Plan(256, 2), None) == 1 << 16
    assert block_rows(40_000, Plan(256, 2), None) == 52  # no tile is whole
    assert block_rows(1 << 30, Plan(16, 2), None) == 1
    assert block_rows(3264, Plan(256, 2), 30 * MB) == 200


def test_a_loaded_bundle_keeps_to_its_plan(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle)
    assert (ae.threads, ae.tile) == (4, 256)
    assert ae.model.block_rows(6 * 8 + 2 * 4) == 37_376
    ae = ae_runtime.load(table_bundle, tile=100, threads=1)
    assert (ae.threads, ae.tile) == (1, 100)
    assert ae.model.block_rows(6 * 8 + 2 * 4) == 37_400
    with pytest.raises(TooLittleMemory, match=r"^max_memory is 1,000 bytes; 1 rows at once"):
        ae_runtime.load(table_bundle, max_memory=1000)
    with pytest.raises(ValueError, match=r"^max_memory is 0; it must be at least 1$"):
        ae_runtime.load(table_bundle, max_memory=0)
