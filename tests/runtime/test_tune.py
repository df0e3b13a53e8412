"""What tuning finds: every plan once, the roof above the rate, and nothing left behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle.weights import list_weights
from ae_runtime.machine import roofline, tune
from ae_runtime.machine.roofline import Machine, Work, work_of
from ae_runtime.machine.tune import Tuning
from ae_runtime.model.plan import Plan


def test_operations_are_those_of_the_layers(table_bundle: Path, digits_bundle: Path) -> None:
    # Counted by hand from the weights: each number of a matrix is multiplied once for a row.
    for bundle in (table_bundle.parent / "table", table_bundle.parent / "float32", digits_bundle):
        ae = ae_runtime.load(bundle)
        raw = ae.bundle.files["encoder.onnx"]
        matrices = sum(
            int(np.prod(weight.shape))
            for weight in list_weights(ae.bundle)
            if weight.graph == "encoder" and len(weight.shape) == 2
        )
        x = ae.manifest.inputs[0]
        in_bytes = np.dtype(x.dtype).itemsize * int(np.prod(x.row_shape))
        assert work_of(raw) == Work(2 * matrices, in_bytes + 4 * ae.latent_dim)


def test_operations_of_recurrences(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle.parent / "gru")
    steps, channels = ae.input_shape
    raw = ae.bundle.files["encoder.onnx"]
    assert work_of(raw).operations > 2 * steps * 3 * channels


def test_the_product_that_is_measured() -> None:
    session = roofline.open_session(roofline._product_graph())
    a, b = np.random.default_rng(0).standard_normal((2, 20, 20)).astype(np.float32)
    np.testing.assert_allclose(session.run(["c"], {"a": a, "b": b})[0], a @ b, atol=1e-5)
    machine = roofline.measure(threads=1, seconds=0.05)
    assert machine.operations > 1e8
    assert machine.io_bytes > 1e7


def test_a_sweep(table_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SWEEP_S", 0.05)
    monkeypatch.setattr(tune, "MACHINE_S", 0.05)
    monkeypatch.setattr(tune, "available_cpus", lambda: 3)
    before = threading.active_count()
    ae = ae_runtime.load(table_bundle, tile=100, threads=2)
    found = tune.tune(ae.model)
    tiles = {100, 16, 32, 64, 128, 256, 512, 1024, 2048}
    assert set(found.rates) == {Plan(tile, threads) for tile in tiles for threads in (1, 2, 3)}
    assert found.usual == Plan(100, 2)
    assert found.rates[found.best] >= tune.SAME * max(found.rates.values())
    assert min(found.rates.values()) > 0
    assert found.share[0] > 0
    assert threading.active_count() == before
    assert (ae.tile, ae.threads) == (100, 2)


def test_wide_rows_are_not_tried_by_the_thousand(
    table_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "SWEEP_S", 0.05)
    monkeypatch.setattr(tune, "MACHINE_S", 0.05)
    ae = ae_runtime.load(table_bundle, threads=1)
    per_row = ae.bundle.needs["encoder"].per_row
    monkeypatch.setattr(tune, "MAX_ROWS_BYTES", 200 * per_row)
    # The plan that is used without tuning is tried whatever it takes.
    assert {plan.tile for plan in tune.tune(ae.model).rates if plan.threads == 1} == {
        16,
        32,
        64,
        128,
        256,
    }


def tuning(rates: dict[Plan, float], work: Work) -> Tuning:
    best = max(rates, key=lambda plan: rates[plan])
    return Tuning(rates, best, best, work, Machine(operations=1e9, io_bytes=1e6))


def test_the_nearer_bound_is_named() -> None:
    rates = {Plan(256, 2): 100.0}
    assert tuning(rates, Work(5_000_000, 10)).share == (0.5, "matrix-multiply peak")
    assert tuning(rates, Work(5_000, 9_000)).share == (0.9, "memory bandwidth")


def test_the_command_says_what_to_pass(
    table_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ae_runtime.cli import ae_run
    from ae_runtime.console import run

    assert run(ae_run, "ae-run", ["tune", str(table_bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"tile", "threads", "rows_per_second"} == set(found["best"])
    assert found["best"]["rows_per_second"] > 0
    assert run(ae_run, "ae-run", ["tune", str(table_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["best", "roofline", "pass"]
    best = lines[-3].split()[1:3]  # tile=256, threads=2:
    assert " ".join(best).rstrip(":") in lines[-1] or "nothing: what is used" in lines[-1]
