"""Scaling that travels in the model: there and back, missing values, constant and far columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import torch

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_train.data.dataset import make_dataset
from ae_train.network.preprocess import LIMIT, Preprocess, measure
from ae_train.recipe import Data, Recipe
from ae_train.training import train

SCALINGS = get_args(next(f.type for f in msgspec.structs.fields(Data) if f.name == "scaling"))
Make = Callable[..., Recipe]


def fitted(x: Any, scaling: str = "standard", **options: Any) -> Preprocess:
    data = make_dataset(x, **options)
    statistics = measure(data, np.arange(len(data)))
    return Preprocess(data.form).fit(statistics, scaling, data.integer)


def scaled(preprocess: Preprocess, x: np.ndarray) -> np.ndarray:
    return preprocess.scale_rows(torch.from_numpy(x)).numpy()


def there_and_back(preprocess: Preprocess, x: np.ndarray) -> np.ndarray:
    return preprocess.unscale_rows(preprocess.scale_rows(torch.from_numpy(x))).numpy()


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape)


def lopsided() -> np.ndarray:
    """(500, 4): skewed, with an outlier, all on different scales."""
    x = np.exp(normal(500, 4)) * [1e-3, 1.0, 50.0, 1e4] - [0.0, 2.0, 7.0, 3e3]
    x[3, 1] = 400.0
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_unscale_undoes_scale(scaling: str, dtype: type) -> None:
    x = lopsided().astype(dtype)
    preprocess = fitted(x, scaling)
    error = np.abs(there_and_back(preprocess, x).astype(float) - x)
    # Scaled numbers are float32: 2**-24 of the distance to the offset a rounding, at most four of
    # them; and one unit in the last place of x itself.
    distance = np.abs(x.astype(float) - preprocess.offset.numpy())
    assert (error <= 2**-22 * distance + np.spacing(np.abs(x))).all()
    assert there_and_back(preprocess, x).dtype == dtype


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaled_rows_are_what_the_word_says(scaling: str) -> None:
    x = lopsided()
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    expected = {
        "standard": (x - x.mean(0)) / x.std(0),
        "robust": (x - median) / ((high - low) / 1.349),  # IQR of a normal distribution: 1.349
        "range": (x - x.min(0)) / (x.max(0) - x.min(0)),
        "none": x,
    }[scaling]
    # float32 rounding of s, relative.
    np.testing.assert_allclose(scaled(fitted(x, scaling), x), expected, rtol=1e-6, atol=1e-6)


def test_robust_falls_back_on_the_deviation_where_most_values_are_equal() -> None:
    x = normal(100, 2)
    x[:80, 0] = 5.0
    s = scaled(fitted(x, "robust"), x)
    np.testing.assert_allclose(s[:, 0], (x[:, 0] - 5) / x[:, 0].std(), rtol=1e-6)


@pytest.mark.parametrize("mean", [1e6, -1e9])
def test_a_column_far_from_zero_keeps_its_precision(mean: float) -> None:
    x = normal(1000, 2)
    x[:, 0] += mean  # mean/std of 1e6 and 1e9: float32 would be off by 3e-2 and more
    error = np.abs(there_and_back(fitted(x), x) - x)
    # Of a deviation, which is 1: 2**-24 * |s| with |s| < 4, and the spacing of doubles at mean.
    assert error.max() < 3e-7 + np.spacing(abs(mean))


def test_a_float32_column_far_from_zero_is_scaled_exactly() -> None:
    x = (normal(1000, 1) + 1e5).astype(np.float32)
    exact = (x.astype(float) - x.astype(float).mean()) / x.astype(float).std()
    # The mean lies between two float32 numbers 0.008 apart; its rest must not be lost.
    np.testing.assert_allclose(scaled(fitted(x), x), exact, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_and_huge_columns(dtype: type) -> None:
    x = (normal(300, 3) * [3e-21, 1.0, 5e9]).astype(dtype)
    preprocess = fitted(x)
    np.testing.assert_allclose(scaled(preprocess, x).std(0), 1, rtol=1e-5)  # sums in float32
    error = np.abs(there_and_back(preprocess, x).astype(float) - x) / x.std(0, dtype=float)
    assert error.max() < 1e-6  # a few float32 roundings of |s| < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_constant_columns_come_back_exactly(scaling: str, dtype: type) -> None:
    constants = np.array([0.1, 1e9 + 0.1, -3e-30, 0.0, 1 / 3])
    x = np.concatenate([normal(50, 1), np.tile(constants, (50, 1))], 1).astype(dtype)
    preprocess = fitted(x, scaling)
    y = torch.full((50, 6), 0.7)  # whatever a network may say
    back = preprocess.unscale_rows(y).numpy()
    np.testing.assert_array_equal(back[:, 1:], x[:, 1:])
    np.testing.assert_array_equal(scaled(preprocess, x)[:, 1:], 0)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_missing_values_are_filled_with_the_training_median(scaling: str) -> None:
    x = lopsided()
    x[::3, 2] = np.nan
    preprocess = fitted(x, scaling)
    filled = there_and_back(preprocess, np.full((1, 4), np.nan))
    # float32 rounding of the filled value in scaled space.
    np.testing.assert_allclose(filled[0], np.nanmedian(x, axis=0), rtol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_columns_without_any_value_come_back_as_nan(scaling: str) -> None:
    x = normal(50, 3)
    x[:, 1] = np.nan
    preprocess = fitted(x, scaling)
    assert np.isfinite(scaled(preprocess, x)).all()
    back = there_and_back(preprocess, np.ones((4, 3)))
    assert np.isnan(back[:, 1]).all()
    assert np.isfinite(back[:, [0, 2]]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_rows_stay_finite(dtype: type) -> None:
    x = normal(50, 3).astype(dtype)
    preprocess = fitted(x)
    most = np.finfo(dtype).max
    s = scaled(preprocess, np.array([[most, -most, 0]], dtype))
    np.testing.assert_array_equal(s[0, :2], [LIMIT, -LIMIT])


def test_integers_are_rounded_and_bytes_clipped() -> None:
    table = np.stack([np.arange(20.0), normal(20)], 1)
    columns = [Column("whole", integer=True), Column("real")]
    preprocess = fitted(table, "none", columns=columns)
    back = preprocess.unscale_rows(torch.tensor([[2.4, 2.4], [2.6, 2.6]])).numpy()
    np.testing.assert_array_equal(back[:, 0], [2, 3])
    np.testing.assert_allclose(back[:, 1], [2.4, 2.6], rtol=1e-6)  # float32 y
    image = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2)
    pixels = fitted(image, "none").unscale_rows(torch.tensor([[[-9.0, 300.0], [7.4, 7.6]]]))
    assert pixels.dtype == torch.uint8
    assert pixels.flatten().tolist() == [0, 255, 7, 8]


@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_byte_survives(scaling: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(there_and_back(fitted(x, scaling), x), x)


@pytest.mark.parametrize(("rows", "values"), [(10, 1), (11, 2), (37, 256), (900, 5)])
def test_bytes_have_the_statistics_of_their_numbers(rows: int, values: int) -> None:
    x = np.random.default_rng(rows).integers(0, values, (rows, 2)).astype(np.uint8)
    x[0] = 7, 255  # something varies
    rows_used = np.arange(rows)
    counted = measure(make_dataset(x, "table"), rows_used)
    measured = measure(make_dataset(x.astype(np.float64), "table"), rows_used)
    for name in ("mean", "std", "median", "quartiles", "min", "max", "missing"):
        found, expected = getattr(counted, name), getattr(measured, name)
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)  # float64


def test_images_have_one_scale_per_channel() -> None:
    x = np.random.default_rng(0).integers(0, 60, (40, 5, 6, 3)).astype(np.uint8)
    x[..., 1] *= 4
    preprocess = fitted(x)
    assert preprocess.offset.shape == (3,)
    np.testing.assert_allclose(preprocess.offset, x.mean((0, 1, 2)), rtol=1e-6)  # float32
    np.testing.assert_allclose(preprocess.scale, x.std((0, 1, 2)), rtol=1e-6)
    assert fitted(x[..., 0]).offset.shape == (1,)


def test_statistics_come_from_training_rows_alone(small: Make, rows: np.ndarray) -> None:
    recipe = small(fit={"epochs": 0})
    first = train(rows, recipe)
    held_out = np.concatenate([first.split.validation, first.split.test])
    other = rows.copy()
    other[held_out] = other[held_out] * 9 + 100
    weights, others = first.model.state_dict(), train(other, recipe).model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    other[first.split.train[0]] += 1
    assert not torch.equal(
        train(other, recipe).model.state_dict()["path.center"], weights["path.center"]
    )


def test_training_rows_that_do_not_vary_are_refused(small: Make) -> None:
    x = np.ones((100, 3))
    x[train(normal(100, 3), small()).split.test[0]] = 2
    with pytest.raises(DataError) as caught:
        train(x, small())
    assert str(caught.value) == (
        "nothing varies over the training rows; there is nothing to learn from"
    )


def test_rows_that_would_be_clipped_are_refused(small: Make) -> None:
    x = normal(100, 3)
    x[:, 0] = np.linspace(0, 2e7, 100)
    with pytest.raises(DataError) as caught:
        train(x, small(data={"scaling": "none", "validation": "train", "test": 0.0}))
    assert str(caught.value) == (
        "scaling = 'none' takes values up to 1e+06, the data hold 2e+07; use scaling = 'standard'"
    )
    x[:, 0] = 2e7  # a constant column is not scaled, and comes back as it is
    run = train(x, small(data={"scaling": "none"}))
    x_hat = run.model.decode(run.model.encode(torch.from_numpy(x)))
    assert (x_hat[:, 0] == 2e7).all()
