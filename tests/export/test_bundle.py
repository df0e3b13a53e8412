"""What a bundle says of itself: golden vectors, manifest, model card, recipe."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ae_export import export, golden, reference
from ae_export.export_source import source_of_run
from ae_runtime import load
from ae_runtime.bundle import manifest as manifests
from ae_runtime.bundle.manifest import Column, Manifest
from ae_runtime.cli import ae_run
from ae_runtime.machine import doctor
from ae_train.recipe import as_resolved, make_recipe, read_recipe
from ae_train.schema import dump_schema, parse_schema


def golden_of(case: Any) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(case.files["golden.npz"]), allow_pickle=False) as stored:
        return dict(stored)


def manifest_of(case: Any) -> Manifest:
    return manifests.parse(case.files["manifest.json"])


def test_golden_rows_are_not_rows_of_the_data(case: Any) -> None:
    x = golden_of(case)["x"]
    assert x.shape == (32, *case.x.shape[1:])
    assert x.dtype == case.x.dtype
    known = {row.tobytes() for row in case.x}
    assert not any(row.tobytes() in known for row in x)


def test_golden_rows_are_like_the_data(case: Any) -> None:
    x, rows = golden_of(case)["x"].astype(float), case.x.astype(float)
    axes = (0,) if case.x.ndim == 2 else (0, 1, 2)
    with np.errstate(all="ignore"):
        filled = ~np.isnan(rows).all(axes)  # a column without values stays so
        # Drawn from the latents' distribution: in the middle of the data and as wide, roughly.
        off = np.abs(np.nanmean(np.where(np.isnan(x), np.nan, x)[..., filled], axes)
                     - np.nanmean(rows[..., filled], axes))  # fmt: skip
        deviation = np.nanstd(rows[..., filled], axes)
    assert (off <= deviation).all()
    assert np.isnan(x[..., ~filled]).all()


def test_golden_rows_cover_missing_values(case: Any) -> None:
    x = golden_of(case)["x"]
    if case.x.dtype == np.uint8:
        return
    some = ~np.isnan(case.x).all(0)
    assert np.isnan(x[:2, some]).any()
    assert not np.isnan(x[:2, some]).all()
    assert not np.isnan(x[2:, some]).any()


def test_golden_answers_are_the_float64_models(case: Any) -> None:
    golden = golden_of(case)
    model = type(case.run).load(case.run.folder).model.double()
    with torch.no_grad():
        z = model.encode(torch.from_numpy(golden["x"])).numpy()
        x_hat = model.decode(torch.from_numpy(golden["z"]).double()).numpy()
    np.testing.assert_array_equal(golden["z"], z.astype(np.float32))
    np.testing.assert_array_equal(golden["x_hat"], x_hat.astype(case.x.dtype))


def test_the_golden_deviations_are_those_of_the_training_rows(case: Any) -> None:
    golden = golden_of(case)
    train = case.x[case.run.split.train].astype(float)
    axes = (0,) if train.ndim == 2 else (0, 1, 2)
    present = np.ma.masked_invalid(train)
    # A constant column's is exactly 0, where numpy has 4e-16.
    deviation = np.where(np.ptp(present, axes) == 0, 0, np.ma.filled(present.std(axes), 0))
    # A whole number may be one off where another rounding falls on the other side of a half.
    deviation += [1e5 * column.integer for column in case.run.schema.columns or [Column(None)]]
    # Two orders of summation in float64, for a column whose mean is 1e6 deviations: 1e-10.
    np.testing.assert_allclose(golden["x_hat_deviation"], deviation, rtol=1e-6)
    with torch.no_grad():
        z = case.run.model.encode(torch.from_numpy(case.x[case.run.split.train])).double()
    spread = z.std(0, correction=0).numpy()
    expected = np.maximum(spread, np.sqrt(np.mean(spread**2)))
    np.testing.assert_allclose(golden["z_deviation"], expected, rtol=1e-5)  # float32


def test_golden_vectors_of_a_mixed_table(any_case: Callable[[str], Any]) -> None:
    case = any_case("mixed")
    golden, run = golden_of(case), case.run
    x_num, x_cat = golden["x_num"], golden["x_cat"]
    assert (x_num.shape, x_num.dtype, x_cat.shape, x_cat.dtype) == (
        (32, 3), np.float64, (32, 2), np.int32,
    )  # fmt: skip
    some = run.model.preprocess.numbers.gain.numpy() > 0
    for values, missing in ((x_num[:, some], np.isnan), (x_cat, lambda x: x == -1)):
        assert missing(values[:2]).any()
        assert not missing(values[:2]).all()
        assert not missing(values[2:]).any()
    assert (x_cat < [3, 2]).all()

    model = type(run).load(run.folder).model.double()
    with torch.no_grad():
        z = model.encode(torch.from_numpy(x_num), torch.from_numpy(x_cat)).numpy()
        x_hat = model.decode(torch.from_numpy(golden["z"]).double())
    np.testing.assert_array_equal(golden["z"], z.astype(np.float32))
    for name, expected in zip(("num", "cat", "prob"), x_hat, strict=True):
        found = golden[f"x_hat_{name}"]
        np.testing.assert_array_equal(found, expected.numpy().astype(found.dtype))
    np.testing.assert_array_equal(golden["x_hat_cat_deviation"], [np.nan])  # must be equal
    np.testing.assert_array_equal(golden["x_hat_prob_deviation"], [1])
    train = np.ma.masked_invalid(case.x[run.split.train])
    integer = [0, 0, 1e5]  # a whole number may be one off
    np.testing.assert_allclose(golden["x_hat_num_deviation"], train.std(0) + integer, rtol=1e-9)
    # No rounding error turns a word into another one.
    first, second = np.split(golden["x_hat_prob"].astype(float), [3], axis=1)
    for chance in (first, second):
        best, next_best = np.sort(chance, axis=1)[:, -1], np.sort(chance, axis=1)[:, -2]
        assert (best - next_best > 1e-5).all()


def test_golden_rows_that_may_jump_are_left_out(
    any_case: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of_run(any_case("mixed").run)
    assert len(golden.golden(source, "real")[0]["z"]) == 32
    kept = {}
    for tolerance in (1e-5, 0.05, 0.2):
        monkeypatch.setattr(reference, "TOLERANCE", tolerance)
        arrays, _ = golden.golden(source, "real")
        kept[tolerance] = arrays["x_num"].tolist()
        margins = [
            np.diff(np.sort(part.astype(float), axis=1)[:, -2:])
            for part in np.split(arrays["x_hat_prob"], [3], axis=1)
        ]
        assert all((margin > 2 * tolerance).all() for margin in margins)
    assert len(kept[1e-5]) == 32 > len(kept[0.2]) > 0


def test_the_doctor_finds_the_bundle_well(case: Any) -> None:
    checks = doctor.examine(load(case.bundle).model)
    golden = [check for check in checks if check.name.startswith("golden")]
    assert [(check.name, check.ok) for check in golden] == [
        (f"golden {what}", True) for what in ("encoder", "decoder", "parts", "scores", "sampler")
    ]


def test_the_manifest_is_that_of_the_run(case: Any) -> None:
    manifest, run = manifest_of(case), case.run
    assert manifest.format == "1.0"
    assert manifest.kind == run.schema.kind
    assert manifest.quality == run.schema.quality
    assert manifest.columns == run.schema.columns
    assert (manifest.latent.dim, manifest.latent.bottleneck) == (3, "plain")
    assert (manifest.latent.levels, manifest.latent.ordered) == (None, False)
    assert msgspec.to_builtins(manifest.inputs + manifest.outputs) == [
        {"name": name, "dtype": case.x.dtype.name, "shape": [None, *case.x.shape[1:]]}
        for name in ("x", "x_hat")
    ]
    assert (manifest.golden.rows, manifest.golden.tolerance) == (32, 1e-5)
    assert (manifest.precision, manifest.series) == ("fp32", None)
    assert (manifest.scores, manifest.threshold) == (run.schema.scores, run.schema.threshold)


def test_channels_have_the_range_of_the_training_rows(any_case: Callable[[str], Any]) -> None:
    case = any_case("conv1d")
    train = case.x[case.run.split.train].reshape(-1, 2)
    series = manifest_of(case).series
    assert series is not None
    assert (series.min, series.max) == (train.min(0).tolist(), train.max(0).tolist())


def test_a_series_has_its_column_of_times(any_case: Callable[[str], Any], tmp_path: Path) -> None:
    run = any_case("conv1d").run
    schema = msgspec.structs.replace(run.schema, time="when", step=60.0)
    export(replace(run, schema=schema), tmp_path / "timed")
    series = manifests.parse((tmp_path / "timed" / "manifest.json").read_bytes()).series
    assert series is not None
    assert (series.time, series.step) == ("when", 60.0)


def test_a_run_from_before_ranges_of_channels(any_case: Callable[[str], Any]) -> None:
    fields = msgspec.json.decode(dump_schema(any_case("conv1d").run.schema))
    del fields["channel_min"], fields["channel_max"]
    older = parse_schema(msgspec.json.encode(fields))
    assert (older.channel_min, older.channel_max) == (None, None)


def test_columns_are_described_in_their_units(any_case: Callable[[str], Any]) -> None:
    case = any_case("table")
    columns = {column.name: column for column in manifest_of(case).columns or []}
    train = case.x[case.run.split.train]
    assert list(columns) == [
        "far", "farther", "tiny", "huge", "gaps", "constant", "empty", "count",
    ]  # fmt: skip
    for at, (name, column) in enumerate(columns.items()):
        assert column.integer == (name == "count")
        if name == "empty":
            assert (column.min, column.max, column.rmse) == (None, None, None)
        else:
            assert (column.min, column.max) == (np.nanmin(train[:, at]), np.nanmax(train[:, at]))
            assert column.rmse is not None
            assert column.rmse <= 1.5 * np.nanstd(train[:, at])
    assert columns["constant"].rmse == 0


def test_an_image_has_no_columns(any_case: Callable[[str], Any]) -> None:
    assert manifest_of(any_case("image")).columns is None


def test_the_recipe_is_the_resolved_one(case: Any) -> None:
    assert as_resolved(make_recipe(read_recipe(case.bundle / "recipe.toml"))) == case.run.recipe


def test_the_card_says_what_and_how_good(case: Any) -> None:
    card, run = case.files["README.md"].decode(), case.run
    quality, split = run.schema.quality, run.split
    errors = [f"{100 * e:.2g} %" for e in (quality.range_error, quality.pca_range_error)]
    assert card.startswith(
        "---\nlibrary_name: ae-toolkit\npipeline_tag: feature-extraction\ntags:\n- autoencoder\n"
        f"- onnx\n- dimensionality-reduction\n- {run.schema.kind}\n---\n"
    )
    assert (
        f"# Autoencoder: {case.x[0].size} numbers -> 3; mean error {errors[0]} of range, "
        f"PCA {errors[1]}\n"
    ) in card
    shape = ", ".join(["B", *map(str, case.x.shape[1:])])
    assert f"| encoder | `x` ({shape}) {case.x.dtype} | `z` (B, 3) float32 |\n" in card
    assert f"| decoder | `z` (B, 3) float32 | `x_hat` ({shape}) {case.x.dtype} |\n" in card
    assert "The network is dense, the bottleneck plain.\n" in card
    assert "Precision: fp32." in card
    assert (
        f"| validation | {quality.validation_mse:.5g} | {quality.pca_mse:.5g} | "
        f"{quality.mean_mse:.5g} |\n| test | {quality.test_mse:.5g} | "
        f"{quality.test_pca_mse:.5g} | {quality.test_mean_mse:.5g} |\n"
    ) in card
    assert (
        f"{len(split.train)} rows to train on, {len(split.validation)} to validate on, "
        f"{len(split.test)} held out."
    ) in card
    assert f"model_id: {run.model_id}\n" in card
    assert "PCA: training found nothing better" not in card


def test_a_model_that_is_pca_says_so_everywhere(any_case: Callable[[str], Any]) -> None:
    case = any_case("pca")
    assert manifest_of(case).quality.is_pca
    assert (
        " The saved model is PCA: training found nothing better on validation rows.\n"
        in case.files["README.md"].decode()
    )
    said = CliRunner().invoke(ae_run, ["info", str(case.bundle)]).output.splitlines()
    assert "the saved model is PCA: training found nothing better on validation rows" in said
    fields = json.loads(CliRunner().invoke(ae_run, ["info", str(case.bundle), "--json"]).output)
    assert fields["manifest"]["quality"]["is_pca"] is True


def test_the_runtime_gives_what_the_model_gives(case: Any) -> None:
    ae, model = load(case.bundle), case.run.model
    x = case.x[case.run.split.test]
    assert (ae.model_id, ae.latent_dim, ae.input_shape) == (
        case.run.model_id, 3, case.x.shape[1:],
    )  # fmt: skip
    z = ae.encode(x)
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(x)).numpy()
    # Two float32 computations of latents of size 4.
    np.testing.assert_allclose(z, expected, atol=2e-5)
    np.testing.assert_array_equal(ae.reconstruct(x), ae.decode(z))


def test_without_test_rows_the_figures_are_those_of_validation(tmp_path: Path) -> None:
    from ae_train.training import train

    x = np.random.default_rng(0).standard_normal((60, 4))
    recipe = {"latent_dim": 2, "data": {"test": 0.0}, "fit": {"epochs": 0}}
    run = train(x, make_recipe(recipe))  # a run that never was in a folder
    export(run, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| validation | " in card
    assert "| test | " not in card
    quality = manifests.parse((tmp_path / "bundle" / "manifest.json").read_bytes()).quality
    assert (quality.test_mse, quality.test_pca_mse, quality.test_mean_mse) == (None, None, None)
    np.testing.assert_array_equal(run.probe[0], x[run.split.validation])
