"""What columns hold: found out, said, and corrected by the user."""

from __future__ import annotations

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_runtime.tables.table import Table
from ae_train.data.inference import infer_columns, select

N = 40


def words(*values: str | None) -> np.ndarray:
    return np.array((values * N)[:N], object)


def inferred(types: dict[str, str] | None = None, max_levels: int = 100, **columns: np.ndarray):
    return infer_columns(Table(dict(columns), integer=frozenset({"n"})), types or {}, max_levels)


def message(types: dict[str, str] | None = None, **columns: np.ndarray) -> str:
    with pytest.raises(DataError) as error:
        inferred(types, **columns)
    return str(error.value)


def test_each_type_is_found_numbers_before_words() -> None:
    columns, lines = inferred(
        job=words("b", "a", "b", None),
        paid=words("Yes", "NO", "yes", None),
        n=np.arange(N) * 1.0,
        day=words("2026-01-01", "2026-02-01T10:00", None),
        v=np.linspace(0, 1, N),
    )
    assert columns == [
        Column("n", integer=True),
        Column("day", type="date", integer=True, whole_days=False),
        Column("v"),
        Column("job", type="category", levels=["b", "a"]),
        Column("paid", type="boolean", levels=["NO", "Yes"]),
    ]
    assert lines == [
        "columns: 2 numbers (n, v), 1 date (day), 1 boolean (paid), 1 category (job 2); "
        "--set data.types.COLUMN=TYPE corrects one"
    ]


def test_numbers_alone_need_no_words() -> None:
    assert inferred(n=np.arange(N) * 1.0)[1] == []


def test_rare_words_become_other() -> None:
    job = np.array(["a"] * 30 + ["b"] * 5 + ["c"] * 4 + ["d"], object)
    (column,), lines = inferred(job=job)
    assert column.levels == ["a", "b", "other"]
    assert lines[1] == "job: 2 rare categories in 12.5% of the rows become 'other'"


def test_words_beyond_the_most_frequent_become_other() -> None:
    (column,), lines = inferred(max_levels=2, job=words("a", "a", "a", "b", "b", "c"))
    assert column.levels == ["a", "b", "other"]
    assert lines[1].startswith("job: 1 rare category in ")


def test_text_that_differs_in_every_row() -> None:
    name = np.array([f"person {at}" for at in range(N)], object)
    assert message(name=name) == (
        "column 'name' is text with 40 different values in 40 rows; leave it out with --drop "
        "name, or with --id name if it names the rows"
    )


def test_text_whose_words_are_numbers_is_a_category() -> None:
    columns, lines = inferred(zip=words("02116", "94103", "2116", None))
    assert columns == [Column("zip", type="category", levels=["02116", "94103", "2116"])]
    assert lines[1:] == [
        "zip: text, all of whose values are numbers, is taken as a category; "
        "--set data.types.zip=number takes them as numbers"
    ]
    assert inferred({"zip": "number"}, zip=words("1.5", "2", None))[0] == [Column("zip")]
    assert message(v=np.array([f"{at / 7}" for at in range(N)], object)) == (
        "column 'v' is text with 40 different values in 40 rows; leave it out with --drop v, or "
        "with --id v if it names the rows; --set data.types.v=number takes it as numbers"
    )


def test_a_number_with_a_typing_error_is_no_category() -> None:
    age = np.array([str(at) for at in range(N - 1)] + ["x3"], object)
    assert message(age=age) == (
        "column 'age' holds numbers, but for 1 of 40 cells (row 40: 'x3'); correct them, or say "
        "--set data.types.age=category"
    )


def test_the_user_knows_better() -> None:
    zip_code = np.repeat([12345.0, 99999.0], N // 2)
    (column,), _ = inferred({"zip": "category"}, zip=zip_code)
    assert sorted(column.levels or []) == ["12345", "99999"]
    (column,), _ = inferred({"day": "category"}, day=words("2026-01-01", "2026-01-02"))
    assert column.type == "category"
    (column,), _ = inferred({"flag": "boolean"}, flag=words("t", "f"))
    assert column.levels == ["f", "t"]
    assert message({"job": "number"}, job=words("a", "b")).startswith("row 1, column 'job': 'a'")
    assert message({"job": "boolean"}, job=words("a", "b")) == (
        "column 'job' is not boolean: it holds a, b; say category"
    )
    assert message({"jbo": "number"}, job=words("a", "b")) == (
        "types: there is no column 'jbo'. Did you mean 'job'?"
    )


def test_a_column_without_any_value_is_said() -> None:
    columns, lines = inferred(n=np.arange(N) * 1.0, gap=np.full(N, np.nan))
    assert columns[1] == Column("gap")
    assert lines == ["without any value, nothing to learn from: gap"]


def test_columns_are_chosen_in_the_order_of_the_file() -> None:
    table = Table({name: np.zeros(3) for name in "abcd"}, unusable={"tags": "is nested (list)"})
    assert list(select(table, ["c", "a"], None, []).columns) == ["a", "c"]
    assert list(select(table, None, ["b", "tags"], ["d"]).columns) == ["a", "c"]


@pytest.mark.parametrize(
    ("columns", "drop", "left_out", "expected"),
    [
        (None, ["agee"], [], "drop: there is no column 'agee'. Did you mean 'age'?"),
        (["zzz"], None, [], "columns: there is no column 'zzz'; there are age, tags"),
        (None, None, ["job"], "id and split_by: there is no column 'job'; there are age, tags"),
        (["age"], ["age"], [], "columns and drop exclude each other; name one of them"),
        (None, ["age", "tags"], [], "no columns are left of the 2 found"),
        (
            None,
            None,
            [],
            "column 'tags' is nested (list), and neither numbers nor categories; leave it out with "
            "--drop tags",
        ),
    ],
)
def test_choices_that_cannot_be_met(
    columns: list[str] | None, drop: list[str] | None, left_out: list[str], expected: str
) -> None:
    table = Table({"age": np.zeros(3)}, unusable={"tags": "is nested (list)"})
    with pytest.raises(DataError) as error:
        select(table, columns, drop, left_out)
    assert str(error.value) == expected
