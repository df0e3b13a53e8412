"""The device of a training, and its fastest matrix product that is as exact as float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from ae_runtime.errors import DeviceUnavailable
from ae_runtime.model.cpus import available_cpus

Device = Literal["auto", "cpu", "cuda"]
# Largest relative error of a product that counts as float32's; its own is about 5e-7, that of a
# product in bfloat16 1e-3.
EXACT = 1e-5


def find_device(name: Device) -> torch.device:
    """The device of that name; "auto": a GPU where there is one. Raises DeviceUnavailable."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        built = torch.version.cuda or "without CUDA"
        raise DeviceUnavailable(
            f"asked for cuda, but torch {torch.__version__} (built {built}) finds no GPU; "
            "use --device cpu, or install torch with CUDA"
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")


@contextlib.contextmanager
def own_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Set random state, threads and precision for a training, then restore the caller's."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(available_cpus())
        torch.set_float32_matmul_precision(fastest_exact_precision())
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)


def fastest_exact_precision() -> str:
    """The word "medium" where that is as exact as float32 here, else "highest".

    On CPUs "medium" takes oneDNN's product in place of MKL's, which on AMD is twice as fast; where
    the processor has instructions for bfloat16 it may compute in that, which is not float32.
    """
    before = torch.get_float32_matmul_precision()
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 256, 256, generator=random)
    try:
        torch.set_float32_matmul_precision("medium")
        error = float((a @ b - (a.double() @ b.double())).abs().max() / 256**0.5)
    finally:
        torch.set_float32_matmul_precision(before)
    return "medium" if error < EXACT else "highest"
