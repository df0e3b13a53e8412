"""Parquet files, whole and as streams, and Arrow tables: types of columns, and what is wrong."""

from __future__ import annotations

import datetime
import os
import re
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle.manifest import Column, Golden, Latent, Manifest, Port, Series
from ae_runtime.errors import DataError, DataWarning, InputFailed, MissingExtra, TooLittleMemory
from ae_runtime.files.readers import parquet
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import Block, SeriesCut, open_rows, open_stream
from ae_runtime.tables.arrow import arrow_table
from ae_runtime.tables.table import to_blocks

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
    found = read_table(path)
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


TYPES_OF_DATES = [(kind, unit) for kind, unit in (("date32", "day"), ("date64", "ms"))] + [
    ("timestamp", unit) for unit in ("s", "ms", "us", "ns")
]


@pytest.mark.parametrize(("kind", "unit"), TYPES_OF_DATES)
def test_dates_that_databases_write_for_infinity_are_infinite(
    tmp_path: Path, kind: str, unit: str
) -> None:
    """The ends of each type; a time so far away that it is none of them stays a time."""
    bits = 32 if kind == "date32" else 64
    end = 2 ** (bits - 1) - 1
    ticks = pa.array([0, end, -end, None, 10**9], f"int{bits}")
    dates = ticks.cast(pa.timestamp(unit) if kind == "timestamp" else getattr(pa, kind)())
    a_tick = {"day": 86400, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    found = arrow_table(pa.table({"when": dates}))
    np.testing.assert_allclose(
        found.columns["when"], [0, np.inf, -np.inf, np.nan, 10**9 * a_tick], rtol=1e-12
    )


def test_an_infinite_date_is_an_infinite_value(tmp_path: Path) -> None:
    """Refused with row and column as an infinite number is, by training and by each command."""
    when = pa.array([0, 2**63 - 1, 5, -(2**63 - 1)], pa.int64()).cast(pa.timestamp("us"))
    path = written(tmp_path / "t.parquet", when=when, a=[1.0, 2.0, 3.0, 4.0])
    dates = manifest(["a", "when"])
    columns = [Column("a"), Column("when", type="date")]
    dates = msgspec.structs.replace(dates, columns=columns)
    (block,) = blocks_of(path, 9, bundle=dates)
    infinite = "is infinite; correct it, or write NaN for a missing value"
    reasons = {1: f"row 2, column 'when' {infinite}", 3: f"row 4, column 'when' {infinite}"}
    assert block.bad == reasons
    assert block.arrays[0].tolist() == [[1, 0], [0, 0], [3, 5e-6], [0, 0]]
    exact = replace(row_columns(dates), exact=True)
    with closing(open_rows(exact, "table", path)) as stream:
        (block,) = stream.blocks(9)
    assert block.bad == reasons


def test_nested_columns_are_listed_and_the_others_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t.parquet", a=[1.0, 2.0], tags=[["x"], []], box=[{"w": 1}, None], raw=[b"", b""]
    )
    found = read_table(path)
    assert list(found.columns) == ["a"]
    assert list(found.unusable) == ["tags", "box", "raw"]
    assert found.unusable["raw"] == "holds (binary)"
    assert found.unusable["tags"].startswith("is nested (list<")


def test_integers_that_lose_digits_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", key=pa.array([1, 2**53 + 1], pa.int64()))
    with pytest.raises(DataError) as error:
        read_table(path)
    assert str(error.value) == (
        f"{path}: column 'key' holds integers beyond {2**53}, which lose digits as float64; "
        "subtract an offset"
    )


def test_damaged_and_empty_files(tmp_path: Path) -> None:
    damaged = tmp_path / "t.parquet"
    damaged.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"t\.parquet is not a readable Parquet file: "):
        read_table(damaged)
    with pytest.raises(DataError, match="holds no rows"):
        read_table(written(tmp_path / "e.parquet", a=pa.array([], pa.float64())))


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingExtra, match=r'^pyarrow cannot .*; pip install "ae-toolkit\[data\]"$'
    ):
        read_table(tmp_path / "t.parquet")


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
            with pytest.warns(DataWarning, match="^columns not in the model are left out: extra$"):
                z = ae_runtime.load(mixed_bundle).encode(x)
            np.testing.assert_array_equal(z, expected)


