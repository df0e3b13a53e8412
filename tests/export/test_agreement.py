"""Graphs against the model, computed here in numpy's float64 from the saved weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from ae_export import export
from ae_export.export_source import source_of_run
from ae_runtime import load
from ae_runtime.machine.golden import golden_checks, read_golden
from ae_runtime.model.devices import open_session
from ae_train.data.dataset import make_dataset
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

Weights = dict[str, np.ndarray]
LIMIT = 1e6  # scaled input is clipped there


def weights_of(run: Run) -> Weights:
    assert run.folder is not None
    raw = safetensors.numpy.load_file(run.folder / "model.safetensors")
    return {
        name.removeprefix("arch.").removeprefix("path."): value.astype(np.float64)
        for name, value in raw.items()
    }


def net(weights: Weights, side: str, x: np.ndarray) -> np.ndarray:
    """One hidden layer of silu units; 0 for a model that is PCA."""
    if f"{side}_net.0.weight" not in weights:
        return np.zeros(1)
    h = x @ weights[f"{side}_net.0.weight"].T + weights[f"{side}_net.0.bias"]
    with np.errstate(over="ignore"):
        h = h / (1 + np.exp(-h))
    return h @ weights[f"{side}_net.2.weight"].T + weights[f"{side}_net.2.bias"]


def encode(weights: Weights, x: np.ndarray) -> np.ndarray:
    offset = weights["preprocess.offset"] + weights["preprocess.offset_rest"]
    s = (x.astype(np.float64) - offset) * weights["preprocess.gain"]
    s = np.where(np.isnan(s), weights["preprocess.fill"], s).clip(-LIMIT, LIMIT)
    s = s.reshape(len(s), -1) - weights["center"]
    return s @ weights["encode_axes.weight"].T + net(weights, "encode", s)


def decode(weights: Weights, z: np.ndarray, row_shape: tuple[int, ...]) -> np.ndarray:
    """Before integers are rounded and clipped."""
    z = z.astype(np.float64)
    y = z @ weights["decode_axes.weight"].T + weights["decode_axes.bias"]
    y = (y + net(weights, "decode", z)).reshape(-1, *row_shape)
    return y * weights["preprocess.scale"] + weights["preprocess.offset"]


def call(graph: bytes, feed: str, rows: np.ndarray, batch: int) -> np.ndarray:
    session = open_session(graph)
    parts = range(0, len(rows), batch)
    return np.concatenate([session.run(None, {feed: rows[i : i + batch]})[0] for i in parts])


def deviation(run: Run, x: np.ndarray) -> np.ndarray:
    """Of each column or channel over the training rows, 0 where there is none."""
    train = x[run.split.train].astype(np.float64)
    axes = (0,) if run.schema.kind == "table" else (0, 1, 2)
    present = ~np.isnan(train)
    count = np.maximum(present.sum(axes), 1)
    mean = np.where(present, train, 0).sum(axes) / count
    return np.sqrt(np.where(present, (train - mean) ** 2, 0).sum(axes) / count)


def held_out(case: Any) -> np.ndarray:
    split = case.run.split
    return case.x[np.concatenate([split.test, split.validation])]


def allowed(dev: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The promise: 1e-5 of a deviation, and one unit in the last place of the output."""
    return 1e-5 * dev + np.spacing(np.abs(np.nan_to_num(found))).astype(np.float64)


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_encoder(case: Any, batch: int) -> None:
    weights = weights_of(case.run)
    z = call(case.files["encoder.onnx"], "x", held_out(case), batch)
    train_z = encode(weights, case.x[case.run.split.train])
    dev = np.sqrt((train_z.std(0) ** 2).mean())  # over all latents, as the verification has it
    assert z.dtype == np.float32
    assert (np.abs(z - encode(weights, held_out(case))) <= allowed(dev, z)).all()


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_decoder(case: Any, batch: int) -> None:
    x = held_out(case)
    z = call(case.files["encoder.onnx"], "x", x, 64)
    x_hat = call(case.files["decoder.onnx"], "z", z, batch)
    expected = decode(weights_of(case.run), z, x.shape[1:])
    dev = deviation(case.run, case.x)
    assert (x_hat.shape, x_hat.dtype) == (x.shape, x.dtype)
    if x.dtype == np.uint8:
        expected = expected.clip(0, 255)
        # Rounded to the nearest; within 1e-5 of a deviation of a half, to either side.
        assert (np.abs(x_hat - expected) <= 0.5 + 1e-5 * dev).all()
        return
    integer = np.array([c.integer for c in case.run.schema.columns or []])
    np.testing.assert_array_equal(x_hat[:, integer], np.rint(x_hat[:, integer]))
    slack = np.where(integer, 0.5, 0)
    missing = np.isnan(case.x[case.run.split.train]).all(0)
    assert np.isnan(x_hat[:, missing]).all()
    error = np.abs(x_hat.astype(np.float64) - expected)[:, ~missing]
    assert (error <= (allowed(dev, x_hat) + slack)[:, ~missing]).all()


