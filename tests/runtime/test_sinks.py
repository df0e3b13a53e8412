"""What a sink writes in blocks, read_source reads back bit for bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.csv_files import read_csv
from ae_runtime.errors import DataError
from ae_runtime.sinks import CsvSink, Layout, NpySink, NpzSink, check_layout, sink_for
from ae_runtime.sources import read_source

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def layout_of(x: Array, columns: list[str] | None = None, integer: bool = False) -> Layout:
    width = x.shape[1] if x.ndim == 2 else 0
    names = columns or [f"x{at}" for at in range(width)]
    stamp = {"ae_toolkit": "x_hat", "model_id": "abc"}
    return Layout(len(x), x.shape[1:], x.dtype, "x_hat", names, np.full(width, integer), stamp)


def write(x: Array, name: str, layout: Layout | None = None, rows: int = 7) -> Path:
    out = Path(name)
    sink = sink_for(out)(out, layout or layout_of(x), 0)
    for start in range(0, len(x), rows):
        sink.write(x[start : start + rows])
    sink.close()
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
def test_each_type_brings_back_the_same_bits(name: str, dtype: str) -> None:
    x = every_kind_of_number(dtype)
    found = read_source(write(x, name)).array
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
    found = read_source(write(np.empty((0, 3), np.float32), name)).array
    assert (found.shape, found.dtype) == ((0, 3), np.float32)


def test_no_rows_in_a_csv_leave_its_header() -> None:
    assert write(np.empty((0, 3)), "x.csv").read_bytes() == b"x0,x1,x2\n"


def test_whole_numbers_are_written_without_a_fraction() -> None:
    x = np.array([[1.0, 0.5], [-3.0, 2.0], [np.nan, 1e300], [1e40, 2.0]])
    layout = layout_of(x)
    layout.integer[0] = True
    write(x, "x.csv", layout)
    lines = Path("x.csv").read_text().splitlines()
    assert lines == [
        "x0,x1",
        "1,0.5",
        "-3,2.0",
        "nan,1e+300",
        f"{10**40 + 303786028427003666890752},2.0",
    ]
    found = read_csv(Path("x.csv"))
    np.testing.assert_array_equal(found.values, x)
    assert found.integer.tolist() == [True, False]


def test_reconstructed_whole_numbers_are_rounded() -> None:
    x = np.array([[0.4], [0.6], [-1.2]], np.float32)
    assert write(x, "x.csv", layout_of(x, integer=True)).read_text().split() == [
        "x0",
        "0",
        "1",
        "-1",
    ]


def test_names_in_a_header_come_back() -> None:
    names = ["a,b", 'say "c"', "line\nbreak", "größe", "semi;colon", "plain"]
    x = np.ones((2, 6))
    assert read_csv(write(x, "x.csv", layout_of(x, names))).columns == names


def test_more_axes_do_not_go_into_a_csv() -> None:
    layout = layout_of(np.ones((5, 2, 3)))
    with pytest.raises(DataError) as error:
        check_layout(Path("x.csv"), layout)
    assert str(error.value) == "x.csv: a .csv holds (N, D), not (5, 2, 3); write .npy or .npz"
    check_layout(Path("x.npy"), layout)
    check_layout(Path("x.csv"), layout_of(np.ones((5, 2))))


@pytest.mark.parametrize("kind", [NpySink, CsvSink])
def test_a_sink_goes_on_at_the_byte_it_said(kind: Any) -> None:
    x = np.random.default_rng(0).standard_normal((30, 3))
    whole = write(x, f"whole.{kind.__name__[:3].lower()}")
    layout = layout_of(x)
    sink = kind(Path("part"), layout, 0)
    sink.write(x[:10])
    position = sink.flush()
    assert Path("part").stat().st_size == position
    sink.write(np.tile(x, (9, 1)))  # what came after the place was noted is cut off
    sink.close()
    sink = kind(Path("part"), layout, position)
    sink.write(x[10:])
    sink.close()
    assert Path("part").read_bytes() == whole.read_bytes()


def test_an_npz_is_written_at_its_end_only() -> None:
    x = np.ones((4, 2))
    sink = NpzSink(Path("x.npz"), layout_of(x), 0)
    sink.write(x)
    assert sink.flush() is None  # type: ignore[func-returns-value]
    assert not Path("x.npz").exists()
    sink.close()
    assert Path("x.npz").exists()


@pytest.mark.parametrize(
    ("out", "found"), [("z.txt", ".txt"), ("z", "no file extension"), ("z.csv.gz", ".gz")]
)
def test_unknown_types(out: str, found: str) -> None:
    with pytest.raises(DataError) as error:
        sink_for(Path(out))
    assert str(error.value) == f"{out}: {found} cannot be written; known types: .npy, .npz, .csv"
    assert sink_for(Path("Z.NPY")) is NpySink
