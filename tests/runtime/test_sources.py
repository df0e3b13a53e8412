"""read_source gives the arrays that numpy wrote, and refuses anything else without running it."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.source import (
    Source,
    fingerprint,
    first_infinity,
    read_source,
    select_columns,
)

KNOWN = ".npy, .npz, .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .arrow, .feather"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complaint(source: str) -> str:
    with pytest.raises(DataError) as error:
        read_source(source)
    return str(error.value)


class MakesAFolder:
    """Unpickled, it makes the folder `bitten`."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("bitten",)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f4", "f8", ">f8", ">i2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_mapped_as_numpy_wrote_it(dtype: str, order: str) -> None:
    x = np.asarray(np.arange(24).reshape(2, 3, 4) % 7, dtype, order=order)  # type: ignore[call-overload]
    np.save("x.npy", x)
    source = read_source("x.npy")
    assert isinstance(source.array, np.memmap)  # a file larger than memory can be read
    assert not source.array.flags.writeable
    assert source.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(source.array, x)
    assert (source.columns, source.integer, source.note) == (None, None, "")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_one_array_needs_no_key(save: object) -> None:
    x = np.arange(6.0).reshape(3, 2)
    save("x.npz", rows=x)  # type: ignore[operator]
    np.testing.assert_array_equal(read_source("x.npz").array, x)
    np.testing.assert_array_equal(read_source("x.npz:rows").array, x)


def test_npz_with_several_arrays_needs_one() -> None:
    x, y = np.ones((2, 2)), np.zeros((3, 2))
    np.savez("x.npz", a=x, b=y)
    np.testing.assert_array_equal(read_source("x.npz:b").array, y)
    assert complaint("x.npz") == "x.npz holds a, b; say which: x.npz:a"
    assert complaint("x.npz:c") == "x.npz holds no 'c'; it holds a, b"
    assert complaint("x.npz:") == "x.npz holds no ''; it holds a, b"


def test_a_stamp_in_an_npz_is_no_array_to_choose() -> None:
    np.savez("z.npz", z=np.ones((2, 2)), ae_toolkit="z", model_id="abc")
    np.testing.assert_array_equal(read_source("z.npz").array, np.ones((2, 2)))
    assert complaint("z.npz:model_id") == "z.npz holds no 'model_id'; it holds z"


