"""Bundles changed at random, half of them with their hashes made right again: refused, or run.

1,000 of the 20,000 are in the plain run. Nothing ends the process, hangs, takes 512 MB or fails by
anything but one line of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).parent / "workers" / "mutants.py"
GOLDEN = (
    *("table", "float32", "image", "mixed", "gru", "int8"),
    *("scored", "scored_mixed", "scored_series", "scored_image"),
)
PLAIN, ALL = 1_000, 20_000
MOST_MB = 512
STEPS = (
    "load",
    "encode",
    "decode",
    "score",
    "sample",
    "whole",
)  # where a mutant may be refused, or not at all


@pytest.fixture
def bundles(table_bundle: Path, digits_bundle: Path) -> list[Path]:
    return [*(table_bundle.parent / name for name in GOLDEN), digits_bundle]


def outcomes(bundles: list[Path], folder: Path, first: int, count: int) -> list[dict[str, Any]]:
    """What came of each mutant; one that ended its process has that for an outcome."""
    log, end, found = folder / f"{first}.jsonl", first + count, []
    while first < end:
        done = subprocess.run(
            [sys.executable, "-W", "error", WORKER, log, str(first), str(end - first), *bundles],
            capture_output=True,
            text=True,
        )
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        said = {line["seed"]: line["done"] for line in lines if "done" in line}
        found += [line | {"done": said[line["seed"]]} for line in lines if "came" in line]
        if done.returncode or done.stderr or done.stdout:
            last = lines[-1] if lines else {}
            end_of = f"exit code {done.returncode}: {done.stdout}{done.stderr}"
            found.append(last | {"came": end_of, "peak_mb": 0})
            first = last.get("seed", end) + 1
        else:
            first = end
    return found


def check(found: list[dict[str, Any]], count: int) -> None:
    assert [one for one in found if one["came"] not in STEPS] == []
    assert [one for one in found if one["peak_mb"] >= MOST_MB] == []
    assert len({one["seed"] for one in found}) == count
    # Each line of defence had work, or the mutants prove nothing.
    came = Counter(one["came"] for one in found)
    assert came["load"] > count / 4
    assert came["whole"] > count / 10
    if count >= ALL:  # one or two in a thousand
        assert sum(came[step] for step in STEPS[1:-1]) > 0
    assert abs(sum("hashes right" in one["done"] for one in found) / count - 0.5) < 0.1


def test_mutated_bundles(bundles: list[Path], tmp_path: Path) -> None:
    check(outcomes(bundles, tmp_path, 0, PLAIN), PLAIN)


@pytest.mark.soak
def test_all_mutated_bundles(bundles: list[Path], tmp_path: Path) -> None:
    starts, part = range(PLAIN, PLAIN + ALL, ALL // 10), ALL // 10
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda first: outcomes(bundles, tmp_path, first, part), starts)
        check([one for found in parts for one in found], ALL)
