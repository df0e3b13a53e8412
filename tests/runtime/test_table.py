"""Tables of numbers and words: read from CSV, as blocks of a model, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import DataError
from ae_runtime.files.readers.csv_numbers import MISSING
from ae_runtime.files.readers.formats import read_table
from ae_runtime.tables.table import Table, from_blocks, parse_date, to_blocks

COLUMNS = [
    Column("age", integer=True),
    Column("when", type="date", integer=True),
    Column("job", type="category", levels=["cook", "clerk", "other"]),
    Column("paid", type="boolean", levels=["no", "yes"]),
]


def words(*values: str | None) -> np.ndarray:
    return np.array(values, object)


def table(**columns: object) -> Table:
    given = {
        "age": np.array([30.0, np.nan, 41.0]),
        "when": words("2026-01-01", None, "2026-01-01T01:00"),
        "job": words("clerk", None, "pilot"),
        "paid": words("YES", "no", None),
    }
    return Table(given | columns)


def test_numbers_and_dates_are_one_block_and_codes_of_words_the_other() -> None:
    x_num, x_cat = to_blocks(table(), COLUMNS)
    assert x_num.dtype == np.float64
    assert x_cat.dtype == np.int32
    day = 1767225600.0  # 2026-01-01 in seconds since 1970
    np.testing.assert_array_equal(x_num, [[30, day], [np.nan, np.nan], [41, day + 3600]])
    np.testing.assert_array_equal(x_cat, [[1, 1], [-1, 0], [2, -1]])


def test_an_unknown_word_is_missing_where_the_model_knows_no_other() -> None:
    column = Column("job", type="category", levels=["cook", "clerk"])
    _, x_cat = to_blocks(Table({"job": words("pilot", "clerk")}), [column])
    assert x_cat.ravel().tolist() == [-1, 1]


def test_blocks_come_back_as_columns() -> None:
    x_num, x_cat = to_blocks(table(), COLUMNS)
    back = from_blocks(x_num, x_cat, COLUMNS)
    assert list(back) == ["age", "when", "job", "paid"]
    assert back["job"].tolist() == ["clerk", None, "other"]
    assert back["paid"].tolist() == ["yes", "no", None]
    again = to_blocks(Table(back), COLUMNS)
    np.testing.assert_array_equal(again[0], x_num)
    np.testing.assert_array_equal(again[1], x_cat)


def test_the_order_of_the_file_and_columns_without_use_do_not_matter() -> None:
    turned = Table({"extra": words("a", "b", "c"), **dict(reversed(table().columns.items()))})
    for found, wanted in zip(to_blocks(turned, COLUMNS), to_blocks(table(), COLUMNS), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_missing_column_is_named() -> None:
    columns = dict(table().columns)
    del columns["job"]
    with pytest.raises(DataError) as error:
        to_blocks(Table(columns), COLUMNS)
    assert str(error.value) == "1 columns are missing: job"


def test_text_among_numbers_is_named() -> None:
    with pytest.raises(DataError) as error:
        to_blocks(table(age=words("30", None, "old")), COLUMNS)
    assert str(error.value) == (
        "row 3, column 'age': 'old' is not a number; write it as numbers with a point before "
        "decimals"
    )


def test_without_names_columns_are_taken_by_position() -> None:
    columns = [Column(None), Column(None, type="category", levels=["a", "b"])]
    file = Table({"1": np.array([1.0, 2.0]), "2": words("b", "a")}, named=False)
    x_num, x_cat = to_blocks(file, columns)
    assert (x_num.ravel().tolist(), x_cat.ravel().tolist()) == ([1, 2], [1, 0])
    with pytest.raises(DataError, match="1 columns found, 2 wanted"):
        to_blocks(Table({"1": np.array([1.0])}, named=False), columns)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-01 00:00:00.25", 0.25),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("1970-01-01T00:00:09Z", 9.0),
        ("soon", None),
        ("31/12/1999", None),
    ],
)
def test_dates_are_iso_8601_in_utc(text: str, seconds: float | None) -> None:
    assert parse_date(text) == seconds


def test_every_spelling_of_missing_in_a_csv(tmp_path: Path) -> None:
    spellings = [form(word) for word in MISSING for form in (str.lower, str.upper, str.title)]
    path = tmp_path / "t.csv"
    path.write_text("n,w\n1,a\n" + "".join(f"{word},{word}\n" for word in spellings))
    columns = read_table(path).columns
    assert np.isnan(columns["n"]).tolist() == [False] + [True] * len(spellings)
    assert columns["w"].tolist() == ["a"] + [None] * len(spellings)


def test_a_csv_of_numbers_and_words(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id;v;who\n1;2.5;"a;b"\n2;;c\n')
    found = read_table(path)
    assert found.named
    assert found.note == "t.csv: separator ';', with a header"
    assert found.integer == {"id"}
    assert found.columns["who"].tolist() == ["a;b", "c"]
    np.testing.assert_array_equal(found.columns["v"], [2.5, np.nan])


def test_words_of_a_csv_are_kept_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,v\n02116,1\n2116,2\n,3\n")
    assert read_table(path).columns["zip"].dtype == float
    found = read_table(path, text=["zip", "gone"]).columns
    assert found["zip"].tolist() == ["02116", "2116", None]
    np.testing.assert_array_equal(found["v"], [1, 2, 3])


def test_a_csv_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("1,2\n3,x\n")
    found = read_table(path)
    assert (found.named, list(found.columns)) == (False, ["1", "2"])
    assert found.columns["2"].tolist() == ["2", "x"]
