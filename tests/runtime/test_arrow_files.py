"""Arrow files, vectors in columns of lists, folders of a data set and the index of pandas."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Column, Golden, Latent, Manifest, Port
from ae_runtime.errors import DataError, NoRows
from ae_runtime.files.readers import arrow_ipc
from ae_runtime.files.readers import parquet as stream_parquet
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.data_folder import find_parts
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import Block, open_stream
from ae_runtime.tables.arrow import arrow_table

pa = pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def manifest(*columns: str | Column) -> Manifest:
    """Of a bundle that takes these columns."""
    found = [Column(column) if isinstance(column, str) else column for column in columns]
    numbers = [column for column in found if not column.levels]
    ports = [Port("x", "float64", [None, len(numbers)])]
    if len(numbers) < len(found):
        ports = [Port("x_num", "float64", [None, len(numbers)])]
        ports.append(Port("x_cat", "int32", [None, len(found) - len(numbers)]))
    golden = Golden(1, 1e-5)
    return Manifest("1.0", "id", "table", Latent(2), ports, ports, found, None, golden, {})


def blocks_of(path: Path, bundle: Manifest, size: int = 7, first: int = 0, **more: Any) -> Any:
    with closing(open_stream(row_columns(bundle), path, **more)) as stream:
        assert stream.rows is not None
        blocks: list[Block] = list(stream.blocks(size, first))
        return blocks, stream.notes, stream.rows


def x_of(blocks: list[Block]) -> np.ndarray:
    return np.concatenate([block.arrays[0] for block in blocks])


def write_ipc(table: Any, path: Path, rows: int = 5, stream: bool = False, **options: Any) -> None:
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for low in range(0, table.num_rows, rows):
            writer.write_table(table.slice(low, rows))
            writer.write_table(table.slice(0, 0))  # some writers leave such


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "file.arrow": write_ipc,
    "stream.arrow": lambda table, path: write_ipc(table, path, stream=True),
    "compressed.feather": lambda table, path: write_ipc(table, path, compression="zstd"),
    "one_batch.feather": lambda table, path: write_ipc(table, path, rows=1000),
}


@pytest.fixture
def table() -> Any:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "id": [f"r{at}" for at in range(30)],
            "b": random.standard_normal(30),
            "when": pa.array(np.arange(30), pa.timestamp("s")),
            "word": pa.array(["u", None, "v"] * 10).dictionary_encode(),
            "a": pa.array([None, *range(29)], pa.int32()),
        }
    )


@pytest.mark.parametrize("name", WRITERS)
def test_arrow_files_give_what_parquet_gives(
    tmp_path: Path, table: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_ipc, "PIECE_BYTES", 100)  # a few rows at once
    path, parquet = tmp_path / name, tmp_path / "t.parquet"
    WRITERS[name](table, path)
    pq.write_table(table, parquet)
    whole, other = read_table(path), read_table(parquet)
    assert list(whole.columns) == list(other.columns)
    assert (whole.types, whole.integer) == (other.types, other.integer)
    for column, values in whole.columns.items():
        np.testing.assert_array_equal(values, other.columns[column])
    bundle = manifest("a", Column("when", type="date"), Column("word", "category", levels=["v"]))
    for first in (0, 7, 28):
        blocks, notes, rows = blocks_of(path, bundle, first=first, id_column="id")
        others, _, _ = blocks_of(parquet, bundle, first=first, id_column="id")
        assert (rows, notes) == (30, ["columns not in the model are left out: b"])
        assert [block.first for block in blocks] == [block.first for block in others]
        for block, same in zip(blocks, others, strict=True):
            assert block.ids.tolist() == same.ids.tolist()
            for array, wanted in zip(block.arrays, same.arrays, strict=True):
                np.testing.assert_array_equal(array, wanted)


def test_arrow_files_that_cannot_be_read(tmp_path: Path, table: Any) -> None:
    path = tmp_path / "t.arrow"
    for raw in (b"", b"ARROW1 and nothing", b"no such thing"):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"t\.arrow is not a readable Arrow file: "):
            read_table(path)
        with pytest.raises(DataError, match=r"t\.arrow is not a readable Arrow file: "):
            blocks_of(path, manifest("a"))
    write_ipc(table.slice(0, 0), path)
    for read in (read_table, lambda path: blocks_of(path, manifest("a"))):
        with pytest.raises(NoRows, match=r"t\.arrow holds no rows$"):
            read(path)


LISTS = ["fixed", "list", "large_list"]


def vectors_of(x: np.ndarray, kind: str, item: Any = None) -> Any:
    rows = [None if np.isnan(row).all() else row.tolist() for row in x]
    item = item or pa.float32()
    types = {"fixed": pa.list_(item, x.shape[1]), "list": pa.list_(item)}
    return pa.array(rows, types.get(kind, pa.large_list(item)), from_pandas=True)


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_numbers_are_one_column_for_each_number(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_parquet, "PIECE_BYTES", 100)
    x = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    x[0] = x[6] = np.nan  # missing as a whole, the first of all, too
    x[9, 2] = np.nan
    names = [f"v[{at}]" for at in range(5)]
    table = pa.table({"id": np.arange(40), "v": vectors_of(x, kind), "n": np.arange(40.0)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=15)
    write_ipc(table, tmp_path / "t.arrow")
    for path in (tmp_path / "t.parquet", tmp_path / "t.arrow"):
        whole = read_table(path)
        assert list(whole.columns) == ["id", *names, "n"]
        np.testing.assert_array_equal(np.stack([whole.columns[n] for n in names], 1), x)
        blocks, notes, _ = blocks_of(path, manifest("n", *names), id_column="id")
        np.testing.assert_array_equal(x_of(blocks), np.c_[np.arange(40), x])
        assert notes == []
        blocks, notes, _ = blocks_of(path, manifest("n"))
        assert notes == ["columns not in the model are left out: id, v"]
        with pytest.raises(DataError) as error:
            blocks_of(path, manifest(*names[:3]))
        assert str(error.value) == f"{path}: column 'v' holds lists of 5, the bundle takes 3"
    assert list(arrow_table(table).columns) == ["id", *names, "n"]


def test_integers_of_vectors_are_whole(tmp_path: Path) -> None:
    v = vectors_of(np.arange(12.0).reshape(6, 2), "list", pa.int16())
    found = arrow_table(pa.table({"v": v}))
    assert found.integer == {"v[0]", "v[1]"}
    assert found.columns["v[1]"].tolist() == [1, 3, 5, 7, 9, 11]


def test_vectors_of_different_lengths_are_bad_rows(tmp_path: Path) -> None:
    lists = pa.array([[1.0, 2.0], None, [3.0], [4.0, 5.0], []])
    why = "column 'v' holds a list of {}, where others hold 2"
    with pytest.raises(DataError) as error:
        arrow_table(pa.table({"v": lists}))
    assert str(error.value) == f"row 3, {why.format(1)}"
    pq.write_table(pa.table({"v": lists}), tmp_path / "t.parquet")
    (block,), _, _ = blocks_of(tmp_path / "t.parquet", manifest("v[0]", "v[1]"))
    assert block.bad == {2: f"row 3, {why.format(1)}", 4: f"row 5, {why.format(0)}"}
    np.testing.assert_array_equal(
        block.arrays[0], [[1, 2], [np.nan, np.nan], [0, 0], [4, 5], [0, 0]]
    )


def test_lists_of_what_is_no_number_are_unusable() -> None:
    for values in ([["x"]], [[[1.0]]], [[True]]):
        found = arrow_table(pa.table({"a": [1.0], "v": values}))
        assert list(found.columns) == ["a"]
        assert found.unusable["v"].startswith("is nested (list<")


def hive(folder: Path, ending: str = ".parquet") -> np.ndarray:
    """A data set of four files, one without rows. Returns its rows: a, year."""
    rows = []
    for year in (2025, 2026):
        for part, count in ((0, 4), (1, 0 if year == 2025 else 3)):
            path = folder / f"year={year}" / "place=a%20b" / f"part-{part}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            a = np.arange(count) + 10.0 * part + year
            table = pa.table({"a": a, "id": [f"{year}{part}{at}" for at in range(count)]})
            pq.write_table(table, path) if ending == ".parquet" else write_ipc(table, path)
            rows += [[value, year] for value in a]
    (folder / "_SUCCESS").touch()
    (folder / "year=2025" / ".part.crc").touch()
    (folder / "notes.txt").touch()
    return np.array(rows)


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_a_folder_of_a_data_set_is_read_as_one_file(tmp_path: Path, ending: str) -> None:
    x = hive(tmp_path, ending)
    assert [part.keys for part in find_parts(tmp_path)] == [
        {"year": year, "place": "a b"} for year in ("2025", "2025", "2026", "2026")
    ]
    place = Column("place", "category", levels=["c", "a b"])
    for size in (1, 3, 5, 50):
        for first in range(0, len(x), size):
            blocks, notes, rows = blocks_of(
                tmp_path, manifest("a", "year", place), size, first, id_column="id"
            )
            assert (rows, notes) == (len(x), [])
            np.testing.assert_array_equal(x_of(blocks), x[first:])
            assert {code for block in blocks for code in block.arrays[1].ravel()} == {1}
            assert sum(len(block.ids) for block in blocks) == len(x) - first


def test_bad_rows_of_a_data_set_name_their_file(tmp_path: Path) -> None:
    hive(tmp_path)
    part = tmp_path / "year=2026" / "place=a%20b" / "part-1.parquet"
    pq.write_table(pa.table({"a": [1.0, np.inf, 2.0], "id": ["x", "y", "z"]}), part)
    (block,), _, _ = blocks_of(tmp_path, manifest("a", "year"), 50)
    assert block.bad == {
        9: "year=2026/place=a%20b/part-1.parquet: row 2, column 'a' is infinite; correct it, or "
        "write NaN for a missing value"
    }


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    hive(tmp_path / "one")
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "one" / "alone.parquet")
    with pytest.raises(DataError) as error:
        blocks_of(tmp_path / "one", manifest("a"))
    assert str(error.value) == (
        f"{tmp_path / 'one'}: {tmp_path / 'one'} and "
        f"{tmp_path / 'one' / 'year=2025' / 'place=a%20b'} are not named for the same columns; "
        "bring a folder of one data set"
    )
    assert find_parts(tmp_path) == []
    with pytest.raises(DataError, match="a folder cannot be read; known types: "):
        blocks_of(tmp_path, manifest("a"))


def test_an_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    """Nothing is said of it where it is not asked for; where it is, it is there."""
    meta = {"index_columns": ["__index_level_0__", {"kind": "range"}], "columns": []}
    table = pa.table({"a": [1.0, 2.0], "__index_level_0__": [7, 8]})
    path = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(meta)}), path)
    assert read_table(path).index == ("__index_level_0__",)
    (block,), notes, _ = blocks_of(path, manifest("a"), id_column="__index_level_0__")
    assert (block.ids.tolist(), notes) == ([7, 8], [])
    (block,), notes, _ = blocks_of(path, manifest("a"))
    assert (block.arrays[0].tolist(), notes) == ([[1], [2]], [])
    (block,), _, _ = blocks_of(path, manifest("__index_level_0__", "a"))
    assert block.arrays[0].tolist() == [[7, 1], [8, 2]]
    pq.write_table(table.replace_schema_metadata({"pandas": b"none of theirs"}), path)
    assert read_table(path).index == ()
