"""Sessions: on the device that was asked for or not at all, with no threads of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_runtime.errors import DeviceUnavailable
from ae_runtime.model import devices


def test_threads_default_to_the_processors(
    monkeypatch: pytest.MonkeyPatch, table_bundle: Path
) -> None:
    monkeypatch.setattr("ae_runtime.model.plan.available_cpus", lambda: 5)
    assert ae_runtime.load(table_bundle).threads == 5
    assert ae_runtime.load(table_bundle, threads=2).threads == 2


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let onnxruntime offer these providers, its CPU wheel or what else is named installed."""

    def offer(*providers: str, wheels: tuple[str, ...] = ("onnxruntime",)) -> None:
        ort = devices.import_onnxruntime()
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*providers, devices.CPU])
        monkeypatch.setattr(
            devices, "installed", lambda *names: [f"{n} 1.32.0" for n in names if n in wheels]
        )

    return offer


def refusal(bundle: Path, device: str) -> str:
    with pytest.raises(DeviceUnavailable) as caught:
        ae_runtime.load(bundle, device=device)
    return str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "CPU", "", "cpu:0"])
def test_words_that_are_no_device(
    table_bundle: Path, offered: Callable[..., None], device: str
) -> None:
    offered("AzureExecutionProvider")
    assert refusal(table_bundle, device) == (
        f"device {device!r} is not known; use 'auto', 'cpu', 'cuda', or a provider of onnxruntime: "
        "AzureExecutionProvider, CPUExecutionProvider"
    )


def test_cuda_with_the_cpu_wheel(table_bundle: Path, offered: Callable[..., None]) -> None:
    offered()
    assert refusal(table_bundle, "cuda") == (
        "asked for CUDAExecutionProvider: onnxruntime offers only CPUExecutionProvider; "
        'pip uninstall onnxruntime; pip install "ae-toolkit[gpu]"'
    )


def test_cuda_with_both_wheels(table_bundle: Path, offered: Callable[..., None]) -> None:
    offered(wheels=("onnxruntime", "onnxruntime-gpu"))
    assert refusal(table_bundle, "cuda") == (
        "asked for CUDAExecutionProvider: onnxruntime offers only CPUExecutionProvider; both "
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.32.0 are installed, and one hides the other: pip "
        'uninstall onnxruntime onnxruntime-gpu; pip install "ae-toolkit[gpu]"'
    )


def test_a_provider_that_this_build_lacks(table_bundle: Path, offered: Callable[..., None]) -> None:
    offered()
    assert refusal(table_bundle, "CoreMLExecutionProvider") == (
        "asked for CoreMLExecutionProvider: onnxruntime offers only CPUExecutionProvider; install "
        "the build of onnxruntime that has it, in place of this one"
    )


