"""Mixed tables in memory: dicts of columns as the arrays of a model, and back."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError, DataWarning, DtypeMismatch, ShapeMismatch
from ae_runtime.tables.columns import to_arrays
from ae_runtime.tables.table import Table, from_blocks, to_blocks

AGE, BORN = Column("age"), Column("born", type="date")
JOB = Column("job", type="category", levels=["cook", "clerk", "other"])
SIZE = Column("size", type="category", levels=["1", "2.5", "10"])  # words that look like numbers
PAID = Column("paid", type="boolean", levels=["false", "true"])
COLUMNS = [AGE, BORN, JOB, PAID]
NAN, DAY = np.nan, 86400.0


class Unsure:
    """A value that does not say whether it equals itself, as the NA of pandas."""

    def __ne__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


def numbers(values: Any, column: Column = AGE) -> list[float]:
    x_num, x_cat = to_arrays({column.name: values}, [column])
    assert (x_num.dtype, x_cat.dtype) == (np.float64, np.int32)
    assert (x_num.shape, x_cat.shape) == ((len(x_num), 1), (len(x_num), 0))
    found: list[float] = x_num[:, 0].tolist()
    return found


def codes(values: Any, column: Column = JOB) -> list[int]:
    x_num, x_cat = to_arrays({column.name: values}, [column])
    assert (x_num.dtype, x_cat.dtype) == (np.float64, np.int32)
    assert (x_num.shape, x_cat.shape) == ((len(x_cat), 0), (len(x_cat), 1))
    found: list[int] = x_cat[:, 0].tolist()
    return found


def refusal(x: Any, columns: list[Column], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as caught:
        to_arrays(x, columns)
    assert type(caught.value) is error
    return str(caught.value)


def test_a_dict_of_lists() -> None:
    x_num, x_cat = to_arrays(
        {
            "job": ["clerk", None, "pilot"],
            "extra": [[1], {2}, object()],  # left aside, whatever it holds
            "age": [30, None, 41.5],
            "paid": [True, False, None],
            "born": ["1970-01-02", None, "1970-01-01T01:00"],
        },
        COLUMNS,
    )
    np.testing.assert_array_equal(x_num, [[30, DAY], [NAN, NAN], [41.5, 3600]])
    np.testing.assert_array_equal(x_cat, [[1, 1], [-1, 0], [2, -1]])


@pytest.mark.parametrize("dtype", [*"bBhHiIlLqQ", "float16", "float32", "float64", ">i4", ">f8"])
def test_every_dtype_of_numbers(dtype: str) -> None:
    np.testing.assert_array_equal(numbers(np.array([0, 1, 100], dtype)), [0, 1, 100])
    assert codes(np.array([1, 10, 3], dtype), SIZE) == [0, 2, -1]


def test_what_counts_as_missing_among_numbers() -> None:
    values = [1, None, NAN, np.float32("nan"), Decimal("NaN"), Unsure(), Decimal("2.5"), np.int8(3)]
    np.testing.assert_array_equal(numbers(values), [1, *[NAN] * 5, 2.5, 3])
    np.testing.assert_array_equal(numbers(np.array(values, object)), [1, *[NAN] * 5, 2.5, 3])
    np.testing.assert_array_equal(numbers([None, None]), [NAN, NAN])
    np.testing.assert_array_equal(numbers([NAN, np.inf, -np.inf]), [NAN, np.inf, -np.inf])


def test_numbers_that_are_written() -> None:
    np.testing.assert_array_equal(numbers(["1.5", None, "-2e3", ""]), [1.5, NAN, -2000, NAN])
    np.testing.assert_array_equal(numbers(np.array(["1", "2"])), [1, 2])
    assert refusal({"age": ["1", "two"]}, [AGE]) == (
        "row 2, column 'age': 'two' is not a number; write it as numbers with a point before "
        "decimals"
    )


def test_what_counts_as_missing_among_words() -> None:
    values = ["cook", None, NAN, Unsure(), "", "clerk", np.str_("cook")]
    assert codes(values) == [0, -1, -1, -1, -1, 1, 0]
    assert codes(np.array(values, object)) == [0, -1, -1, -1, -1, 1, 0]
    assert codes([None, None]) == [-1, -1]


@pytest.mark.parametrize("dtype", [str, object, np.dtypes.StringDType()])
def test_words_that_the_model_does_not_know(dtype: Any) -> None:
    values = np.array(["clerk", "pilot", "Cook"], dtype)
    assert codes(values) == [1, 2, 2]  # "other"
    without = Column("job", type="category", levels=["cook", "clerk"])
    assert codes(values, without) == [1, -1, -1]


def test_numbers_as_words() -> None:
    assert codes([1, 2.5, 10.0, None, 7], SIZE) == [0, 1, 2, -1, -1]
    assert codes(["1", "2.5", "10", None, "7"], SIZE) == [0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    "values",
    [
        [True, False, None],
        [np.True_, np.False_, None],
        ["true", "FALSE", None],
        np.array([True, False, NAN], object),
    ],
)
def test_booleans(values: Any) -> None:
    assert codes(values, PAID) == [1, 0, -1]
    assert codes(np.array([True, False]), PAID) == [1, 0]


@pytest.mark.parametrize("unit", ["D", "h", "s", "ms", "us", "ns"])
def test_dates_of_numpy(unit: str) -> None:
    values = np.array(["1970-01-02", "NaT", "1969-12-31"], f"datetime64[{unit}]")
    np.testing.assert_array_equal(numbers(values, BORN), [DAY, NAN, -DAY])
    np.testing.assert_array_equal(numbers(list(values), BORN), [DAY, NAN, -DAY])
    np.testing.assert_array_equal(numbers(values[:0], BORN), [])


NOT_A_DATE = "is not an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)"


def test_whole_numbers_in_a_column_of_dates_are_read_by_their_digits() -> None:
    days = np.array([20260101, 20260102])
    assert numbers(days, BORN) == [1767225600, 1767312000]
    assert numbers(days.astype(float), BORN) == [1767225600, 1767312000]
    assert numbers(np.array([1767225600250]), BORN) == [1767225600.25]
    assert refusal({"born": np.array([46023])}, [BORN]) == (
        f"row 1, column 'born': '46023' {NOT_A_DATE}"
    )


def test_real_numbers_of_a_dict_may_be_seconds_as_a_decoder_gives_them() -> None:
    seconds = np.array([0.25, -DAY, 1767225600.1234567, NAN])
    np.testing.assert_array_equal(numbers(seconds, BORN), seconds)
    np.testing.assert_array_equal(numbers(np.array([0.0, DAY]), BORN), [0, DAY])


def test_true_and_false_among_numbers_are_1_and_0() -> None:
    np.testing.assert_array_equal(numbers(["true", "2.5", None, "FALSE"]), [1, 2.5, NAN, 0])
    assert numbers(np.array([True, False])) == [1, 0]


def test_dates_of_python() -> None:
    east = datetime.timezone(datetime.timedelta(hours=2))
    values = [
        datetime.date(1970, 1, 2),
        None,
        datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000),  # without a zone: UTC
        datetime.datetime(1970, 1, 1, 2, tzinfo=east),
    ]
    np.testing.assert_array_equal(numbers(values, BORN), [DAY, NAN, 1.5, 0])
    np.testing.assert_array_equal(numbers([0, None, 1.5], BORN), [0, NAN, 1.5])  # seconds
    assert refusal({"born": ["1970-01-02", "soon"]}, [BORN]) == (
        "row 2, column 'born': 'soon' is not an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "one", None], "column 'age' mixes numbers and text; make it one of them"),
        ([1, "one"], "column 'age' mixes numbers and text; make it one of them"),
        ([1, object()], "column 'age' mixes numbers and text; make it one of them"),
        ([[1], [2]], "column 'age' has shape (2, 1); a column has one axis"),
        (3.0, "column 'age' has shape (); a column has one axis"),
        (
            np.array([1j]),
            "column 'age' holds complex128; numbers, categories and dates are taken",
        ),
        ([b"1"], "column 'age' holds |S1; numbers, categories and dates are taken"),
        (
            np.array([1], "timedelta64[s]"),
            "column 'age' holds timedelta64[s]; numbers, categories and dates are taken",
        ),
        (
            np.ma.masked_array([1, 2], [True, False]),
            "column 'age' is a masked array; fill it first, with filled(...)",
        ),
        *(
            (
                values,
                f"column 'age' holds integers beyond {2**53}, which lose digits as float64; "
                "subtract an offset",
            )
            for values in (
                np.array([0, 2**53 + 1]),
                [-(2**53) - 1, None],
                [2**64, 1],
                np.array([2**64 - 1], np.uint64),
            )
        ),
    ],
)
def test_columns_that_cannot_be_used(values: Any, message: str) -> None:
    assert refusal({"age": values}, [AGE]) == message


def test_columns_of_unequal_rows() -> None:
    message = refusal({"age": [[1, 2], [3]]}, [AGE])
    assert message.startswith("column 'age' is not one array: ")
    assert "\n" not in message


def test_lengths() -> None:
    assert refusal({"age": [1, 2], "job": ["cook"], "extra": [1, 2, 3]}, [AGE, JOB]) == (
        "columns must be of one length, found 'age' 2, 'job' 1"
    )
    x_num, x_cat = to_arrays({"age": [], "job": []}, [AGE, JOB])
    assert (x_num.shape, x_cat.shape) == ((0, 1), (0, 1))


def test_columns_that_are_missing() -> None:
    assert refusal({"job": ["cook"]}, COLUMNS) == "3 columns are missing: age, born, paid"
    assert refusal({}, COLUMNS) == "4 columns are missing: age, born, job, paid"


def test_columns_without_names_are_taken_by_position() -> None:
    columns = [Column(None), Column(None, "category", levels=["a", "b"])]
    x_num, x_cat = to_arrays({0: [1, 2], 1: ["b", "a"]}, columns)
    assert (x_num.ravel().tolist(), x_cat.ravel().tolist()) == ([1, 2], [1, 0])
    assert refusal({0: [1], 1: ["a"], 2: [3]}, columns) == (
        "3 columns found, 2 wanted; without names they are taken by position"
    )


def test_what_is_no_table() -> None:
    for x, name in ((np.zeros((2, 4)), "ndarray"), ([[1, 2]], "list"), ("x.csv", "str")):
        assert refusal(x, COLUMNS, DtypeMismatch) == (
            f"x is {name}, and this bundle takes a table of numbers and categories; pass a dict of "
            "1-d columns, or a pandas, polars or pyarrow table"
        )


def blocks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    rows = int(random.integers(0, 9))
    x_num = random.standard_normal((rows, 2)) * 10.0 ** random.integers(-9, 9, 2)
    x_num[random.random(x_num.shape) < 0.3] = NAN
    x_cat = np.stack([random.integers(-1, 3, rows), random.integers(-1, 2, rows)], 1)
    return x_num, x_cat.astype(np.int32)


@pytest.mark.parametrize("seed", range(20))
def test_blocks_go_through_columns_and_come_back(seed: int) -> None:
    x_num, x_cat = blocks(seed)
    columns = from_blocks(x_num, x_cat, COLUMNS)
    assert list(columns) == [column.name for column in COLUMNS]
    back: Callable[[], Any]
    for back in (
        lambda: to_blocks(Table(columns, seconds=True), COLUMNS),
        lambda: to_arrays(Table(columns, seconds=True), COLUMNS),
        lambda: to_arrays(columns, COLUMNS),
        lambda: to_arrays({name: values.tolist() for name, values in columns.items()}, COLUMNS),
        lambda: to_arrays(dict(reversed(columns.items())), COLUMNS),
    ):
        for found, wanted in zip(back(), (x_num, x_cat), strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)


def test_a_bundle_of_a_mixed_table(mixed_bundle: Path) -> None:
    ae = ae_runtime.load(mixed_bundle, tile=2)
    x = {"job": ["clerk", "pilot", None], "age": [30, None, 41]}
    with pytest.warns(DataWarning, match="^columns not in the model are left out: extra$"):
        z = ae.encode(x | {"extra": [1, 2, 3]})
    np.testing.assert_array_equal(z, [[30, 1], [NAN, 2], [41, -1]])
    x_hat = ae.decode(z)
    assert list(x_hat) == ["age", "job"]
    assert x_hat["age"].dtype == np.float64
    np.testing.assert_array_equal(x_hat["age"], [30, NAN, 41])
    assert x_hat["job"].tolist() == ["clerk", "other", None]
    for name, values in ae.reconstruct(x).items():
        np.testing.assert_array_equal(values, x_hat[name])
    prob = ae.model.decode(z)[2]
    np.testing.assert_array_equal(prob, [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert {
        name: len(values) for name, values in ae.reconstruct({"age": [], "job": []}).items()
    } == {"age": 0, "job": 0}


def test_arrays_of_a_mixed_table(mixed_bundle: Path) -> None:
    ae = ae_runtime.load(mixed_bundle)
    x_num, x_cat = np.array([[30.0], [NAN]]), np.array([[1], [-1]], np.int32)
    z = ae.model.encode(x_num, x_cat)
    np.testing.assert_array_equal(z, [[30, 1], [NAN, -1]])
    for found, wanted in zip(ae.model.decode(z), (x_num, x_cat), strict=False):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ShapeMismatch) as caught:
        ae.model.encode(x_num, x_cat[:1])
    assert str(caught.value) == (
        "the arrays must have as many rows as each other, found 2 of x_num and 1 of x_cat"
    )
    with pytest.raises(ShapeMismatch) as caught:
        ae.model.encode(x_num[:, 0], x_cat)
    assert str(caught.value) == "x_num has shape (2,), the bundle wants (B, 1)"
    with pytest.raises(DtypeMismatch) as mismatch:
        ae.model.encode(x_num, x_cat.astype(np.float32))
    assert str(mismatch.value) == (
        "x_cat is float32, the bundle takes int32; if the values are whole and in range, pass "
        "x_cat.astype('int32')"
    )
    with pytest.raises(DtypeMismatch) as mismatch:
        ae.encode(x_num)
    assert str(mismatch.value).startswith("x is ndarray, and this bundle takes a table of numbers")


def test_truth_values_stand_for_any_pair_of_words() -> None:
    column = Column("open", type="boolean", levels=["no", "yes"])
    for values in ([True, None, False], np.array([True, None, False], object), ["yes", "", "NO"]):
        _, x_cat = to_arrays({"open": values}, [column])
        assert x_cat[:, 0].tolist() == [1, -1, 0]
