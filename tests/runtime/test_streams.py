"""Streams of arrays and CSV give the rows of a file in blocks, and go on wherever they stopped."""

from __future__ import annotations

import gzip
import io
import os
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Golden, Latent, Manifest, Port
from ae_runtime.errors import (
    DataError,
    DtypeMismatch,
    InputFailed,
    NoRows,
    ShapeMismatch,
    SourceNotFound,
)
from ae_runtime.files.readers.columns import latent_columns, row_columns
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import Block, Stream, open_stream
from ae_runtime.tables.table import to_blocks

NAMES = ["a", "b", "c"]
MIXED = [
    Column("age"),
    Column("when", "date"),
    Column("job", "category", levels=["cook", "1", "other"]),
    Column("paid", "boolean", levels=["no", "yes"]),
]


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def manifest(
    shape: tuple[int, ...] = (3,),
    dtype: Any = "float64",
    names: list[str] | None = None,
    kind: Any = "table",
) -> Manifest:
    """Of a bundle that takes rows of this shape and has 2 latents."""
    port = Port("x", dtype, [None, *shape])
    columns = [Column(name) for name in names] if names else None
    sizes = Latent(2), [port], [port], columns, None, Golden(1, 1e-5)
    return Manifest("1.0", "id", kind, *sizes, {})


def mixed_manifest() -> Manifest:
    ports = [Port("x_num", "float64", [None, 2]), Port("x_cat", "int32", [None, 2])]
    return Manifest("1.0", "id", "table", Latent(2), ports, ports, MIXED, None, Golden(1, 1e-5), {})


def numbers(rows: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((rows, 3))


def write_csv(path: str, x: NDArray[np.float64], end: str = "\n") -> None:
    lines = ["id,c,b,a", *(f"r{at},{c!r},{b!r},{a!r}" for at, (a, b, c) in enumerate(x.tolist()))]
    raw = (end.join(lines) + end).encode()
    Path(path).write_bytes(gzip.compress(raw) if path.endswith(".gz") else raw)


def collect(stream: Stream, size: int, first: int = 0, position: int = 0) -> list[Block]:
    """The blocks, known to be cut where they should be."""
    blocks = list(stream.blocks(size, first, position))
    assert [block.first for block in blocks] == [first + at * size for at in range(len(blocks))]
    lengths = [len(block.arrays[0]) for block in blocks]
    assert all(length == size for length in lengths[:-1])
    assert all(0 < length <= size for length in lengths)
    return blocks


def joined(blocks: list[Block], part: int = 0) -> NDArray[Any]:
    return np.concatenate([block.arrays[part] for block in blocks])


def check_unread(stream: Stream, blocks: list[Block], size: int, first: int = 0) -> bool:
    """Whether blocks may be read in any order; threads that take the last first get the same."""
    unread = stream.unread(size, first)
    if unread is None:
        return False
    left = list(unread)
    assert [each.first for each in left] == [block.first for block in blocks]
    found: dict[int, NDArray[Any]] = {}
    last_first = reversed(left)

    def read() -> None:
        for each in last_first:
            block = each.read()
            found[block.first] = block.arrays[0].copy()  # which the next one takes the place of

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for block in blocks:
        np.testing.assert_array_equal(found[block.first], block.arrays[0])
    return True


def check_everywhere(open_it: Callable[[], Stream], expected: tuple[NDArray[Any], ...]) -> None:
    """All rows in blocks of many sizes, and from every block on in a stream of its own."""
    rows = len(expected[0])
    for size in (1, 2, 7, rows - 1, rows, rows + 1):
        if size < 1:
            continue
        stream = open_it()
        blocks = collect(stream, size)
        assert stream.rows in (None, rows)
        check_unread(stream, blocks, size)
        stream.close()
        for part, array in enumerate(expected):
            assert {block.arrays[part].dtype for block in blocks} == {array.dtype}
            np.testing.assert_array_equal(joined(blocks, part), array)
        for block in blocks[:: max(len(blocks) // 8, 1)] + blocks[-1:]:
            end = block.first + len(block.arrays[0])
            stream = open_it()
            rest = collect(stream, size, end, block.position) if end < rows else []
            stream.close()
            for part, array in enumerate(expected):
                if rest:
                    np.testing.assert_array_equal(joined(rest, part), array[end:])
            assert rest or end == rows


def refused(kind: type[Exception], source: Any, bundle: Manifest | None = None, **more: Any) -> str:
    """What is wrong with the source, be it said at once or when it is read."""
    with (
        pytest.raises(kind) as found,
        closing(open_stream(row_columns(bundle or manifest()), source, **more)) as stream,
    ):
        list(stream.blocks(4))
    assert type(found.value) is kind
    return str(found.value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("dtype", "taken"), [("f8", "float64"), (">f4", "float64"), ("f2", "float32"), (">i2", "uint8")]
)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1,)])
def test_npy_of_any_dtype_and_order(
    dtype: str, taken: str, order: Any, shape: tuple[int, ...]
) -> None:
    x = np.asarray(np.random.default_rng(0).integers(0, 99, (23, *shape)), dtype, order=order)
    np.save("x.npy", x)
    np.savez_compressed("x.npz", x=x, y=x[:1])
    for name in ("x.npy", "x.npz:x"):
        check_everywhere(
            lambda name=name: open_stream(row_columns(manifest(shape, taken)), name), (x,)
        )  # type: ignore[misc]


