"""Values at the ends of what may come: missing, infinite, huge, tiny, and whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ae_runtime

COUNT, EMPTY = 5, 4  # columns of table_bundle: whole numbers, and one that was never seen


@pytest.fixture
def table(table_bundle: Path) -> ae_runtime.Autoencoder:
    return ae_runtime.load(table_bundle)


@pytest.fixture
def float32(table_bundle: Path) -> ae_runtime.Autoencoder:
    return ae_runtime.load(table_bundle.parent / "float32")


def typical(ae: ae_runtime.Autoencoder) -> np.ndarray:
    """One row with every column in the middle of its training range."""
    columns = ae.manifest.columns or []
    row = [0.0 if c.min is None else (c.min + c.max) / 2 for c in columns]
    return np.array([row], ae.manifest.inputs[0].dtype)


@pytest.mark.parametrize("name", ["table", "float32"])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_missing_is_filled_with_a_value_of_its_column(
    request: pytest.FixtureRequest, name: str, column: int
) -> None:
    ae = request.getfixturevalue(name)
    x = np.repeat(typical(ae), 201, 0)
    low, high = ae.manifest.columns[column].min, ae.manifest.columns[column].max
    x[:200, column] = np.linspace(low, high, 200)
    x[200, column] = np.nan
    z = ae.encode(x)
    assert np.isfinite(z).all()
    # Latents move along a curve as the column runs through its range, and the missing one is on it
    # near the middle of the data; 200 points leave gaps of half a percent of the way.
    distance = np.abs(z[:200] - z[200]).max(axis=1)
    way = np.abs(np.diff(z[:200], axis=0)).max(axis=1).sum()
    assert distance.min() < 0.01 * way
    assert distance.max() > 0.2 * way


@pytest.mark.parametrize("name", ["table", "float32"])
def test_nothing_known_is_the_typical_row(request: pytest.FixtureRequest, name: str) -> None:
    ae = request.getfixturevalue(name)
    x = np.full((3, *ae.input_shape), np.nan)
    x_hat = ae.reconstruct(x)
    for at, column in enumerate(ae.manifest.columns):
        if column.min is None:
            continue
        # Not outside of what the column held, by more than what a reconstruction is off anyway.
        slack = 3 * column.rmse
        assert column.min - slack <= x_hat[0, at] <= column.max + slack


VALUES = [np.inf, -np.inf, 1e300, -1e300, 3e38, -3e38, 1e30, 0.0, -0.0, 1e-320]


@pytest.mark.parametrize("name", ["table", "float32"])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("where", ["one column", "all columns", "beside missing ones"])
def test_whatever_comes_in_finite_numbers_come_out(
    request: pytest.FixtureRequest, name: str, value: float, where: str
) -> None:
    ae = request.getfixturevalue(name)  # float64 past float32's range gives no warning, either
    columns = len(ae.manifest.columns)
    x = (
        np.full((columns, columns), np.nan)
        if where.startswith("beside")
        else np.empty((columns,) * 2)
    )
    if where == "one column":
        x[:] = typical(ae)
    if where == "all columns":
        x[:] = value
    np.fill_diagonal(x, value)
    assert np.isfinite(ae.encode(x)).all()
    x_hat = ae.reconstruct(x)
    known = [at for at, column in enumerate(ae.manifest.columns) if column.min is not None]
    assert np.isfinite(x_hat[:, known]).all()


def test_a_column_that_was_never_seen_stays_missing(table: ae_runtime.Autoencoder) -> None:
    x = typical(table)
    assert np.isnan(table.reconstruct(x)[0, EMPTY])
    x[0, EMPTY] = 7.0
    assert np.isnan(table.reconstruct(x)[0, EMPTY])


def test_an_infinity_is_a_value_at_the_clip(float32: ae_runtime.Autoencoder) -> None:
    x = np.repeat(typical(float32), 3, 0)
    x[:, 2] = np.inf, 3e38, 1e30
    z = float32.encode(x)
    np.testing.assert_array_equal(z, np.repeat(z[:1], 3, 0))
    assert (z[0] != float32.encode(-x)[0]).all()


def test_values_past_float32_are_the_infinity_of_their_sign(
    float32: ae_runtime.Autoencoder,
) -> None:
    x = np.array([[1e300, -1e300, 1e39]])
    np.testing.assert_array_equal(
        float32.encode(x), float32.encode(np.array([[np.inf, -np.inf, np.inf]]))
    )


def test_large_means_keep_their_digits(table: ae_runtime.Autoencoder) -> None:
    # Column 0 has mean 1e6 and deviation 1: float32 would know it to 0.06, float64 does to 1e-10.
    x = np.repeat(typical(table), 3, 0)
    x[:, 0] = 1e6 + np.array([0.0, 1e-4, 2e-4])
    z = table.encode(x).astype(np.float64)
    steps = np.diff(z, axis=0)
    assert (np.abs(steps).max(axis=1) > 0).all()
    # Differences of float32 latents near 1, in steps of 1e-4 of a deviation: good to 1e-2 of them.
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-2 * np.abs(steps).max())


def test_whole_columns_are_whole_and_others_are_not(table: ae_runtime.Autoencoder) -> None:
    z = np.random.default_rng(0).standard_normal((500, 2))
    x_hat = table.decode(z)
    assert x_hat.dtype == np.float64
    np.testing.assert_array_equal(x_hat[:, COUNT], np.rint(x_hat[:, COUNT]))
    assert len(np.unique(x_hat[:, COUNT])) > 10
    assert (x_hat[:, 0] != np.rint(x_hat[:, 0])).all()


def test_constant_columns_come_back_exactly(table: ae_runtime.Autoencoder) -> None:
    x = np.repeat(typical(table), 2, 0)
    x[1, 3] = -1e9
    np.testing.assert_array_equal(table.reconstruct(x)[:, 3], [5.5, 5.5])


def test_pixels_stay_within_their_range(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle)
    x_hat = ae.decode(np.random.default_rng(0).standard_normal((300, 8)) * 1e5)
    assert x_hat.dtype == np.uint8
    # Values past both ends are clipped: cast alone, they would wrap around to any number.
    assert ((x_hat == 0) | (x_hat == 255)).mean() > 0.9
    assert {0, 255} <= set(np.unique(x_hat))


def test_reconstruction_is_better_than_the_mean(digits_bundle: Path, golden_bundle: Path) -> None:
    for bundle in (digits_bundle, golden_bundle):
        ae = ae_runtime.load(bundle)
        with np.load(bundle / "golden.npz") as golden:
            x = golden["x"][2:]  # after two rows with holes
        error = (ae.reconstruct(x).astype(np.float64) - x) ** 2
        spread = x.astype(np.float64).var(axis=0)
        varies = spread > 0  # neither constant nor missing throughout
        assert (error.mean(axis=0)[varies] / spread[varies]).mean() < 0.5
