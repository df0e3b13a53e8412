"""Rows of a training: kinds, dtypes, refusals, and the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_train.data.dataset import first_infinity, make_dataset
from ae_train.data.loading import load, load_digits
from ae_train.data.splitting import split_data, split_rows
from ae_train.recipe import Data, Recipe


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


WHOLE = np.arange(60).reshape(20, 3)


@pytest.mark.parametrize(
    ("x", "kind", "dtype", "integer"),
    [
        (WHOLE % 2 == 0, "table", "uint8", True),
        (WHOLE.astype(np.uint8), "table", "uint8", True),
        (WHOLE.astype(np.int16) - 30, "table", "float64", True),
        (WHOLE.astype(np.int32) * 10**6, "table", "float64", True),
        (WHOLE.astype(np.int64) + (2**53 - 59), "table", "float64", True),
        (WHOLE.astype(np.uint64), "table", "float64", True),
        (WHOLE.astype(">i4"), "table", "float64", True),
        (numbers(20, 3).astype(np.float16), "table", "float32", False),
        (numbers(20, 3).astype(np.float32), "table", "float32", False),
        (numbers(20, 3).astype(">f4"), "table", "float32", False),
        (numbers(20, 3), "table", "float64", False),
        (numbers(20, 3).astype(">f8"), "table", "float64", False),
        (WHOLE.tolist(), "table", "float64", True),
    ],
    ids=lambda value: str(value.dtype.str) if isinstance(value, np.ndarray) else None,
)
def test_tables_keep_their_values(x: Any, kind: str, dtype: str, integer: bool) -> None:
    data = make_dataset(x)
    form = data.form
    assert (form.kind, form.dtype, form.row_shape, form.numbers) == (kind, dtype, (3,), 3)
    (taken,) = data.take(slice(None))
    assert taken.dtype == dtype
    assert taken.dtype.isnative  # torch takes nothing else
    np.testing.assert_array_equal(taken, np.asarray(x))  # without loss: exactly
    assert data.integer.tolist() == [integer] * 3


@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 4, 5, 3)])
def test_bytes_of_three_or_four_axes_are_images(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    data = make_dataset(x)
    assert (data.form.kind, data.form.dtype, data.form.row_shape) == ("image", "uint8", shape[1:])
    assert data.integer.tolist() == [True]
    assert data.columns is None
    assert make_dataset(x, "image").form.kind == "image"


def test_digits_are_images_of_16_grey_levels() -> None:
    x = load_digits()
    assert (x.shape, x.dtype, x.min(), x.max()) == ((1797, 8, 8), np.uint8, 0, 16)
    np.testing.assert_array_equal(load(["digits"], Recipe()).take(slice(None))[0], x)


def test_a_file_named_digits_goes_before_the_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").write_text("1,2\n")
    with pytest.raises(DataError) as caught:
        load(["digits"], Recipe())
    assert str(caught.value).startswith("digits: no file extension cannot be read; known types: ")


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, numbers(1, 3))
    with pytest.raises(DataError) as caught:
        load([str(path)], Recipe())
    assert str(caught.value) == f"{path}: 1 row found; training needs at least 10"


def infinite() -> np.ndarray:
    x = numbers(20, 3)
    x[4, 1] = -np.inf
    return x


RESHAPE = (
    "reshape them to 2 axes, bring images as uint8, or say kind = 'series' for windows (N, T, C)"
)
BEYOND = "integers beyond 9007199254740992 lose digits as float64; subtract an offset"
SAME = "all rows are the same; there is nothing to learn from"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (numbers(1, 3), "1 row found; training needs at least 10"),
        (numbers(9, 3), "9 rows found; training needs at least 10"),
        (numbers(0, 3), "0 rows found; training needs at least 10"),
        (numbers(20, 0), "the data have shape (20, 0); there is nothing to learn from"),
        (numbers(20), f"a table is an array (N, D), the data are float64 (20,); {RESHAPE}"),
        (
            numbers(20, 4, 4),
            f"a table is an array (N, D), the data are float64 (20, 4, 4); {RESHAPE}",
        ),
        (np.array([["a", "b"]] * 20), "the data hold <U1 values; only numbers are taken"),
        (np.array([[None, 1]] * 20), "the data hold object values; only numbers are taken"),
        (numbers(20, 3) * 1j, "the data hold complex128 values; only numbers are taken"),
        (WHOLE + 2**53, BEYOND),
        (-WHOLE - 2**53, BEYOND),
        (WHOLE.astype(np.uint64) + np.uint64(2**63), BEYOND),
        (np.full((20, 3), 0.1), SAME),
        (np.full((20, 3), np.nan), SAME),
        (np.full((20, 3), 7, np.uint8), SAME),
        (infinite(), "row 5, column 2 is infinite; correct it, or write NaN for missing"),
    ],
)
def test_refusals(x: np.ndarray, message: str) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset(x)
    assert str(caught.value) == message


def test_refusals_name_columns_where_they_have_names() -> None:
    with pytest.raises(DataError) as caught:
        make_dataset(infinite(), columns=[Column(name) for name in "abc"])
    assert str(caught.value) == (
        "row 5, column 'b' is infinite; correct it, or write NaN for missing"
    )


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        make_dataset([[1.0, 2.0], [3.0]] * 10)
    assert str(caught.value).startswith("the data are not one array: ")  # the rest is numpy's


def test_a_kind_that_the_array_cannot_have_is_refused() -> None:
    with pytest.raises(DataError) as image:
        make_dataset(numbers(20, 3), "image")
    assert str(image.value) == (
        "images are uint8 arrays (N, H, W) or (N, H, W, C), the data are float64 (20, 3); scale "
        "them to 0..255 and bring uint8, or reshape them to a table (N, D)"
    )
    with pytest.raises(DataError) as table:
        make_dataset(np.zeros((20, 4, 4), np.uint8), "table")
    assert str(table.value) == (
        f"a table is an array (N, D), the data are uint8 (20, 4, 4); {RESHAPE}"
    )


@pytest.mark.parametrize("test", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("validation", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("rows", [10, 11, 1797])
def test_the_split_is_a_partition(rows: int, validation: float, test: float) -> None:
    split = split_rows(rows, Data(validation=validation, test=test), seed=3)
    parts = [split.train, split.validation, split.test]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert len(split.test) == round(rows * test)
    assert len(split.validation) == max(1, round(rows * validation))


def test_the_split_depends_on_the_seed_alone() -> None:
    a, b, c = (split_rows(100, Data(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.train, b.train)
    np.testing.assert_array_equal(a.test, b.test)
    assert set(a.test) != set(c.test)
    assert a.train.tolist() != sorted(a.train)  # files are often sorted: the split is random


def test_validation_on_the_training_rows() -> None:
    split = split_rows(100, Data(validation="train", test=0.2), seed=0)
    np.testing.assert_array_equal(split.validation, split.train)
    assert (len(split.train), len(split.test)) == (80, 20)
    assert not set(split.train) & set(split.test)


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        split_data(make_dataset(numbers(10, 3)), Data(validation=0.5, test=0.4), seed=0)
    assert str(caught.value) == (
        "10 rows with validation = 0.5 and test = 0.4 leave 1 to train on; hold out less"
    )


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([[1, np.nan], [np.nan, np.inf]]), (1, 1)),
        (np.array([[1, 2], [-np.inf, np.inf]]), (1, 0)),
        (np.array([[np.inf, -np.inf]]), (0, 0)),  # their sum is NaN
        (np.array([[np.nan, 2], [np.nan, np.nan]]), None),
        (np.array([[1e308, 1e308]]), None),  # their sum is infinite
        (np.full((2, 2), 65504, np.float16), None),
        (np.array([[[0, 0], [0, 0]], [[0, 0], [np.inf, 0]]], np.float32), (1, 2)),
        (np.ones((2, 2), int), None),
        (np.empty((0, 3)), None),
    ],
)
def test_the_first_infinity(array: np.ndarray, found: tuple[int, int] | None) -> None:
    assert first_infinity(array) == found
