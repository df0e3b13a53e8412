"""What all tests share: a header that names versions, and the repository's folders."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# As ae_train does when it is imported, for tests that import torch first.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Two threads of products in each of two workers wait for each other, for six times as long. Before
# numpy is imported, of which processes that tests start have it, too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent


def pytest_report_header() -> list[str]:
    found = []
    for name in ("numpy", "onnxruntime", "torch", "onnx"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return [", ".join(found)]


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Hold a test and its processes to one processor if another test runs beside it.

    Trainings of small models on two threads take up to twice the processor time, which the test
    beside them would use. Without xdist, and where there is no affinity, nothing changes.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[int(worker.removeprefix("gw")) % len(before)]})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tmp_path, which is the working directory until the test ends."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def digits_bundle() -> Path:
    """models/digits: 8x8 uint8 images -> 8 latents."""
    return ROOT / "models" / "digits"


@pytest.fixture(scope="session", params=["table", "float32", "image"])
def golden_bundle(request: pytest.FixtureRequest) -> Path:
    """Each bundle of tests/golden/v1: a float64 table, a float32 array, uint8 colour images."""
    return ROOT / "tests" / "golden" / "v1" / request.param


@pytest.fixture(scope="session")
def table_bundle() -> Path:
    """tests/golden/v1/table: float64, columns far, tiny, gaps, constant, empty, count -> 2."""
    return ROOT / "tests" / "golden" / "v1" / "table"