def test_ids_may_be_categories(tmp_path: Path) -> None:
    ids = pa.array(["r2", None, "r1", "r2"]).dictionary_encode()
    rows = {name: np.arange(4.0) for name in "abcd"}
    path = written(tmp_path / "t.parquet", id=ids, **rows)
    with closing(open_stream(row_columns(manifest()), path, id_column="id")) as stream:
        found = [block.ids for block in stream.blocks(9)]
    assert np.concatenate(found).tolist() == ["r2", "", "r1", "r2"]  # type: ignore[arg-type]


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
        (
            {"age": [1], "job": [["cook"]]},
            "column 'job' is nested (list<item: string>), and neither numbers nor categories",
        ),
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


NUMBERS = ["a", "b", "c"]


def manifest(names: list[str] = NUMBERS, dtype: Any = "float64") -> Manifest:
    """Of a bundle that takes columns of numbers."""
    port = Port("x", dtype, [None, len(names)])
    columns = [Column(name) for name in names]
    sizes = Latent(2), [port], [port], columns, None, Golden(1, 1e-5)
    return Manifest("1.0", "id", "table", *sizes, {})


def blocks_of(
    path: Path, size: int, first: int = 0, ahead: bool = True, **more: Any
) -> list[Block]:
    bundle = more.pop("bundle", None) or manifest()
    with closing(open_stream(row_columns(bundle), path, **more)) as stream:
        if not ahead:
            stream.keep_to(stream.memory - 1)
        return list(stream.blocks(size, first))


def joined(blocks: list[Block], part: int = 0) -> np.ndarray:
    return np.concatenate([block.arrays[part] for block in blocks])