def test_npz_without_arrays() -> None:
    np.savez("empty.npz")
    assert complaint("empty.npz") == "empty.npz holds no arrays"
    with zipfile.ZipFile("text.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert complaint("text.npz") == "text.npz: notes.txt is not an array"


def test_csv_carries_names_integers_and_a_note() -> None:
    Path("t.csv").write_text("a;b\n1;2.5\n")
    source = read_source("t.csv")
    assert source.columns == ["a", "b"]
    assert source.integer is not None
    assert source.integer.tolist() == [True, False]
    assert source.note == "t.csv: separator ';', with a header"
    Path("t.csv").write_text("1,2\n")
    assert read_source("t.csv").note == "t.csv: separator ',', without a header"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_objects_are_refused_without_unpickling(name: str) -> None:
    with Path(name).open("wb") as file:
        save = np.save if name == "x.npy" else np.savez
        save(file, np.array([[MakesAFolder()]], object))  # type: ignore[operator]
    loaded = np.load(name, allow_pickle=True)
    if name == "x.npz":
        with loaded:
            _ = loaded["arr_0"]
    Path("bitten").rmdir()  # the file does what it is made for
    assert complaint(name).startswith(f"{name} is not a readable {name[1:]} ar")
    assert not Path("bitten").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_bare_pickle_is_refused_without_unpickling(name: str) -> None:
    Path(name).write_bytes(pickle.dumps(MakesAFolder()))
    assert complaint(name).startswith(f"{name} is not a readable {name[1:]} ar")
    assert not Path("bitten").exists()


def raw_array(name: str) -> bytes:
    raw = io.BytesIO()
    x = np.arange(60.0).reshape(20, 3)
    np.save(raw, x) if name.endswith("npy") else np.savez_compressed(raw, x=x)
    return raw.getvalue()


@pytest.mark.parametrize(("name", "kind"), [("x.npy", ".npy array"), ("x.npz", ".npz archive")])
def test_every_cut_of_a_file_is_refused(name: str, kind: str) -> None:
    whole = raw_array(name)
    for length in range(len(whole)):
        Path(name).write_bytes(whole[:length])
        found = complaint(name)
        assert found.startswith(f"{name} is not a readable {kind}: ")
        assert "\n" not in found


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_changed_bytes_never_give_another_error(name: str) -> None:
    # numpy, zipfile and zlib raise a dozen kinds of exceptions for these.
    whole, random = raw_array(name), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            raw[random.integers(0, min(128, len(raw)))] = random.integers(0, 256)
        Path(name).write_bytes(raw)
        try:
            read_source(name)
        except DataError:
            refused += 1
    assert refused > 100


def test_a_file_of_another_kind_than_its_name() -> None:
    Path("x.npy").write_bytes(raw_array("x.npz"))
    Path("x.npz").write_bytes(raw_array("x.npy"))
    assert complaint("x.npy").startswith("x.npy is not a readable .npy array: the magic string ")
    assert complaint("x.npz") == "x.npz is not a readable .npz archive: File is not a zip file"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3.0), "x.npy has shape (3,); rows need at least 2 axes (N, D)"),
        (np.float64(3), "x.npy has shape (); rows need at least 2 axes (N, D)"),
        (np.array([["a"]]), "x.npy holds <U1 values; only numbers are taken"),
        (np.array([[1j]]), "x.npy holds complex128 values; only numbers are taken"),
        (np.zeros((2, 2), "M8[D]"), "x.npy holds datetime64[D] values; only numbers are taken"),
        (
            np.zeros((2, 2), [("a", "f8")]),
            "x.npy holds [('a', '<f8')] values; only numbers are taken",
        ),
    ],
)
def test_arrays_that_are_no_rows_of_numbers(array: np.ndarray, message: str) -> None:
    np.save("x.npy", array)
    assert complaint("x.npy") == message


def test_what_is_not_a_data_file() -> None:
    with pytest.raises(SourceNotFound, match=r"^none/x\.npy does not exist$"):
        read_source("none/x.npy")
    with pytest.raises(SourceNotFound, match=r"^x\.npz does not exist$"):
        read_source("x.npz:key")
    for name, found in (("x.xlsx", ".xlsx"), ("x", "no file extension"), ("x.gz", ".gz")):
        Path(name).touch()
        assert complaint(name) == f"{name}: {found} cannot be read; known types: {KNOWN}"
    Path("folder.npy").mkdir()
    assert complaint("folder.npy") == (f"folder.npy: a folder cannot be read; known types: {KNOWN}")


def test_columns_are_chosen_by_name_in_the_models_order() -> None:
    x = np.arange(8.0).reshape(2, 4)
    source = Source(Path("t.csv"), x, ["d", "b", "extra", "a"])
    array, left_out = select_columns(source, ["a", "b", "d"])
    np.testing.assert_array_equal(array, x[:, [3, 1, 0]])
    assert left_out == ["extra"]


def test_columns_are_taken_by_position_where_a_side_has_no_names() -> None:
    x = np.arange(4.0).reshape(2, 2)
    for columns, names in ((None, ["a", "b"]), (["b", "a"], None), (["a", "b"], ["a", "b"])):
        array, left_out = select_columns(Source(Path("t.csv"), x, columns), names)
        assert array is x
        assert left_out == []


def test_missing_columns_are_named() -> None:
    source = Source(Path("t.csv"), np.ones((2, 2)), ["a", "b"])
    with pytest.raises(DataError) as error:
        select_columns(source, ["a", "c", "d"])
    assert str(error.value) == "t.csv lacks 2 of the model's columns: c, d"


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


def test_a_fingerprint_changes_with_the_size_or_the_time() -> None:
    path = Path("x.npy")
    path.write_bytes(b"1234")
    os.utime(path, ns=(1, 1))
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 1))
    shorter = fingerprint(path)
    path.write_bytes(b"1235")
    os.utime(path, ns=(1, 2))
    assert len({before, shorter, fingerprint(path)}) == 3