def test_many_rows_of_a_fortran_array_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ae_runtime.files.readers import npy

    monkeypatch.setattr(npy, "_SUPER_BYTES", 1000)
    x = np.asfortranarray(numbers(500))
    np.save("x.npy", x)
    check_everywhere(lambda: open_stream(row_columns(manifest()), "x.npy"), (x,))


def test_no_rows() -> None:
    np.save("x.npy", np.empty((0, 3)))
    stream = open_stream(row_columns(manifest()), "x.npy")
    assert (stream.rows, list(stream.blocks(5))) == (0, [])
    stream.close()


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_columns_and_ids(name: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ae_runtime.files.readers import csv_pieces

    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", 200)  # so that there are many
    x = numbers(60)
    write_csv(name, x, end)
    open_it = lambda: open_stream(row_columns(manifest(names=NAMES)), name, id_column="id")  # noqa: E731
    check_everywhere(open_it, (x,))
    stream = open_it()
    assert stream.notes == [f"{name}: separator ',', with a header"]
    assert stream.id_name == "id"
    ids = [block.ids for block in stream.blocks(7)]
    stream.close()
    assert np.concatenate(ids).tolist() == [f"r{at}" for at in range(60)]  # type: ignore[arg-type]


def test_columns_that_are_not_wanted_are_left_out_with_a_note() -> None:
    write_csv("x.csv", numbers(3))
    stream = open_stream(row_columns(manifest((2,), names=["a", "c"])), "x.csv")
    assert stream.notes[1:] == ["columns not in the model are left out: id, b"]
    np.testing.assert_array_equal(joined(collect(stream, 9)), numbers(3)[:, [0, 2]])
    stream.close()


def messy(rows: int, random: np.random.Generator) -> str:
    """CSV that has everything: quotes, line ends in cells, missing values, blank lines."""
    words = ["cook", '"cook"', '"a\nb"', '"a ""b"", c"', "NA", "", "2.5", "größer"]
    lines = ["age,when,job,paid"]
    for _ in range(rows):
        when = random.choice(["2026-01-01", "2026-01-01T10:00", "", '"2026-03-04"'])
        paid = random.choice(["yes", "NO", "?"])
        lines.append(f"{random.integers(99)},{when},{random.choice(words)},{paid}")
        if random.random() < 0.1:
            lines.append("")
    return "\r\n".join(lines)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("piece", [1 << 20, 64, 7])
def test_mixed_tables_are_those_that_are_read_whole(
    seed: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ae_runtime.files.readers import csv_pieces

    Path("t.csv").write_bytes(messy(40, np.random.default_rng(seed)).encode())
    expected = to_blocks(read_table(Path("t.csv")), MIXED)
    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", piece)
    check_everywhere(lambda: open_stream(row_columns(mixed_manifest()), "t.csv"), expected)
    again = to_blocks(read_table(Path("t.csv")), MIXED)
    for found, before in zip(again, expected, strict=True):
        np.testing.assert_array_equal(found, before)


def test_words_written_as_numbers_have_the_codes_of_training() -> None:
    # A column of numbers only made the level "1"; this file has words in it, too. 01 is another.
    rows = ["age,when,job,paid", "1,,1.0,yes", "2,,pilot,no", "3,,01,no"]
    Path("t.csv").write_text("\n".join(rows))
    stream = open_stream(row_columns(mixed_manifest()), "t.csv")
    assert joined(collect(stream, 9), 1)[:, 0].tolist() == [1, 2, 2]
    assert [line.split(" (")[0] for line in stream.closing_notes()] == [
        "column 'job': 2 of 3 values are not known to the model and are taken as 'other'"
    ]
    stream.close()


def test_words_that_say_missing_are_words_where_the_model_knows_them() -> None:
    columns = [Column("n"), Column("c", "category", levels=["NA", "ab  ", "DE"])]
    ports = [Port("x_num", "float64", [None, 1]), Port("x_cat", "int32", [None, 1])]
    bundle = Manifest(
        "1.0", "id", "table", Latent(2), ports, ports, columns, None, Golden(1, 1e-5), {}
    )
    Path("t.csv").write_text("n,c\n1,NA\n2,ab  \n3,DE\n4,null\n5,\n")
    with closing(open_stream(row_columns(bundle), "t.csv")) as stream:
        assert joined(collect(stream, 9), 1)[:, 0].tolist() == [0, 1, 2, -1, -1]
        assert stream.closing_notes() == []


def test_latents_are_taken_by_name_beside_ids_and_else_by_position() -> None:
    Path("z.csv").write_text("id,z0,z1\nr0,1,2\nr1,3,4\n")
    np.save("z.npy", np.array([[1, 2], [3, 4]], np.float32))
    Path("plain.csv").write_text("1,2\n3,4\n")
    for name in ("z.csv", "z.npy", "plain.csv"):
        stream = open_stream(latent_columns(manifest()), name)
        np.testing.assert_array_equal(joined(collect(stream, 9)), [[1, 2], [3, 4]])
        stream.close()
    stream = open_stream(latent_columns(manifest()), "plain.csv", id_column=None)
    assert stream.notes == ["plain.csv: separator ',', without a header"]
    stream.close()


class Trickle(io.RawIOBase):
    """A pipe: gives some bytes at a time, and cannot be sought."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._random = io.BytesIO(raw), np.random.default_rng(0)

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return self._raw.readinto(view[: self._random.integers(1, 50)])


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_pipes_are_known_by_their_first_bytes(name: str) -> None:
    x = numbers(50)
    np.save("x.npy", x)
    write_csv("x.csv", x)
    raw = Path(name).read_bytes()
    for source in (io.BytesIO(raw), Trickle(raw), io.BufferedReader(Trickle(raw))):
        stream = open_stream(row_columns(manifest(names=NAMES)), source)  # type: ignore[arg-type]
        assert (str(stream.path), stream.fingerprint) == ("-", "")
        assert stream.rows == (50 if name == "x.npy" else None)
        np.testing.assert_array_equal(joined(collect(stream, 7)), x)
        stream.close()
        assert not source.closed


def test_a_real_pipe() -> None:
    x = numbers(5000)
    np.save("x.npy", x)
    out, into = os.pipe()

    def write() -> None:
        with os.fdopen(into, "wb") as file:
            file.write(Path("x.npy").read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(out, "rb") as file:
        stream = open_stream(row_columns(manifest()), file)
        np.testing.assert_array_equal(joined(collect(stream, 999)), x)
    writer.join()


def test_the_format_of_a_pipe_may_be_said() -> None:
    text = b"a;x\tb\tc\n1\t2\t3\n4\t5\t6\n"
    stream = open_stream(
        row_columns(manifest(names=["b", "a;x", "c"])), io.BytesIO(text), format="tsv"
    )
    np.testing.assert_array_equal(joined(collect(stream, 9)), [[2, 1, 3], [5, 4, 6]])
    assert stream.notes == ["-: separator '\\t', with a header"]
    assert refused(DataError, io.BytesIO(text), format="npy") == (
        "- is not a readable .npy array: the magic string is not correct; expected "
        "b'\\x93NUMPY', got b'a;x\\tb\\t'"
    )
    assert refused(DataError, io.BytesIO(text), format="xml") == (
        "'xml' cannot be read from a pipe; known: npy, csv, tsv"
    )


def test_a_pipe_cannot_be_read_in_another_order() -> None:
    raw = io.BytesIO()
    np.save(raw, np.asfortranarray(numbers(5)))
    raw.seek(0)
    assert refused(DataError, raw) == (
        "- holds its array column after column, and cannot be read row by row; "
        "save it with np.save(..., np.ascontiguousarray(x))"
    )
    raw = io.BytesIO()
    np.save(raw, numbers(5))
    raw.seek(0)
    stream = open_stream(row_columns(manifest()), raw)
    collect(stream, 2)
    with pytest.raises(InputFailed) as error:
        list(stream.blocks(2))
    assert str(error.value) == "- is a pipe, and cannot be read twice"


INFINITE = "is infinite; correct it, or write NaN for a missing value"


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.npz"])
def test_infinite_rows_are_bad_and_become_zeros(name: str) -> None:
    x = numbers(20)
    x[3, 1], x[12, 2], x[12, 0], x[13] = np.inf, -np.inf, np.nan, np.nan
    np.save("x.npy", x)
    np.savez("x.npz", x)
    write_csv("x.csv", x)
    stream = open_stream(row_columns(manifest(names=NAMES)), name)
    blocks = collect(stream, 6)
    stream.close()
    assert [block.bad for block in blocks] == [
        {3: f"row 4, column 'b' {INFINITE}"},
        {},
        {0: f"row 13, column 'c' {INFINITE}"},
        {},
    ]
    x[[3, 12]] = 0
    np.testing.assert_array_equal(joined(blocks), x)


def test_infinite_latents_and_pixels_are_counted() -> None:
    z = np.ones((3, 2), np.float32)
    z[2, 1] = np.inf
    np.save("z.npy", z)
    stream = open_stream(latent_columns(manifest()), "z.npy")
    assert collect(stream, 2)[1].bad == {0: f"row 3, column 2 {INFINITE}"}
    stream.close()
    x = np.ones((2, 2, 3))
    x[1, 1, 2] = -np.inf
    np.save("x.npy", x)
    stream = open_stream(row_columns(manifest((2, 3))), "x.npy")
    assert collect(stream, 2)[0].bad == {1: f"row 2, column 6 {INFINITE}"}
    stream.close()


TEXT = (
    "tables of numbers are taken: leave the column out, or write it as numbers with a point before "
    "decimals"
)


def test_rows_of_text_and_of_another_width_are_bad() -> None:
    text = 'id,a,b,c\nx,1,2,3\ny,1,red,3\nz,1,2\nx,1,2,3,4\n"w",NA,"5",\nv,1_0,2,3\n'
    Path("t.csv").write_text(text)
    stream = open_stream(row_columns(manifest(names=NAMES)), "t.csv", id_column="id")
    first, second = collect(stream, 4)
    stream.close()
    ragged = "the header has 4; the separator found is ','"
    assert first.bad == {
        1: f"row 2, column 'b': 'red' is not a number; {TEXT}",
        2: f"row 3 has 3 cells, {ragged}",
        3: f"row 4 has 5 cells, {ragged}",
    }
    assert second.bad == {1: f"row 6, column 'a': '1_0' is not a number; {TEXT}"}
    assert first.ids is not None
    assert first.ids.tolist() == ["x", "y", "z", "x"]
    expected = np.array(
        [[1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0], [np.nan, 5, np.nan], [0, 0, 0]]
    )
    np.testing.assert_array_equal(joined([first, second]), expected)


def test_bad_rows_of_mixed_tables() -> None:
    rows = ["age,when,job,paid", "old,2026-01-01,cook,yes", "1,soon,cook,no", "inf,,,", "1,,"]
    Path("t.csv").write_text("\n".join([*rows, "5,2026-01-01,cook,yes"]))
    stream = open_stream(row_columns(mixed_manifest()), "t.csv")
    (block,) = collect(stream, 9)
    stream.close()
    date = "an ISO 8601 date (2026-03-31 or 2026-03-31T08:15)"
    assert block.bad == {
        0: "row 1, column 'age': 'old' is not a number; "
        "write it as numbers with a point before decimals",
        1: f"row 2, column 'when': 'soon' is not {date}",
        2: f"row 3, column 'age' {INFINITE}",
        3: "row 4 has 3 cells, the header has 4; the separator found is ','",
    }
    assert block.arrays[0].tolist() == [[0, 0]] * 4 + [[5, 1767225600.0]]
    assert block.arrays[1].tolist()[4] == [0, 1]


def test_whole_numbers_for_a_bundle_that_takes_integers() -> None:
    Path("t.csv").write_text("1,2,3\n4,5,255\n1,2,256\n1,2.5,3\n1,,3\n")
    stream = open_stream(row_columns(manifest(dtype="uint8")), "t.csv")
    (block,) = collect(stream, 9)
    stream.close()
    assert block.arrays[0].dtype == np.uint8
    assert block.arrays[0].tolist()[:2] == [[1, 2, 3], [4, 5, 255]]
    advice = "is not a whole number from 0 to 255; correct it"
    assert block.bad == {
        2: f"row 3, column 3: 256 {advice}",
        3: f"row 4, column 2: 2.5 {advice}",
        4: f"row 5, column 2: nan {advice}",
    }


def test_integers_that_do_not_fit_stop_at_their_block() -> None:
    np.save("x.npy", np.array([[1, 2, 3], [4, 5, 300]]))
    assert refused(DtypeMismatch, "x.npy", manifest(dtype="uint8")) == (
        "x.npy: x is int64 and runs from 1 to 300; uint8 holds 0 to 255 exactly"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a,b,c\n1,2,3,4\n1,2,3,4\n",
            "t.csv: row 1 has 4 cells, the header has 3; the separator found is ','",
        ),
        ("a,b,b\n1,2,3\n", "t.csv: the header names 'b' more than once; rename one"),
        ("a,b\n1,2\n", "t.csv lacks 1 of the model's columns: c"),
        ("", "t.csv is empty; it holds no rows"),
        ("a,b,c\n", "t.csv holds a header and no rows"),
    ],
)
def test_csv_files_that_are_wrong_as_a_whole(text: str, line: str) -> None:
    Path("t.csv").write_text(text)
    kind = NoRows if "no rows" in line else DataError
    assert refused(kind, "t.csv", manifest(names=NAMES)) == line
    assert refused(kind, io.BytesIO(text.encode()), manifest(names=NAMES)) == (
        line.replace("t.csv", "-")
    )


def test_what_cannot_be_opened() -> None:
    np.save("wide.npy", numbers(4).repeat(2, axis=1))
    np.save("floats.npy", numbers(4))
    np.save("words.npy", np.array([["a"] * 3]))
    np.save("objects.npy", np.array([[None] * 3]), allow_pickle=True)
    np.savez("two.npz", a=numbers(2), b=numbers(2))
    Path("t.csv").write_text("1,2\n3,4\n")
    Path("u.csv").write_text("a,b\n1,2\n")
    Path("x.txt").touch()
    Path("folder").mkdir()
    types = ".npy, .npz, .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .arrow, .feather"
    for kind, source, bundle, line in (
        (SourceNotFound, "none.npy", {}, "none.npy does not exist"),
        (ShapeMismatch, "wide.npy", {}, "wide.npy: x has shape (4, 6), the bundle wants (B, 3)"),
        (ShapeMismatch, "t.csv", {}, "t.csv: x has shape (N, 2), the bundle wants (B, 3)"),
        (
            DtypeMismatch,
            "floats.npy",
            {"dtype": "uint8"},
            "floats.npy: x is float64, the bundle takes uint8; if the values are whole and in "
            "range, pass x.astype('uint8')",
        ),
        (DataError, "words.npy", {}, "words.npy holds <U1 values; only numbers are taken"),
        (
            DataError,
            "objects.npy",
            {},
            "objects.npy is not a readable .npy array: it holds Python objects",
        ),
        (DataError, "two.npz", {}, "two.npz holds a, b; say which: two.npz:a"),
        (DataError, "two.npz:c", {}, "two.npz holds no 'c'; it holds a, b"),
        (DataError, "x.txt", {}, f"x.txt: .txt cannot be read; known types: {types}"),
        (DataError, "folder", {}, f"folder: a folder cannot be read; known types: {types}"),
    ):
        assert refused(kind, source, manifest(**bundle)) == line  # type: ignore[arg-type]
    assert refused(DataError, "floats.npy", id_column="id") == (
        "floats.npy is an array, which has no column 'id' for ids"
    )
    assert refused(DataError, "u.csv", id_column="id") == (
        "u.csv holds no column 'id' for ids; it holds a, b"
    )
    assert refused(DataError, "floats.npy", stride=2) == (
        "a stride is of windows cut from a series, and this input has none"
    )


def test_every_cut_of_a_file_is_said_in_one_line() -> None:
    np.save("x.npy", numbers(20))
    np.savez_compressed("x.npz", numbers(20))
    write_csv("x.csv.gz", numbers(20))
    for name, first_data in (("x.npy", 128), ("x.npz", None), ("x.csv.gz", 10)):
        whole = Path(name).read_bytes()
        for length in range(0, len(whole), 7):
            Path(name).write_bytes(whole[:length])
            with (
                pytest.raises((DataError, InputFailed)) as error,
                closing(open_stream(row_columns(manifest(names=NAMES)), name)) as stream,
            ):
                list(stream.blocks(4))
            assert str(error.value).startswith(f"{name} ")
            assert "\n" not in str(error.value)
            if first_data is not None and length > first_data:
                assert isinstance(error.value, InputFailed)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv.gz", "x.csv"])
def test_changed_bytes_never_give_another_error(name: str) -> None:
    np.save("x.npy", numbers(20))
    np.savez_compressed("x.npz", numbers(20))
    write_csv("x.csv.gz", numbers(20))
    write_csv("x.csv", numbers(20))
    whole, random = Path(name).read_bytes(), np.random.default_rng(0)
    messages = []
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            raw[random.integers(0, min(128, len(raw)))] = random.integers(0, 256)
        Path(name).write_bytes(raw)
        try:
            with closing(open_stream(row_columns(manifest(names=NAMES)), name)) as stream:
                list(stream.blocks(7))
        except (DataError, InputFailed) as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert all(line.startswith(name) and "\n" not in line for line in messages)


def test_which_files_are_read_in_any_order() -> None:
    x = numbers(50)
    np.save("x.npy", x)
    np.save("columns.npy", np.asfortranarray(x))
    np.savez("x.npz", x)
    write_csv("x.csv", x)
    for name, any_order in (
        *(("x.npy", hasattr(os, "preadv")), ("columns.npy", False), ("x.npz", False)),
        ("x.csv", False),
    ):
        with closing(open_stream(row_columns(manifest(names=NAMES)), name)) as stream:
            blocks = collect(stream, 7)
            assert check_unread(stream, blocks, 7) == any_order, name
            assert check_unread(stream, blocks[3:], 7, 21) == any_order, name


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads files in order only")
def test_a_block_that_is_gone_before_it_is_read() -> None:
    np.save("x.npy", numbers(50))
    with closing(open_stream(row_columns(manifest()), "x.npy")) as stream:
        unread = list(stream.unread(10) or ())
        os.truncate("x.npy", 128 + 24 * 25)
        assert len(unread[1].read().arrays[0]) == 10
        with pytest.raises(InputFailed) as found:
            unread[2].read()
        assert str(found.value) == (
            "x.npy ends at byte 728, its header promises more; write or copy it again"
        )


def test_a_file_that_becomes_shorter_while_it_is_read() -> None:
    np.save("x.npy", numbers(1000))
    stream = open_stream(row_columns(manifest()), "x.npy")
    blocks = stream.blocks(100)
    next(blocks)
    os.truncate("x.npy", 128 + 24 * 250)
    next(blocks)
    with pytest.raises(InputFailed) as error:
        next(blocks)
    assert str(error.value) == (
        "x.npy ends at byte 6128, its header promises more; write or copy it again"
    )
    stream.close()


def test_a_pipe_that_ends_too_soon() -> None:
    np.save("x.npy", numbers(100))
    stream = open_stream(row_columns(manifest()), io.BytesIO(Path("x.npy").read_bytes()[:1000]))
    with pytest.raises(InputFailed) as error:
        list(stream.blocks(10))
    assert str(error.value) == (
        "- ends at byte 1000, its header promises more; write or copy it again"
    )


def test_an_input_that_fails() -> None:
    class Failing(io.BytesIO):
        def readinto(self, view: Any) -> int:
            if self.tell() > 500:
                raise OSError(5, "Input/output error")
            return super().readinto(view[:100])

    np.save("x.npy", numbers(100))
    stream = open_stream(row_columns(manifest()), Failing(Path("x.npy").read_bytes()))
    with pytest.raises(InputFailed) as error:
        list(stream.blocks(10))
    assert str(error.value) == (
        "- cannot be read to its end: Input/output error; see that it is still there"
    )


def test_a_changed_byte_in_an_npz_is_found_at_the_end() -> None:
    with zipfile.ZipFile("x.npz", "w") as archive:
        raw = io.BytesIO()
        np.save(raw, numbers(50))
        archive.writestr("x.npy", raw.getvalue())
    whole = bytearray(Path("x.npz").read_bytes())
    whole[600] ^= 1
    Path("x.npz").write_bytes(whole)
    assert refused(DataError, "x.npz") == (
        "x.npz is not a readable .npz archive: Bad CRC-32 for file 'x.npy'"
    )


def test_a_fingerprint_changes_with_the_file() -> None:
    def found(name: str) -> str:
        stream = open_stream(row_columns(manifest()), name)
        stream.close()
        return stream.fingerprint

    np.savez("x.npz", a=numbers(3), b=numbers(3))
    np.save("x.npy", numbers(3))
    before = found("x.npy")
    assert before == found("x.npy") != ""
    os.utime("x.npy", ns=(1, 1))
    assert len({before, found("x.npy"), found("x.npz:a"), found("x.npz:b")}) == 4


def test_blocks_of_a_csv_are_what_training_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        rows = int(random.integers(1, 200))
        cells = random.choice(["1", "-2.5", "NA", "", '"3"', "1e-3", "nan"], (rows, 3))
        Path("t.csv").write_text("\n".join(["a,b,c", *map(",".join, cells.tolist()), ""]))
        whole = np.stack(list(read_table("t.csv").columns.values()), axis=1)
        with monkeypatch.context() as patch:
            patch.setattr(
                "ae_runtime.files.readers.csv_pieces.PIECE_BYTES", int(random.integers(1, 300))
            )
            check_everywhere(
                lambda: open_stream(row_columns(manifest(names=NAMES)), "t.csv"), (whole,)
            )
