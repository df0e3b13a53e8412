"""Which processor runs the graphs, with how many threads, and how onnxruntime is set up for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ae_runtime.errors import BundleRefused, DeviceUnavailable, MissingExtra

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["auto", "cpu"]
TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"


def available_cpus() -> int:
    """Processors that this process may use: its affinity, or its cgroup's quota if that is less.

    onnxruntime and torch look at the host instead, and start too many threads in a container.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cpus, _cgroup_cpus() or cpus))


def _cgroup_cpus() -> int | None:
    """Whole processors of the cgroup v2 quota, None without one."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()[:2]
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def telemetry_state() -> str:
    """What is known of onnxruntime's telemetry in this process, in words."""
    if os.environ.get(TELEMETRY_VARIABLE) == "1":
        return "off"
    if "onnxruntime" in sys.modules:
        return f"not switched off: set {TELEMETRY_VARIABLE}=1 before onnxruntime is imported"
    return "off once a bundle is loaded"


def import_onnxruntime() -> Any:
    """The onnxruntime module, its telemetry switched off if nobody imported it before.

    Raises MissingExtra if it is not installed.
    """
    if "onnxruntime" not in sys.modules:
        # Read when onnxruntime is imported (it sends by default from 1.29 on); later is too late.
        os.environ[TELEMETRY_VARIABLE] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            f'onnxruntime cannot be imported ({error}); pip install "ae-toolkit[cpu]"'
        ) from None
    return onnxruntime


def check_device(device: str) -> None:
    """Raise DeviceUnavailable unless device is one that this version can run on."""
    if device not in ("auto", "cpu"):
        raise DeviceUnavailable(f"device {device!r} is not supported; use 'auto' or 'cpu'")


def open_session(graph: bytes, *, optimised: bool = True) -> onnxruntime.InferenceSession:
    """Return a session for one graph on the CPU: one thread inside a call, no spinning, no log.

    optimised: False runs the graph's operators as they stand, which verification compares with.

    Parallelism is over rows, in engine.py: with one thread inside a call the results do not depend
    on the thread count, and no thread pool collapses beside a busy neighbour.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # below fatal: every error is raised, and said once
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Its fallback prints on stdout and tries again, and hides what went wrong.
        session = ort.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        raise _reason(error, "onnxruntime does not take the graph") from None
    if session.get_providers() != ["CPUExecutionProvider"]:
        raise DeviceUnavailable(
            f"asked for CPUExecutionProvider, got {', '.join(session.get_providers())}"
        )
    return session


def compute(
    session: onnxruntime.InferenceSession, fetches: Sequence[str], feeds: Mapping[str, Any]
) -> list[Any]:
    """Outputs `fetches` of the session for arrays by the names of its inputs.

    Raises BundleRefused if the graph does not work for them, MemoryError if there is too little.
    """
    try:
        found: list[Any] = session.run(fetches, feeds)
        return found
    except Exception as error:
        raise _reason(error, "onnxruntime cannot run the graph") from None


def _reason(error: Exception, what: str) -> BundleRefused | MemoryError:
    """What onnxruntime's own error, which shares no public base with others, is to a caller."""
    reason = " ".join(str(error).split())
    if "allocate memory" in reason or "bad_alloc" in reason:
        return MemoryError(f"{what}: {reason}")
    return BundleRefused(f"{what}: {reason}")