def test_a_column_a_million_deviations_from_zero_is_worth_its_bits(
    any_case: Callable[[str], Any],
) -> None:
    case = any_case("table")
    names = [column.name for column in case.run.schema.columns]
    far, constant, empty = (names.index(name) for name in ("far", "constant", "empty"))
    x = held_out(case)
    z = call(case.files["encoder.onnx"], "x", x, 64)
    moved = x.copy()
    moved[:, far] += 1e-3  # a thousandth of a deviation; float32 would see steps of 0.06
    change = call(case.files["encoder.onnx"], "x", moved, 64) - z
    weights = weights_of(case.run)
    expected = encode(weights, moved) - encode(weights, x)
    assert np.abs(expected).max() > 3e-4
    np.testing.assert_allclose(change, expected, atol=5e-6)  # two float32 latents of size 4
    x_hat = call(case.files["decoder.onnx"], "z", z, 64)
    np.testing.assert_array_equal(x_hat[:, constant], 1 / 3)
    assert np.isnan(x_hat[:, empty]).all()
    # And it reconstructs: better than the column's mean does.
    error, spread = (np.square(a).mean(0)[far] for a in (x_hat - x, x - x.mean(0)))
    assert error < 0.5 * spread


def test_the_report_says_how_well_they_agree(any_case: Callable[[str], Any]) -> None:
    case = any_case("float32")
    weights = weights_of(case.run)
    z = call(case.files["encoder.onnx"], "x", case.run.probe[0], 64)
    variance = encode(weights, case.x[case.run.split.train]).var(0)
    unit = np.sqrt(np.maximum(variance, variance.mean()))
    error = (np.abs(z - encode(weights, case.run.probe[0])) / unit).max()
    # Batches of 1, 2 and 7 take other kernels, whose last bit may be worse, so at least this.
    assert 0.99 * error <= case.exported.agreement.encoder < 1e-5
    assert 0 < case.exported.agreement.decoder < 1e-5


def test_a_model_that_is_pca_agrees_too(any_case: Callable[[str], Any]) -> None:
    case = any_case("pca")
    weights = weights_of(case.run)
    x = held_out(case)
    z = call(case.files["encoder.onnx"], "x", x, 7)
    np.testing.assert_allclose(z, encode(weights, x), atol=1e-5)  # float32, deviations near 1
    assert not any("_net" in name for name in weights)


def test_rows_far_out_do_not_refuse_a_model_of_small_scaled_values(tmp_path: Path) -> None:
    # One value makes the range of all: scaled, the others have a deviation of a thousandth.
    x = np.random.default_rng(0).standard_normal((300, 24, 2)).astype(np.float32)
    x[7, 3] = 1e3
    fields = {"latent_dim": 16, "data": {"scaling": "range"}, "fit": {"epochs": 0}}
    exported = export(train(make_dataset(x, "series"), make_recipe(fields)), tmp_path / "bundle")
    assert exported.agreement.encoder < 1e-5


def test_a_latent_may_be_off_by_a_share_of_its_own_deviation() -> None:
    # All columns alike: the first latent has nearly all there is, and the sum of 60 numbers of one
    # sign is no more exact than that.
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 1)) + 0.05 * random.standard_normal((300, 60))
    fields = {"latent_dim": 8, "fit": {"epochs": 0}, "score": {"name": "none"}}
    run = train(make_dataset(x.astype(np.float32)), make_recipe(fields))
    reference, own = source_of_run(run).reference, np.array(run.schema.z_std)
    together = np.sqrt(np.mean(own**2))
    assert own[0] > 2.5 * together > 20 * own[1]
    bounds, far = reference.encode(run.probe), reference.distance_factor(run.probe)[:, None]
    allowed = np.maximum(own, together) * 1e-5 * far
    np.testing.assert_allclose(bounds.high - bounds.expected, allowed, rtol=1e-6)
    np.testing.assert_allclose(bounds.expected - bounds.low, allowed, rtol=1e-6)


def test_latents_of_large_weights_are_as_exact_as_the_model_in_float32(tmp_path: Path) -> None:
    # Whitened, what varies by a hundredth has weights of a hundred for numbers near 1.
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 1)) + 0.01 * random.standard_normal((300, 60))
    fields = {
        "latent_dim": 8,
        "bottleneck": {"name": "variational"},
        "fit": {"epochs": 0},
        "score": {"name": "none"},
    }
    run = train(make_dataset(x.astype(np.float32)), make_recipe(fields))
    exported = export(run, tmp_path / "bundle")
    assert 1e-5 < exported.agreement.encoder < 1e-4
    ae = load(exported.location)
    checks = golden_checks(ae.model, read_golden(ae.model))
    assert [check.name for check in checks if not check.ok] == []


def test_a_column_that_hardly_varies_may_be_off_by_what_float32_loses() -> None:
    # Not scaled, it varies by ten units in the last place of sums of its size.
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 60))
    x[:, 7] = 1 + 1e-7 * (x @ random.standard_normal(60))
    fields = {"latent_dim": 40, "data": {"scaling": "none"}, "fit": {"epochs": 0}}
    run = train(make_dataset(x.astype(np.float32)), make_recipe(fields))
    reference, deviation = source_of_run(run).reference, np.array(run.schema.x_std)
    z, far = reference.encode(run.probe).expected, reference.distance_factor(run.probe)
    (bounds,) = reference.decode(z, far)
    allowed = (bounds.high - bounds.expected) / far[:, None]
    others = np.arange(60) != 7
    np.testing.assert_allclose(
        allowed[:, others], np.broadcast_to(1e-5 * deviation, allowed.shape)[:, others], rtol=1e-6
    )
    last_place = np.spacing(np.float32(1))
    assert 0.5 * last_place < allowed[:, 7].min() <= allowed[:, 7].max() < 9 * last_place
