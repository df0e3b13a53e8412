"""What doctor says of a machine, and what it calls wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ae_runtime
from ae_runtime.machine import doctor
from ae_runtime.machine.doctor import examine
from ae_runtime.machine.golden import Check
from ae_runtime.model import devices


def found(bundle: Path, name: str, **options: int) -> Check:
    checks = {check.name: check for check in examine(ae_runtime.load(bundle, **options).model)}
    return checks[name]


def test_threads_against_what_may_be_used(
    table_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "available_cpus", lambda: 3)
    monkeypatch.setattr(doctor, "cgroup_quota", lambda: 3.5)
    assert found(table_bundle, "threads", threads=3, tile=64) == Check(
        "threads",
        "3, each on tiles of 64 rows; 3 processors may be used, cgroup quota 3.5",
    )
    monkeypatch.setattr(doctor, "cgroup_quota", lambda: None)
    assert found(table_bundle, "threads", threads=4) == Check(
        "threads",
        "4, each on tiles of 256 rows; 3 processors may be used: they wait for each other",
        ok=False,
    )


def test_memory_and_speed(digits_bundle: Path) -> None:
    memory = found(digits_bundle, "memory")
    assert memory.ok
    said = re.fullmatch(r"(\d+) MB of this process, of which the model adds (\d+) MB", memory.found)
    if Path("/proc/self/status").exists():
        assert said
        assert 10 < int(said[1]) < 2000
        assert int(said[2]) < 100
    speed = found(digits_bundle, "speed encode").found
    said = re.fullmatch(r"([\d,]+) rows/s, one row in ([\d,]+) us", speed)
    assert said
    # Many rows at once are faster than one by one, or something is very wrong.
    assert int(said[1].replace(",", "")) > 1e6 / int(said[2].replace(",", ""))


def test_memory_where_the_system_does_not_say(
    table_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_own_bytes", lambda: None)
    assert found(table_bundle, "memory") == Check("memory", "this system does not say")


def test_a_wheel_for_gpus_that_finds_none_is_wrong(
    table_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort = devices.import_onnxruntime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [devices.CUDA, devices.CPU])
    for module in (devices, doctor):
        monkeypatch.setattr(module, "why_cuda_does_not_load", lambda: "libcuda.so.1: not there")
    assert found(table_bundle, "provider") == Check(
        "provider",
        "CPUExecutionProvider, not CUDAExecutionProvider: libcuda.so.1: not there",
        ok=False,
    )
