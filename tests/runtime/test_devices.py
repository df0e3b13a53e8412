"""Processors, threads and sessions: no more than this process may use, and never another device."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import ae_runtime
from ae_runtime import devices
from ae_runtime.errors import DeviceUnavailable


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000\n", 6),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 6),
        ("", 6),
        ("nonsense 100000\n", 6),
        (None, 6),
    ],
)
def test_processors_are_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, cpu_max: str | None, cpus: int
) -> None:
    def opened(path: str) -> io.StringIO:
        assert path == "/sys/fs/cgroup/cpu.max"
        if cpu_max is None:
            raise FileNotFoundError(path)
        return io.StringIO(cpu_max)

    monkeypatch.setattr(os, "cpu_count", lambda: 64)  # the host, which is not asked
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(devices, "open", opened, raising=False)
    assert devices.available_cpus() == cpus


def test_processors_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS and Windows
    monkeypatch.setattr(devices, "_cgroup_cpus", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert devices.available_cpus() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert devices.available_cpus() == 1


def test_threads_default_to_the_processors(
    monkeypatch: pytest.MonkeyPatch, table_bundle: Path
) -> None:
    monkeypatch.setattr("ae_runtime.engine.available_cpus", lambda: 5)
    assert ae_runtime.load(table_bundle).threads == 5
    assert ae_runtime.load(table_bundle, threads=2).threads == 2


@pytest.mark.parametrize("device", ["cuda", "CPU", "", "cpu:0"])
def test_devices_that_are_not_there(table_bundle: Path, device: str) -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        ae_runtime.load(table_bundle, device=device)  # type: ignore[arg-type]
    assert str(caught.value) == f"device {device!r} is not supported; use 'auto' or 'cpu'"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_sessions_run_on_one_thread_of_the_cpu(table_bundle: Path, device: str) -> None:
    session = ae_runtime.load(table_bundle, device=device)._engine.session("decoder")  # type: ignore[arg-type]
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_provider_that_is_not_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["AzureExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(devices.import_onnxruntime(), "InferenceSession", Session)
    with pytest.raises(DeviceUnavailable) as caught:
        devices.open_session(b"")
    assert str(caught.value) == (
        "asked for CPUExecutionProvider, got AzureExecutionProvider, CPUExecutionProvider"
    )


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_no_threads_but_those_asked_for(python: Callable[..., str], digits_bundle: Path) -> None:
    script = """
import os, sys
import numpy as np, ae_runtime
ae_runtime.load(sys.argv[1], threads=1).encode(np.zeros((1, 8, 8), np.uint8))
before = len(os.listdir("/proc/self/task"))  # numpy's and onnxruntime's own, whoever uses them
for threads in (1, 3):
    ae = ae_runtime.load(sys.argv[1], threads=threads, tile=10)
    ae.reconstruct(np.zeros((500, 8, 8), np.uint8))
    print(len(os.listdir("/proc/self/task")) - before)
"""
    one, three = map(int, python(script, digits_bundle).split())
    assert one == 0
    assert 1 <= three <= 3