@pytest.fixture
def gpu_wheel(
    monkeypatch: pytest.MonkeyPatch, offered: Callable[..., None], tmp_path: Path
) -> Path:
    """The GPU wheel, as far as it shows without a GPU: its folder, without a library in it."""
    offered(devices.CUDA, wheels=("onnxruntime-gpu",))
    ort = devices.import_onnxruntime()
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load"), raising=False)
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_cuda_whose_libraries_do_not_load(
    table_bundle: Path, gpu_wheel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shared = gpu_wheel / "capi" / "libonnxruntime_providers_shared.so"
    assert refusal(table_bundle, "cuda") == (
        f"asked for CUDAExecutionProvider: {shared}: cannot open shared object file: No such file "
        'or directory; pip install "onnxruntime-gpu[cuda,cudnn]" brings the libraries of CUDA, the '
        "driver comes with the system"
    )
    assert capfd.readouterr() == ("", "")


def test_auto_is_the_cpu_where_cuda_does_not_load(table_bundle: Path, gpu_wheel: Path) -> None:
    ae = ae_runtime.load(table_bundle)
    assert ae.device == "CPUExecutionProvider"
    assert ae.tile == ae_runtime.load(table_bundle, device="cpu").tile


def test_of_stderr_only_lines_about_the_processor_are_held_back(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[str] = []
    monkeypatch.setattr(devices, "unknown_processor", known)
    lines = ["Error in cpuinfo: no list", "library: broken", "onnxruntime cpuid_info warning: 0"]

    @devices._held_back()
    def fail() -> None:
        os.write(2, "".join(f"{line}\n" for line in lines).encode())
        raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr() == ("", "library: broken\n")
    assert known == [lines[0], lines[2]]
    os.write(2, b"afterwards\n")
    assert capfd.readouterr() == ("", "afterwards\n")


class Session:
    """A session as far as its providers go."""

    providers: tuple[str, ...] = ()

    def __init__(self, graph: bytes, options: object, *, providers: list[str], **_: object) -> None:
        self.asked = providers

    def get_providers(self) -> list[str]:
        return [*self.providers]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    monkeypatch.setattr(devices.import_onnxruntime(), "InferenceSession", Session)
    monkeypatch.setattr(devices, "why_cuda_does_not_load", lambda: "")
    return Session


def test_a_provider_that_was_not_asked_for_is_refused(
    session: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "providers", ("AzureExecutionProvider", devices.CPU))
    with pytest.raises(DeviceUnavailable) as caught:
        devices.open_session(b"")
    assert str(caught.value) == (
        "asked for CPUExecutionProvider, got AzureExecutionProvider, CPUExecutionProvider"
    )


def test_cuda_that_does_not_start_is_no_cpu(
    session: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "providers", (devices.CPU,))  # as onnxruntime does, silently
    with pytest.raises(DeviceUnavailable) as caught:
        devices.open_session(b"", provider=devices.CUDA)
    assert str(caught.value) == "asked for CUDAExecutionProvider, got CPUExecutionProvider"


def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failure 100:\nno CUDA-capable device is detected")

    monkeypatch.setattr(devices.import_onnxruntime(), "InferenceSession", fail)
    with pytest.raises(DeviceUnavailable) as caught:
        devices.open_session(b"", provider=devices.CUDA)
    assert str(caught.value) == (
        "asked for CUDAExecutionProvider: CUDA failure 100: no CUDA-capable device is detected"
    )


def test_auto_takes_cuda_where_it_loads(
    session: type[Session], offered: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(devices.CUDA)
    monkeypatch.setattr(session, "providers", (devices.CUDA, devices.CPU))
    opened = devices.open_session(b"", provider=None)
    assert opened.asked == [devices.CUDA]  # type: ignore[attr-defined]
    assert devices.provider_of(opened) == devices.CUDA


def test_auto_takes_no_other_provider(offered: Callable[..., None], table_bundle: Path) -> None:
    offered("AzureExecutionProvider", "OpenVINOExecutionProvider")
    assert ae_runtime.load(table_bundle).device == "CPUExecutionProvider"


@pytest.mark.parametrize("device", ["auto", "cpu", "CPUExecutionProvider"])
def test_sessions_run_on_one_thread_of_the_cpu(table_bundle: Path, device: str) -> None:
    session = ae_runtime.load(table_bundle, device=device).model.engine.session("decoder")
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("mlas.disable_kleidiai") == "1"  # see test_same_bits


def test_a_device_answers_as_the_cpu_does(table_bundle: Path, digits_bundle: Path) -> None:
    # What the path of CUDA does but for the device: outputs bound to the caller's memory.
    for bundle in (table_bundle, digits_bundle):
        ae = ae_runtime.load(bundle, device="cpu", tile=7, threads=2)
        bound = ae_runtime.load(bundle, device="cpu", tile=7, threads=2)
        for graph in ("encoder", "decoder"):
            bound.model.engine.session(graph)
        bound.model.engine._provider = devices.CUDA
        x = np.ones((100, *ae.input_shape), ae.manifest.inputs[0].dtype)
        x += np.arange(100, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        np.testing.assert_array_equal(bound.reconstruct(x), ae.reconstruct(x))


@pytest.mark.skipif(
    devices.CUDA not in devices.import_onnxruntime().get_available_providers(),
    reason="onnxruntime here has no CUDA: nothing was computed on a GPU",
)
def test_a_gpu_gives_what_the_cpu_gives(golden_bundle: Path) -> None:
    from ae_runtime.machine.doctor import examine

    ae = ae_runtime.load(golden_bundle, device="cuda")
    assert [check for check in examine(ae.model) if not check.ok] == []
    assert ae.device == devices.CUDA


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
