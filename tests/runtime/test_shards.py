"""A shard is done once, by one worker, however often and by however many it is asked for."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import load, outputs, shards
from ae_runtime.errors import DataError, NoRows, OutputExists, SourceNotFound
from ae_runtime.shards import (
    data_files,
    decode_shard,
    encode_shard,
    place_shards,
    reconstruct_shard,
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table_bundle: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(table_bundle, "bundle")
    np.save("x.npy", np.random.default_rng(0).standard_normal((200, 6)))


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


@pytest.mark.parametrize("dst", ["z.npy", "z.npz", "z.csv", "z.parquet"])
def test_a_second_call_does_nothing(dst: str) -> None:
    if dst == "z.parquet":
        pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
    first = encode_shard("bundle", "x.npy", dst)
    assert (first.rows, first.was_done) == (200, False)
    before, status = contents(), os.stat(dst)
    again = encode_shard("bundle", os.path.abspath("x.npy"), Path(dst), threads=1, tile=16)
    assert (again.rows, again.was_done) == (200, True)
    assert contents() == before
    assert os.stat(dst).st_mtime_ns == status.st_mtime_ns
    decode_shard("bundle", dst, "x_hat.npy")
    np.testing.assert_array_equal(
        np.load("x_hat.npy"), load("bundle").reconstruct(np.load("x.npy"))
    )


def touch() -> None:
    os.utime("x.npy", ns=(1, 1))


def other_rows() -> None:
    np.save("x.npy", np.ones((200, 6)))


@pytest.mark.parametrize("change", [touch, other_rows])
def test_another_input_is_refused_without_overwrite(change: Callable[[], None]) -> None:
    encode_shard("bundle", "x.npy", "z.npy")
    change()
    with pytest.raises(OutputExists) as error:
        encode_shard("bundle", "x.npy", "z.npy")
    assert str(error.value) == "z.npy exists already; --overwrite replaces it"
    assert not encode_shard("bundle", "x.npy", "z.npy", overwrite=True).was_done
    np.testing.assert_array_equal(np.load("z.npy"), load("bundle").encode(np.load("x.npy")))
    assert encode_shard("bundle", "x.npy", "z.npy", overwrite=True).was_done


@pytest.mark.parametrize("dst", ["z.npz", "z.parquet"])
def test_nothing_lies_beside_a_shard_that_is_stamped_inside(dst: str) -> None:
    """So that a folder of them is a data set; what earlier versions left there still counts."""
    if dst == "z.parquet":
        pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
    done = encode_shard("bundle", "x.npy", dst)
    stamp = outputs.read_job_stamp(Path(dst))
    assert set(contents()) == {"x.npy", dst}
    Path(dst).unlink()
    load("bundle").encode_file("x.npy", dst)  # says nothing of the job, as shards did not
    with pytest.raises(OutputExists):
        encode_shard("bundle", "x.npy", dst)
    beside = Path(f"{dst}.json")
    beside.write_text(json.dumps({**(stamp or {}), "bytes": Path(dst).stat().st_size}))
    again = encode_shard("bundle", "x.npy", dst)
    assert (again.rows, again.was_done) == (done.rows, True)
    np.save("y.npy", np.ones((200, 6)))
    encode_shard("bundle", "y.npy", dst, overwrite=True)
    assert not beside.exists()  # it must not vouch for what came later
    assert encode_shard("bundle", "y.npy", dst).was_done
    with pytest.raises(OutputExists):
        encode_shard("bundle", "x.npy", dst)
    beside.write_text("someone else's")
    encode_shard("bundle", "x.npy", dst, overwrite=True)
    assert beside.read_text() == "someone else's"


def test_a_stamp_does_not_vouch_for_some_of_its_rows() -> None:
    """Filtered in place by a tool that takes the metadata along."""
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="the runtime's own environment has no pyarrow"
    )
    encode_shard("bundle", "x.npy", "z.parquet")
    parquet.write_table(parquet.read_table("z.parquet").slice(0, 9), "z.parquet")
    with pytest.raises(OutputExists):
        encode_shard("bundle", "x.npy", "z.parquet")


@pytest.mark.parametrize("dst", ["z.npy", "z.npz", "z.csv", "z.parquet"])
def test_a_part_without_rows_has_an_output_without_rows(dst: str) -> None:
    if dst == "z.parquet":
        pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
    Path("none.csv").touch()
    for verb in (encode_shard, reconstruct_shard):
        done = verb("bundle", "none.csv", dst)
        assert (done.rows, done.was_done, done.notes) == (0, False, ["none.csv holds no rows"])
        assert verb("bundle", "none.csv", dst).was_done
        if verb is encode_shard:
            assert decode_shard("bundle", dst, "x_hat.npy").rows == 0
            assert np.load("x_hat.npy").shape == (0, 6)
        Path(dst).unlink()
    with pytest.raises(NoRows, match=r"^none\.csv is empty; it holds no rows$"):
        load("bundle").encode_file("none.csv", dst)  # alone, it is a mistake


def test_other_options_are_another_job() -> None:
    encode_shard("bundle", "x.npy", "z.npy")
    with pytest.raises(OutputExists):
        encode_shard("bundle", "x.npy", "z.npy", on_error="skip")


def test_a_bundle_is_loaded_once_and_again_when_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[object] = []

    def counted(bundle: str, **options: object) -> object:
        loaded.append(bundle)
        return load(bundle, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "load", counted)
    monkeypatch.setattr(shards, "_cache", type(shards._cache)())
    for number in range(3):
        encode_shard("bundle", "x.npy", f"z{number}.npy")
    assert loaded == ["bundle"]
    os.utime("bundle/manifest.json", ns=(1, 1))
    encode_shard("bundle", "x.npy", "z3.npy")
    assert loaded == ["bundle"] * 2
    for number in range(shards.LOADED_MAX):
        shutil.copytree("bundle", f"b{number}")
        encode_shard(f"b{number}", "x.npy", f"y{number}.npy")
    assert len(shards._cache) == shards.LOADED_MAX
    encode_shard(load("bundle"), "x.npy", "y.npy")  # an Autoencoder is taken as it is


def test_errors_are_those_of_files() -> None:
    with pytest.raises(SourceNotFound):
        encode_shard("bundle", "none.npy", "z.npy")
    shutil.copy("x.npy", "mine.npy")
    for _ in range(2):
        with pytest.raises(OutputExists) as error:
            encode_shard("bundle", "x.npy", "mine.npy", overwrite=True)
        assert str(error.value) == (
            "mine.npy exists and is not an output of ae-run; "
            "it is never overwritten, choose another"
        )


def test_workers_may_do_the_same_shard_at_once() -> None:
    for number in range(3):
        np.save(f"x{number}.npy", np.random.default_rng(number).standard_normal((3000, 6)))
    sources = [f"x{number % 3}.npy" for number in range(12)]
    out = [f"z{number % 3}.npy" for number in range(12)]
    work = pickle.loads(pickle.dumps(partial(encode_shard, "bundle", threads=1)))
    context = multiprocessing.get_context("spawn")  # the parent has threads
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        done = list(pool.map(work, sources, out))
    assert sum(one.was_done for one in done) == 9
    ae = load("bundle")
    for number in range(3):
        np.testing.assert_array_equal(
            np.load(f"z{number}.npy"), ae.encode(np.load(f"x{number}.npy"))
        )
    assert not list(Path().glob("*.part*"))


def test_what_is_taken_for_a_shard() -> None:
    Path("data").mkdir()
    for name in ("b.npy", "a.csv", "c.TSV.gz", ".hidden.npy", "b.npy.json", "x.part", "notes.txt"):
        Path("data", name).touch()
    Path("data/folder.npy").mkdir()
    found = data_files(Path("data"), "image")
    assert [path.name for path in found] == ["a.csv", "b.npy", "c.TSV.gz"]
    placed = place_shards(found, Path("done"), ".csv")
    assert [str(out) for _, out in placed] == ["done/a.csv", "done/b.csv", "done/c.csv"]
    Path("data/folder.npy/1.PNG").touch()  # of an image bundle, these are the rows
    assert data_files(Path("data"), "image") == []
    assert data_files(Path("data"), "table") == found


def test_shards_that_would_be_one_output() -> None:
    with pytest.raises(DataError) as error:
        place_shards(["in/a.csv", "in/b.npy", "in/a.npy"], Path("done"), ".npy")
    assert str(error.value) == ("in/a.csv and in/a.npy would both be done/a.npy; rename one")
    with pytest.raises(DataError) as error:
        place_shards(["x.npy"], Path(), ".csv")
    assert str(error.value) == (". is the folder of the input; choose another for the output")
    with pytest.raises(OutputExists) as wrong:
        place_shards(["a.npy", "b.npy"], Path("x.npy"), ".npy")
    assert str(wrong.value) == "x.npy is no folder; several inputs need one"
