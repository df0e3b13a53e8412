"""Find the tile and the threads with which a bundle's encoder is fastest on this machine."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ae_runtime.machine.golden import read_golden
from ae_runtime.machine.roofline import Machine, Work, measure, work_of
from ae_runtime.model.cpus import available_cpus
from ae_runtime.model.model import Model
from ae_runtime.model.plan import MAX_ROWS_BYTES, Plan

TILES = [16 << step for step in range(8)]  # to 2048
ROUNDS = 3
SWEEP_S, MACHINE_S = 1.4, 0.6
SAME = 0.98  # of the best rate: as good, within what a sweep of a second can tell


class Tuning(NamedTuple):
    """Result of a sweep.

    rates: rows a second, by tile and threads. best: where that is highest; the plan that is used
    without tuning, where that is as good. usual: that plan.
    """

    rates: dict[Plan, float]
    best: Plan
    usual: Plan
    work: Work
    machine: Machine

    @property
    def share(self) -> tuple[float, str]:
        """How near the best plan comes to the machine's best, and by what that is bound."""
        rate = self.rates[self.best]
        shares = {
            "matrix-multiply peak": rate * self.work.operations / self.machine.operations,
            "memory bandwidth": rate * self.work.io_bytes / self.machine.io_bytes,
        }
        bound = max(shares, key=lambda name: shares[name])
        return shares[bound], bound


def tune(model: Model) -> Tuning:
    """Rows a second of the encoder over tiles and threads, in about two seconds; stores nothing.

    Rows are the golden ones, over and over. Raises BundleCorrupt if these cannot be read.
    """
    golden = read_golden(model)
    threads_max = max(available_cpus(), model.plan.threads)
    counts = sorted({1, threads_max, *(1 << bit for bit in range(threads_max.bit_length()))})
    per_row = model.bundle.needs["encoder"].per_row
    plans = [
        Plan(tile, threads)
        for threads in counts
        if threads <= threads_max
        for tile in sorted({*TILES, model.plan.tile})
        if tile * threads * per_row <= MAX_ROWS_BYTES
    ]
    usual = Plan(model.plan.tile, model.plan.threads)
    plans += [usual] if usual not in plans else []
    rates = dict.fromkeys(plans, 0.0)
    seconds = SWEEP_S / ROUNDS / len(plans)
    inputs = [golden[port.name] for port in model.inputs]
    models = {
        count: Model(model.bundle, device=model.provider, threads=count)
        for count in {plan.threads for plan in plans}
    }
    for _ in range(ROUNDS):  # in turn, so that a busy moment strikes all alike
        for plan in plans:
            rates[plan] = max(
                rates[plan], _rate(models[plan.threads].planned(plan), inputs, seconds)
            )
    for one in models.values():
        one.close()
    best = max(plans, key=lambda plan: rates[plan])
    if rates[usual] >= SAME * rates[best]:
        best = usual
    raw = model.bundle.files["encoder.onnx"]
    return Tuning(rates, best, usual, work_of(raw), measure(threads_max, MACHINE_S))


def _rate(model: Model, inputs: list[np.ndarray], seconds: float) -> float:
    """Rows a second with the model's plan, over some tiles for each thread."""
    rows = 4 * model.plan.tile * model.plan.threads
    arrays = [np.resize(array, (rows, *array.shape[1:])) for array in inputs]
    done, started = 0, time.perf_counter()
    while not done or time.perf_counter() - started < seconds:
        model.encode(*arrays)
        done += rows
    return done / (time.perf_counter() - started)
