"""Parquet files and Arrow tables: every type of column, and what is said where one is no use."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.errors import DataError, MissingExtra
from ae_runtime.parquet_files import read_parquet_table

pa = pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")


def written(path: Path, **columns: object) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_types_of_columns(tmp_path: Path) -> None:
    day = datetime.date(1970, 1, 3)
    path = written(
        tmp_path / "t.parquet",
        whole=pa.array([1, None, 3], pa.int32()),
        real=pa.array([0.5, float("nan"), None], pa.float32()),
        price=pa.array(["1.25", None, "3.50"]).cast(pa.decimal128(6, 2)),
        word=["a", None, ""],
        coded=pa.array(["x", "y", None]).dictionary_encode(),
        truth=[True, False, None],
        day=pa.array([day, None, day]),
        moment=pa.array([1_500, None, 0], pa.timestamp("ms", tz="Europe/Paris")),
        nothing=pa.nulls(3),
    )
    found = read_parquet_table(path)
    numbers = {
        "whole": [1, np.nan, 3],
        "real": [0.5, np.nan, np.nan],
        "price": [1.25, np.nan, 3.5],
        "day": [2 * 86400, np.nan, 2 * 86400],
        "moment": [1.5, np.nan, 0],
        "nothing": [np.nan] * 3,
    }
    for name, values in numbers.items():
        assert found.columns[name].dtype == np.float64
        np.testing.assert_array_equal(found.columns[name], values)
    words = {
        "word": ["a", None, None],
        "coded": ["x", "y", None],
        "truth": ["true", "false", None],
    }
    for name, values in words.items():
        assert found.columns[name].tolist() == values
    assert found.integer == {"whole"}
    assert found.types == {
        "coded": "category",
        "truth": "boolean",
        "day": "date",
        "moment": "date",
    }


def test_nested_columns_are_listed_and_the_others_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t.parquet", a=[1.0, 2.0], tags=[["x"], []], box=[{"w": 1}, None], raw=[b"", b""]
    )
    found = read_parquet_table(path)
    assert list(found.columns) == ["a"]
    assert list(found.unusable) == ["tags", "box", "raw"]
    assert found.unusable["raw"] == "holds (binary)"
    assert found.unusable["tags"].startswith("is nested (list<")


def test_integers_that_lose_digits_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", key=pa.array([1, 2**53 + 1], pa.int64()))
    with pytest.raises(DataError) as error:
        read_parquet_table(path)
    assert str(error.value) == (
        f"{path}: column 'key' holds integers beyond {2**53}, which lose digits as float64; "
        "subtract an offset"
    )


def test_damaged_and_empty_files(tmp_path: Path) -> None:
    damaged = tmp_path / "t.parquet"
    damaged.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"t\.parquet is not a readable Parquet file: "):
        read_parquet_table(damaged)
    with pytest.raises(DataError, match="holds no rows"):
        read_parquet_table(written(tmp_path / "e.parquet", a=pa.array([], pa.float64())))


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingExtra, match=r'^pyarrow cannot .*; pip install "ae-toolkit\[data\]"$'
    ):
        read_parquet_table(Path("t.parquet"))


def test_an_arrow_table_of_a_mixed_model(mixed_bundle: Path) -> None:
    ae = ae_runtime.load(mixed_bundle)
    ages, jobs = pa.array([30, None, 41], pa.int16()), ["clerk", None, "pilot"]
    expected = ae.encode({"age": [30, None, 41], "job": jobs})
    for job in (
        pa.array(jobs),
        pa.array(jobs, pa.large_string()),
        pa.array(jobs).dictionary_encode(),
        pa.chunked_array([jobs[:1], jobs[1:]]),
    ):
        table = pa.table({"extra": [[1]] * 3, "job": job, "age": ages})
        for x in (table, OnlyAStream(table), table.to_reader()):
            np.testing.assert_array_equal(ae.encode(x), expected)


class OnlyAStream:
    """What pandas and polars have in common."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": [1]}, "1 columns are missing: job"),
        ({"age": [1], "job": [["cook"]]}, "1 columns are missing: job"),
        (
            {"age": ["old"], "job": ["cook"]},
            "row 1, column 'age': 'old' is not a number; write it as numbers with a point before "
            "decimals",
        ),
        (
            {"age": [2**60], "job": ["cook"]},
            f"column 'age' holds integers beyond {2**53}, which lose digits as float64; "
            "subtract an offset",
        ),
    ],
)
def test_arrow_tables_that_do_not_fit(
    mixed_bundle: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        ae_runtime.load(mixed_bundle).encode(pa.table(columns))
    assert str(error.value) == message


def test_an_arrow_table_without_pyarrow(
    mixed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"age": [1], "job": ["cook"]})
    ae = ae_runtime.load(mixed_bundle)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtra, match=r'^pyarrow cannot .*; pip install "ae-toolkit\[data\]"$'
    ):
        ae.encode(table)