@pytest.mark.parametrize(
    ("group_bytes", "ahead", "rows_in_group"),
    [(size, True, rows) for size in (96 << 20, 0, 500) for rows in (1, 7, 40, 100)]
    + [(96 << 20, False, rows) for rows in (1, 7, 40)],
)
def test_blocks_are_the_rows_that_are_read_whole(
    tmp_path: Path,
    rows_in_group: int,
    ahead: bool,
    group_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row groups as a whole, one ahead or none; in batches; and as either (the last is small)."""
    import pyarrow.parquet as pq

    monkeypatch.setattr(parquet, "GROUP_BYTES", group_bytes)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 320)  # ten rows at once
    monkeypatch.setattr(parquet, "_COLUMNS_BYTES", 200)
    random = np.random.default_rng(rows_in_group)
    real = [None if random.random() < 0.1 else float(v) for v in random.standard_normal(100)]
    table = pa.table(
        {
            "c": random.standard_normal(100).astype(np.float32),
            "extra": [["nested"]] * 100,
            "key": pa.array(np.arange(100), pa.int32()),
            "b": pa.array(random.integers(-9, 9, 100), pa.int8()),
            "name": [f"r{at}" for at in range(100)],
            "a": real,
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=rows_in_group)
    whole = read_table(path)
    x = np.stack([whole.columns[name] for name in NUMBERS], 1)
    for size in (1, 9, 50, 100, 101):
        blocks = blocks_of(path, size, id_column="key", ahead=ahead)
        assert [block.first for block in blocks] == list(range(0, 100, size))
        assert {block.arrays[0].dtype for block in blocks} == {np.dtype(np.float64)}
        np.testing.assert_array_equal(joined(blocks), x)
        keys = np.concatenate([block.ids for block in blocks])  # type: ignore[arg-type]
        assert keys.dtype == np.int64
        assert keys.tolist() == list(range(100))
        for first in range(size, 100, size * 5):
            rest = blocks_of(path, size, first, ahead, id_column="name")
            assert rest[0].first == first
            np.testing.assert_array_equal(joined(rest), x[first:])
            names = np.concatenate([block.ids for block in rest])  # type: ignore[arg-type]
            assert names.tolist() == [f"r{at}" for at in range(first, 100)]


def test_what_a_stream_says_of_itself(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t.parquet", a=[1.0, 2.0], b=[3, 4], c=[5, 6], d=[7, 8], id=["x", "y"]
    )
    with closing(open_stream(row_columns(manifest()), path, id_column="id")) as stream:
        assert (stream.rows, stream.id_name, stream.series) == (2, "id", None)
        assert stream.notes == ["columns not in the model are left out: d"]
        before = stream.fingerprint
    os.utime(path, ns=(1, 1))
    with closing(open_stream(row_columns(manifest()), path)) as stream:
        assert stream.fingerprint != before


def test_float32_columns_stay_so(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    path = written(tmp_path / "t.parquet", **dict(zip(NUMBERS, values, strict=True)))
    blocks = blocks_of(path, 7, bundle=manifest(dtype="float32"))
    assert joined(blocks).dtype == np.float32
    np.testing.assert_array_equal(joined(blocks), values.T)


@pytest.mark.parametrize("group_bytes", [96 << 20, 0])
def test_row_groups_without_rows_are_passed_over(
    tmp_path: Path, group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of numbers and of words, whole and in batches, wherever they lie."""
    import pyarrow.parquet as pq

    monkeypatch.setattr(parquet, "GROUP_BYTES", group_bytes)
    table = pa.table({"a": np.arange(6.0), "id": [f"r{at}" for at in range(6)]})
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for low, high in ((0, 0), (0, 4), (4, 4), (4, 4), (4, 6), (6, 6)):
            writer.write_table(table.slice(low, high - low))
    assert pq.read_metadata(path).num_row_groups == 6
    for first in (0, 2, 4):
        blocks = blocks_of(path, 2, first, bundle=manifest(["a"]), id_column="id")
        assert joined(blocks).ravel().tolist() == list(range(first, 6))
        assert [name for block in blocks for name in block.ids] == [  # type: ignore[union-attr]
            f"r{at}" for at in range(first, 6)
        ]


def test_a_block_is_not_changed_by_the_next_row_group(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": np.arange(20.0)}), tmp_path / "t.parquet", row_group_size=5)
    blocks = blocks_of(tmp_path / "t.parquet", 5, bundle=manifest(["a"]))
    assert [block.arrays[0].ravel().tolist() for block in blocks] == [
        list(range(low, low + 5)) for low in range(0, 20, 5)
    ]


def test_bad_rows_of_a_stream(tmp_path: Path) -> None:
    infinite = "is infinite; correct it, or write NaN for a missing value"
    path = written(tmp_path / "t.parquet", a=[1.0, np.inf, 3.0], b=[1, 2, None], c=[1, 2, 3])
    (block,) = blocks_of(path, 9)
    assert block.bad == {1: f"row 2, column 'a' {infinite}"}
    np.testing.assert_array_equal(block.arrays[0], [[1, 1, 1], [0, 0, 0], [3, np.nan, 3]])
    path = written(
        tmp_path / "u.parquet", a=["1.5", "red", None], b=[1, 2, 3], c=[1, np.inf, -np.inf]
    )
    (block,) = blocks_of(path, 9)
    assert block.bad == {
        1: "row 2, column 'a': 'red' is not a number; "
        "write it as numbers with a point before decimals",
        2: f"row 3, column 'c' {infinite}",
    }
    np.testing.assert_array_equal(block.arrays[0], [[1.5, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_mixed_tables_are_those_that_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    columns = [
        Column("age"),
        Column("day", "date"),
        Column("job", "category", levels=["cook", "7", "other"]),
        Column("paid", "boolean", levels=["false", "true"]),
    ]
    ports = [Port("x_num", "float64", [None, 2]), Port("x_cat", "int32", [None, 2])]
    sizes = Latent(2), ports, ports, columns, None, Golden(1, 1e-5)
    bundle = Manifest("1.0", "id", "table", *sizes, {})
    random = np.random.default_rng(0)
    days = [
        datetime.date(1970, 1, 1) + datetime.timedelta(int(d)) for d in random.integers(0, 99, 50)
    ]
    table = pa.table(
        {
            "paid": random.choice(np.array([True, False, None], object), 50).tolist(),
            "job": pa.array(random.choice(["cook", "7", "pilot"], 50).tolist()).dictionary_encode(),
            "day": days,
            "age": random.integers(0, 99, 50),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=20)
    expected = to_blocks(read_table(path), columns)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 8 * 4 * 6)
    for size in (1, 9, 50):
        blocks = blocks_of(path, size, bundle=bundle)
        for part in (0, 1):
            np.testing.assert_array_equal(joined(blocks, part), expected[part])
            rest = blocks_of(path, size, size, bundle=bundle)
            if rest:
                np.testing.assert_array_equal(joined(rest, part), expected[part][size:])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([20260101, 20260102], pa.int64()),
        pa.array([20260101, 20260102], pa.float64()),
        pa.array([1767225600, 1767312000], pa.int32()),
        pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]),
        pa.array(["2026-01-01", "20260102"]),
    ],
)
def test_numbers_in_a_column_of_dates_are_read_by_their_digits(tmp_path: Path, values: Any) -> None:
    columns = [Column("age"), Column("day", "date")]
    port = Port("x", "float64", [None, 2])
    bundle = Manifest(
        "1.0", "id", "table", Latent(2), [port], [port], columns, None, Golden(1, 0.0), {}
    )
    path = written(tmp_path / "t.parquet", day=values, age=[1.0, 2.0])
    expected = [[1, 1767225600], [2, 1767312000]]
    (block,) = blocks_of(path, 9, bundle=bundle)
    assert (block.arrays[0].tolist(), block.bad) == (expected, {})
    x, _ = to_blocks(arrow_table(pa.table({"age": [1.0, 2.0], "day": values})), columns)
    assert x.tolist() == expected
    path = written(tmp_path / "b.parquet", day=[20260101, 46023], age=[1.0, 2.0])
    (block,) = blocks_of(path, 9, bundle=bundle)
    why = "'46023' is not an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)"
    assert block.bad == {1: f"row 2, column 'day': {why}"}


def test_a_series_in_a_parquet_file(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).standard_normal((10, 2))
    path = written(tmp_path / "s.parquet", t=list(range(10)), right=steps[:, 1], left=steps[:, 0])
    port = Port("x", "float64", [None, 4, 2])
    sizes = Latent(2), [port], [port], None, None, Golden(1, 1e-5)
    bundle = Manifest("1.0", "id", "series", *sizes, {}, Series(["left", "right"]))
    with closing(open_stream(row_columns(bundle), path, id_column="t")) as stream:
        assert (stream.rows, stream.series) == (3, SeriesCut(4, 4, 10))
        (block,) = stream.blocks(5)
    assert block.starts is not None
    assert block.ids is not None
    assert block.starts.tolist() == block.ids.tolist() == [0, 4, 6]
    np.testing.assert_array_equal(block.arrays[0][2], steps[6:])


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"a": [1.0], "b": [1]}, " lacks 1 of the model's columns: c"),
        ({"a": [1.0], "b": [1], "c": [[1]]}, " lacks 1 of the model's columns: c"),
        (
            {"a": [1.0], "b": [2**60], "c": [1]},
            f": column 'b' holds integers beyond {2**53}, which lose digits as float64; "
            "subtract an offset",
        ),
        ({"a": pa.array([], pa.float64())}, " holds no rows"),
    ],
)
def test_streams_that_do_not_fit(tmp_path: Path, columns: dict[str, Any], line: str) -> None:
    path = written(tmp_path / "t.parquet", **columns)
    with pytest.raises(DataError) as error:
        blocks_of(path, 5)
    assert str(error.value) == f"{path}{line}"


