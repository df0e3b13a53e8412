"""Arrays are read as numpy wrote them, other files are refused, and one table has all formats."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.columns import Wanted, choose
from ae_runtime.files.readers.formats import (
    FORMATS,
    Format,
    read_array,
    read_table,
    suffix_of,
)
from ae_runtime.files.readers.npy import open_npy
from ae_runtime.files.readers.opening import open_rows
from ae_runtime.files.readers.raw_bytes import fingerprint
from ae_runtime.files.writers.opening import WRITERS

ROOT = Path(__file__).parent.parent.parent
KNOWN = ".npy, .npz, .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .arrow, .feather"


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def complaint(source: str) -> str:
    with pytest.raises(DataError) as error:
        read_array(source)
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
    array = read_array("x.npy")
    assert isinstance(array, np.memmap)  # a file larger than memory can be read
    assert not array.flags.writeable
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array, x)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_one_array_needs_no_key(save: object) -> None:
    x = np.arange(6.0).reshape(3, 2)
    save("x.npz", rows=x)  # type: ignore[operator]
    np.testing.assert_array_equal(read_array("x.npz"), x)
    np.testing.assert_array_equal(read_array("x.npz:rows"), x)


def test_npz_with_several_arrays_needs_one() -> None:
    x, y = np.ones((2, 2)), np.zeros((3, 2))
    np.savez("x.npz", a=x, b=y)
    np.testing.assert_array_equal(read_array("x.npz:b"), y)
    assert complaint("x.npz") == "x.npz holds a, b; say which: x.npz:a"
    assert complaint("x.npz:c") == "x.npz holds no 'c'; it holds a, b"
    assert complaint("x.npz:") == "x.npz holds no ''; it holds a, b"


def test_a_stamp_in_an_npz_is_no_array_to_choose() -> None:
    np.savez("z.npz", z=np.ones((2, 2)), ae_toolkit="z", model_id="abc")
    np.testing.assert_array_equal(read_array("z.npz"), np.ones((2, 2)))
    assert complaint("z.npz:model_id") == "z.npz holds no 'model_id'; it holds z"


def test_npz_without_arrays() -> None:
    np.savez("empty.npz")
    assert complaint("empty.npz") == "empty.npz holds no arrays"
    with zipfile.ZipFile("text.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert complaint("text.npz") == "text.npz: notes.txt is not an array"


def test_csv_carries_names_integers_and_a_note() -> None:
    Path("t.csv").write_text("a;b\n1;2.5\n")
    table = read_table("t.csv")
    assert list(table.columns) == ["a", "b"]
    assert table.integer == {"a"}
    assert table.note == "t.csv: separator ';', with a header"
    Path("t.csv").write_text("1,2\n")
    assert read_table("t.csv").note == "t.csv: separator ',', without a header"


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
            read_array(name)
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
        read_array("none/x.npy")
    with pytest.raises(SourceNotFound, match=r"^x\.npz does not exist$"):
        read_array("x.npz:key")
    for name, found in (("x.xlsx", ".xlsx"), ("x", "no file extension"), ("x.gz", ".gz")):
        Path(name).touch()
        assert complaint(name) == f"{name}: {found} cannot be read; known types: {KNOWN}"
    Path("folder.npy").mkdir()
    assert complaint("folder.npy") == (f"folder.npy: a folder cannot be read; known types: {KNOWN}")


def test_a_table_is_no_array_and_an_array_no_table() -> None:
    Path("t.csv").write_text("a,b\n1,2\n")
    np.save("x.npy", np.ones((2, 2)))
    assert complaint("t.csv") == "t.csv holds columns by name, and no array"
    with pytest.raises(DataError) as error:
        read_table("x.npy")
    assert str(error.value) == (
        "x.npy holds no columns by name; known types: .csv, .csv.gz, .tsv, .tsv.gz, .parquet, "
        ".arrow, .feather"
    )


def test_a_format_is_one_line_for_the_runtime_and_for_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_raw(path: Path, member: str | None) -> np.ndarray:
        return np.fromfile(path).reshape(-1, 2)

    x = np.arange(20.0).reshape(10, 2)
    x.tofile("x.raw")
    assert complaint("x.raw") == f"x.raw: .raw cannot be read; known types: {KNOWN}"
    np.save("copy.npy", x)
    monkeypatch.setitem(
        FORMATS,
        ".raw",
        Format(lambda path, *rest: open_npy(Path("copy.npy"), *rest), None, read_raw),
    )
    np.testing.assert_array_equal(read_array("x.raw"), x)
    wanted = Wanted(Port("x", "float64", [None, 2]), "x", None)
    with closing(open_rows(wanted, "table", "x.raw")) as stream:
        np.testing.assert_array_equal(next(stream.blocks(10)).arrays[0], x)


@pytest.mark.parametrize("command", ["ae-train", "ae-run encode"])
def test_help_names_the_formats_that_there_are(command: str) -> None:
    _, _, text = (ROOT / "docs/commands.md").read_text(encoding="utf-8").partition(f": {command} [")
    (line,) = re.findall(r"is (?:a|one or more) (\..*?)\sfiles?,", text, re.DOTALL)[:1]
    named = set(re.findall(r"\.[a-z]+(?=[\s,)]|$)", line))
    assert named == {part for suffix in FORMATS for part in re.findall(r"\.[a-z]+", suffix)}


def test_docs_name_no_data_file_that_cannot_be_read_or_written() -> None:
    """Every file that a command of the docs reads or writes has an ending of the two tables."""
    others = {".aez", ".zip", ".html", ".json", ".toml", ".svg", ".png"}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not re.match(r"\$ ae-(?:run|train) ", line):
                continue
            for name in re.findall(r"(?<=\s)[\w.-]+\.[a-z.]+(?=\s|$)", line):
                assert suffix_of(Path(name)) in {*FORMATS, *WRITERS, *others}, (path, line)


def columns_of(
    names: list[str], wanted: list[str] | None, width: int
) -> tuple[list[int], list[str]]:
    """(places, names left out) of the columns that are chosen of a file with these names."""
    spec = Wanted(Port("x", "float64", [None, width]), "x", wanted)
    choice = choose(spec, Path("t.csv"), names, True, None)
    return choice.columns, choice.left_out


def test_columns_are_chosen_by_name_in_the_models_order() -> None:
    found = columns_of(["d", "b", "extra", "a"], ["a", "b", "d"], 3)
    assert found == ([3, 1, 0], ["extra"])


def test_columns_are_taken_by_position_where_a_side_has_no_names() -> None:
    assert columns_of(["b", "a"], None, 2) == ([0, 1], [])
    assert columns_of(["a", "b"], ["a", "b"], 2) == ([0, 1], [])
    spec = Wanted(Port("x", "float64", [None, 2]), "x", ["a", "b"])
    assert choose(spec, Path("t.csv"), ["1", "2"], False, None).columns == [0, 1]


def test_missing_columns_are_named() -> None:
    with pytest.raises(DataError) as error:
        columns_of(["a", "b"], ["a", "c", "d"], 3)
    assert str(error.value) == "t.csv lacks 2 of the model's columns: c, d"


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
