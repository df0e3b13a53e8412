"""Check that this machine computes what the golden vectors say, and describe its set-up."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.machine.golden import Check, batch_check, golden_checks, read_golden
from ae_runtime.model.cpus import available_cpus, cgroup_quota
from ae_runtime.model.devices import (
    CUDA,
    import_onnxruntime,
    installed,
    telemetry_state,
    unknown_processor,
    why_cuda_does_not_load,
)
from ae_runtime.model.model import Model


def examine(model: Model) -> list[Check]:
    """Every check of this machine and this bundle.

    Raises BundleCorrupt if golden.npz does not hold what the manifest says.
    """
    set_up = _set_up(model)  # first: what a model adds to a process shows only once
    golden = read_golden(model)
    inputs = [golden[port.name] for port in model.inputs]
    checks = [*golden_checks(model, golden), batch_check(model, golden)]
    return [*set_up, *checks, *_speeds(model, inputs)]


def _set_up(model: Model) -> list[Check]:
    import_onnxruntime()
    before = _own_bytes()
    provider = model.provider
    model.decode(np.zeros((model.plan.threads * model.plan.tile, model.latent_dim), np.float32))
    return [
        Check(
            "machine",
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        ),
        _onnxruntime(),
        Check("numpy", np.__version__),
        _provider(provider),
        _threads(model),
        Check("telemetry", telemetry_state(), ok=telemetry_state() == "off"),
        _memory(before, _own_bytes()),
    ]


def _provider(used: str) -> Check:
    """Check of the provider; wrong if the wheel for GPUs is installed and no GPU can be used."""
    if used == CUDA or CUDA not in import_onnxruntime().get_available_providers():
        return Check("provider", used)
    reason = why_cuda_does_not_load() or "asked for"
    return Check("provider", f"{used}, not {CUDA}: {reason}", ok=reason == "asked for")


def _threads(model: Model) -> Check:
    """Check of threads against the processors that they may run on."""
    cpus, quota, plan = available_cpus(), cgroup_quota(), model.plan
    limit = f", cgroup quota {quota:g}" if quota is not None else ""
    found = (
        f"{plan.threads}, each on tiles of {plan.tile} rows; {cpus} processors may be used{limit}"
    )
    if plan.threads > cpus:
        return Check("threads", f"{found}: they wait for each other", ok=False)
    return Check("threads", found)


def _own_bytes() -> int | None:
    """Memory of this process that no file stands for; None where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            found = next(line for line in status if line.startswith("RssAnon:"))
    except (OSError, StopIteration):
        return None
    return 1024 * int(found.split()[1])


def _memory(before: int | None, after: int | None) -> Check:
    if before is None or after is None:
        return Check("memory", "this system does not say")
    added = f"the model adds {max(0, after - before) / 1e6:.0f} MB"
    return Check("memory", f"{after / 1e6:.0f} MB of this process, of which {added}")


def _speeds(model: Model, inputs: list[NDArray[Any]]) -> list[Check]:
    """Rows a second, and one row: to compare with yesterday's, nothing is right or wrong."""
    rows = 8 * model.plan.threads * model.plan.tile
    many = [np.resize(array, (rows, *array.shape[1:])) for array in inputs]
    one = [array[:1] for array in inputs]
    z = model.encode(*many)
    seconds = {
        "encode": _best_of(lambda: model.encode(*many)),
        "decode": _best_of(lambda: model.decode(z)),
        "one": _best_of(lambda: model.encode(*one)),
    }
    found = f"{rows / seconds['encode']:,.0f} rows/s, one row in {seconds['one'] * 1e6:,.0f} us"
    return [
        Check("speed encode", found),
        Check("speed decode", f"{rows / seconds['decode']:,.0f} rows/s"),
    ]


def _best_of(work: Callable[[], object], for_s: float = 0.05) -> float:
    """Seconds that `work` takes when nothing disturbs it."""
    best, ends = float("inf"), time.perf_counter() + for_s
    while best == float("inf") or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def _onnxruntime() -> Check:
    found = installed("onnxruntime", "onnxruntime-gpu")
    if len(found) > 1:
        return Check("onnxruntime", f"{', '.join(found)}; both installed: remove one", ok=False)
    # Without either, a package of another name (a nightly one, say) brought it.
    text = found[0] if found else f"onnxruntime {import_onnxruntime().__version__}"
    if unknown_processor:
        text += f"; it does not know this processor, and may be slower ({unknown_processor[0]})"
    return Check("onnxruntime", text)
