"""What is written in chunks is read back bit for bit."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.errors import DataError
from ae_runtime.files.readers.formats import read_array, read_table
from ae_runtime.files.writers.layout import Chunk, Kind, Layout
from ae_runtime.files.writers.opening import NpyWriter, check_layout, writer_for
from ae_runtime.tables.table import parse_date

Array = NDArray[Any]


pytestmark = pytest.mark.usefixtures("in_tmp_path")


STAMP = {"ae_toolkit": "x_hat", "model_id": "abc"}


def layout_of(x: Array, columns: list[str] | None = None, kind: Kind = "number") -> Layout:
    width = x.shape[1] if x.ndim == 2 else 0
    names = columns or [f"x{at}" for at in range(width)]
    return Layout(len(x), x.shape[1:], x.dtype, "x_hat", names, [kind] * width, STAMP)


def write(x: Array, name: str, layout: Layout | None = None, rows: int = 7) -> Path:
    """The rows in a file, in chunks."""
    return write_chunks(
        [Chunk(x[at : at + rows]) for at in range(0, len(x), rows)], name, layout or layout_of(x)
    )


def write_chunks(chunks: list[Chunk], name: str, layout: Layout) -> Path:
    """The chunks in a file, taken up anew after each."""
    out, part, packed, position = Path(name), Path(f"{name}.part"), Path(f"{name}.packed"), 0
    part.touch()
    for chunk in [*chunks, None]:
        with part.open("r+b", buffering=0) as file:
            file.truncate(position)
            file.seek(position)
            writer = writer_for(out)(file, layout, fresh=position == 0)
            if chunk is not None:
                writer.write(chunk)
                position = file.tell()
                file.write(b"what comes after the place that was noted")
            else:
                rows = sum(chunk.rows for chunk in chunks)
                writer.finish(rows, STAMP, part, packed)
    (packed if writer.packs else part).replace(out)
    return out


def every_kind_of_number(dtype: str) -> Array:
    """(500, 3): all sizes that the dtype holds, its limits, zeros of both signs, NaN."""
    random = np.random.default_rng(0)
    if dtype == "uint8":
        return random.integers(0, 256, (500, 3)).astype(np.uint8)
    info = np.finfo(dtype)
    # Random bits are evenly spread over all sizes, subnormal ones included.
    x = np.frombuffer(random.bytes(1500 * info.dtype.itemsize), dtype).reshape(500, 3).copy()
    x[~np.isfinite(x)] = 1
    x[:3] = [[info.max, info.min, info.tiny], [info.smallest_subnormal, -0.0, 0.1], [np.nan, 1, 2]]
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv"])
def test_each_type_brings_back_the_same_bits(
    name: str, dtype: str, rows_in: Callable[..., Any]
) -> None:
    x = every_kind_of_number(dtype)
    found = rows_in(write(x, name))
    if name == "x.csv":
        with np.errstate(under="ignore"):
            found = found.astype(dtype)  # every CSV is read as float64
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    known = ~np.isnan(x)
    np.testing.assert_array_equal(found[known].view(np.uint8), x[known].view(np.uint8))


@pytest.mark.parametrize("shape", [(20, 3), (20, 2, 3), (0, 3), (1, 4, 5, 3)])
def test_npy_is_byte_for_byte_what_numpy_saves(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    saved = io.BytesIO()
    np.save(saved, x)
    assert write(x, "x.npy").read_bytes() == saved.getvalue()
    assert write(np.asfortranarray(x), "x.npy").read_bytes() == saved.getvalue()


def test_npz_carries_rows_and_stamp_and_has_the_same_bytes_each_time() -> None:
    x = np.random.default_rng(0).standard_normal((20, 2, 3))
    with np.load(write(x, "x.npz")) as archive:
        np.testing.assert_array_equal(archive["x_hat"], x)
        assert {name: str(archive[name]) for name in archive if name != "x_hat"} == {
            "ae_toolkit": "x_hat",
            "model_id": "abc",
        }
    assert Path("x.npz").read_bytes() == write(x, "y.npz", rows=3).read_bytes()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_no_rows(name: str) -> None:
    found = read_array(write(np.empty((0, 3), np.float32), name))
    assert (found.shape, found.dtype) == ((0, 3), np.float32)


def test_no_rows_in_a_csv_leave_its_header() -> None:
    assert write(np.empty((0, 3)), "x.csv").read_bytes() == b"x0,x1,x2\n"


def test_whole_numbers_are_written_without_a_fraction() -> None:
    x = np.array([[1.0, 0.5], [-3.0, 2.0], [np.nan, 1e300], [1e40, 2.0]])
    layout = layout_of(x)
    layout.kinds[0] = "whole"
    write(x, "x.csv", layout)
    lines = Path("x.csv").read_text().splitlines()
    assert lines == [
        "x0,x1",
        "1,0.5",
        "-3,2.0",
        "nan,1e300",
        f"{10**40 + 303786028427003666890752},2.0",
    ]
    table = read_table("x.csv")
    np.testing.assert_array_equal(np.stack(list(table.columns.values()), axis=1), x)
    assert table.integer == {"x0"}


def test_reconstructed_whole_numbers_are_rounded() -> None:
    x = np.array([[0.4], [0.6], [-1.2]], np.float32)
    assert write(x, "x.csv", layout_of(x, kind="whole")).read_text().split() == [
        "x0",
        "0",
        "1",
        "-1",
    ]


def test_names_in_a_header_come_back() -> None:
    names = ["a,b", 'say "c"', "line\nbreak", "größe", "semi;colon", "plain"]
    x = np.ones((2, 6))
    assert list(read_table(write(x, "x.csv", layout_of(x, names))).columns) == names


def test_more_axes_do_not_go_into_a_csv() -> None:
    layout = layout_of(np.ones((5, 2, 3)))
    with pytest.raises(DataError) as error:
        check_layout(Path("x.csv"), layout)
    assert str(error.value) == "x.csv: a .csv holds (N, D), not (N, 2, 3); write .npy or .npz"
    check_layout(Path("x.npy"), layout)
    check_layout(Path("x.csv"), layout_of(np.ones((5, 2))))


@pytest.mark.parametrize("known", [None, 30, 0, 7])
def test_how_many_rows_there_are_may_be_known_at_the_end_only(known: int | None) -> None:
    x = np.random.default_rng(0).standard_normal((30, 3))
    saved = io.BytesIO()
    np.save(saved, x)
    layout = dataclasses.replace(layout_of(x), rows=known)
    assert write(x, "x.npy", layout).read_bytes() == saved.getvalue()


def test_an_npz_is_byte_for_byte_what_numpy_saves() -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    ids = np.array([f"r\u00f6w {at}" for at in range(20)], object)
    starts = np.arange(20) * 5
    layout = dataclasses.replace(layout_of(x), rows=None, id_name="name", starts=True)
    chunks = [Chunk(x[at : at + 7], ids[at : at + 7], starts[at : at + 7]) for at in (0, 7, 14)]
    saved = io.BytesIO()
    stamp: dict[str, Any] = {name: np.array(value) for name, value in STAMP.items()}
    np.savez(saved, x_hat=x, id=ids.astype(str), start=starts, **stamp)
    assert write_chunks(chunks, "x.npz", layout).read_bytes() == saved.getvalue()


def test_numbers_as_ids_stay_numbers() -> None:
    x, ids = np.ones((3, 2)), np.array([7, -1, 2**60])
    layout = dataclasses.replace(layout_of(x), id_name="name")
    with np.load(write_chunks([Chunk(x, ids)], "x.npz", layout)) as archive:
        assert archive["id"].dtype == np.int64
        np.testing.assert_array_equal(archive["id"], ids)
    text = write_chunks([Chunk(x, ids)], "x.csv", layout).read_text()
    assert text == "name,x0,x1\n7,1.0,1.0\n-1,1.0,1.0\n1152921504606846976,1.0,1.0\n"


def test_ids_and_starts_come_first_in_a_csv() -> None:
    x, ids = np.array([[0.5], [1.5]], np.float32), np.array(['a "b"', "c,d"], object)
    layout = dataclasses.replace(layout_of(x), id_name="na,me", starts=True)
    text = write_chunks([Chunk(x, ids, np.array([0, 4]))], "x.csv", layout).read_text()
    assert text == '"na,me",start,x0\n"a ""b""",0,0.5\n"c,d",4,1.5\n'


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("day", ["2026-03-31", "1969-12-31", "", "9999-12-31", "0001-01-01"]),
        (
            "second",
            [
                "2026-03-31T08:15:00",
                "1969-12-31T00:00:00",
                "",
                "9999-12-31T23:59:59",
                "0001-01-01T00:00:00",
            ],
        ),
        (
            "moment",
            [
                "2026-03-31T08:15:00.250000",
                "1969-12-31T00:00:00.000000",
                "",
                "9999-12-31T23:59:59.000000",
                "0001-01-01T00:00:00.000000",
            ],
        ),
    ],
)
def test_dates_are_written_as_iso_8601_and_read_back(kind: Kind, text: list[str]) -> None:
    moment = 1774944900.25
    x = np.array([[moment], [-86400], [np.nan], [1e300], [-1e300]])
    lines = write(x, "x.csv", layout_of(x, kind=kind)).read_text().splitlines()
    assert lines[1:] == [line or '""' for line in text]  # a blank line would be no row
    assert parse_date(text[0]) == {"day": 1774915200, "second": 1774944900}.get(kind, moment)


def test_two_columns_of_one_name_are_refused() -> None:
    layout = dataclasses.replace(layout_of(np.ones((2, 2))), id_name="x1")
    with pytest.raises(DataError) as error:
        check_layout(Path("x.csv"), layout)
    assert str(error.value) == "x.csv: two columns would be called 'x1'; rename the ids"


def test_ids_need_a_file_that_holds_them() -> None:
    layout = dataclasses.replace(layout_of(np.ones((2, 2))), id_name="name")
    with pytest.raises(DataError) as error:
        check_layout(Path("x.npy"), layout)
    assert str(error.value) == (
        "x.npy: a .npy holds no ids; write .npz, .csv, .parquet, or leave --id away"
    )


@pytest.mark.parametrize(
    ("out", "found"), [("z.txt", ".txt"), ("z", "no file extension"), ("z.csv.gz", ".gz")]
)
def test_unknown_types(out: str, found: str) -> None:
    with pytest.raises(DataError) as error:
        writer_for(Path(out))
    assert (
        str(error.value)
        == f"{out}: {found} cannot be written; known types: .npy, .npz, .csv, .parquet"
    )
    assert writer_for(Path("Z.NPY")) is NpyWriter