def test_a_file_that_is_damaged_or_changes_while_it_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    random = np.random.default_rng(0)
    pq.write_table(
        pa.table({name: random.standard_normal(5000) for name in NUMBERS}),
        path,
        row_group_size=1000,
    )
    whole = path.read_bytes()
    chunk = pq.read_metadata(path).row_group(2).column(0)
    damaged = bytearray(whole)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged[at : at + 30] = b"\xff" * 30  # the header of a page
    for raw in (bytes(damaged), whole[:-100], whole[:50_000]):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"^\S+t\.parquet is not a readable Parquet file: .+$"):
            blocks_of(path, 1000)
    path.write_bytes(whole)
    with closing(open_stream(row_columns(manifest()), path)) as stream:
        blocks = stream.blocks(1000)
        next(blocks)
        os.truncate(path, 50_000)
        with pytest.raises(InputFailed) as error:
            list(blocks)
    assert str(error.value) == (
        f"{path} cannot be read to its end: it changed meanwhile; see that it is still there"
    )


def test_a_stream_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "t.parquet", a=[1.0], b=[1], c=[1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingExtra, match=r'^pyarrow cannot .*; pip install "ae-toolkit\[data\]"$'
    ):
        open_stream(row_columns(manifest()), path)


MEMORY = """
import sys
import pyarrow.parquet
from ae_runtime.bundle.manifest import Golden, Latent, Manifest, Port
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.opening import open_stream

def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon"))

source, width, size, kept = sys.argv[1], *map(int, sys.argv[2:])
port = Port("x", "float32", [None, width])
manifest = Manifest("1.0", "id", "table", Latent(2), [port], [port], None, None, Golden(1, 1), {})
before = most = megabytes()
rows = 0
stream = open_stream(row_columns(manifest), source)
stream.keep_to(kept << 20)
for block in stream.blocks(size):
    rows += len(block.arrays[0])
    most = max(most, megabytes())
print(most - before, -(-stream.memory >> 20), rows)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is of Linux")
@pytest.mark.alone
@pytest.mark.parametrize("groups", [2, pytest.param(8, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("width", "ahead"), [(20, True), (784, True), (784, False)])
def test_memory_with_row_groups_of_64_megabytes(
    python: Any, tmp_path: Path, width: int, ahead: bool, groups: int
) -> None:
    """What a stream says that it takes: two row groups, or one where two are too many."""
    import pyarrow.parquet as pq

    rows = (64 << 20) // (4 * width)
    x = np.random.default_rng(0).standard_normal((width, rows), np.float32)
    table = pa.table({f"x{at}": column for at, column in enumerate(x)})
    with pq.ParquetWriter(tmp_path / "t.parquet", table.schema, compression="none") as file:
        for _ in range(groups):
            file.write_table(table, row_group_size=rows)
    size, kept = (4 << 20) // width, 180 if ahead else 120
    grown, said, found = map(int, python(MEMORY, tmp_path / "t.parquet", width, size, kept).split())
    assert found == groups * rows
    assert said == (1 + ahead) * 64 + 48  # and pyarrow's
    assert grown <= said + 2 * 16  # a block, and the next one


def test_row_groups_that_max_memory_does_not_hold(tmp_path: Path, table_bundle: Path) -> None:
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    written(tmp_path / "x.parquet", **{name: np.zeros(200_000) for name in names})
    tight = ae_runtime.load(table_bundle, max_memory=60_000_000)
    with pytest.raises(TooLittleMemory) as caught:
        tight.encode_file(tmp_path / "x.parquet", tmp_path / "z.npy")
    found = re.fullmatch(
        r".*x\.parquet takes ([\d,]+) bytes at once, and max_memory leaves ([\d,]+) beside the "
        r"model; allow ([\d,]+) more",
        str(caught.value),
    )
    assert found
    takes, leaves, more = (int(number.replace(",", "")) for number in found.groups())
    assert takes > 200_000 * 6 * 8
    assert takes - leaves == more
    enough = ae_runtime.load(table_bundle, max_memory=60_000_000 + 2 * more)
    assert enough.encode_file(tmp_path / "x.parquet", tmp_path / "z.npy").rows == 200_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.parquet", "z.npy", "z.npy.json"]
