"""Parquet outputs: types of columns, ids, stamp, and a killed run that goes on."""

from __future__ import annotations

import datetime
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import DataError, OutputFailed
from ae_runtime.files.jobs import journal
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.writers.layout import Chunk, Kind, Layout
from ae_runtime.files.writers.parquet import ParquetWriter
from ae_runtime.model.model import Model
from ae_runtime.outputs import read_stamp

pa = pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
DRIVER = """
import os, signal, sys
from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model
journal.NOTE_EVERY_S = 0.0
bundle, kill_at = sys.argv[1:]
def progress(done, rows):
    if done == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
ae = Autoencoder(Model(open_bundle(bundle), threads=2, block_rows=50))
ae.encode_file("x.npy", "z.parquet", progress=progress)
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return Autoencoder(Model(open_bundle(table_bundle), threads=1, block_rows=50))


@pytest.fixture(autouse=True)
def small_blocks(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)
    np.save("x.npy", np.random.default_rng(0).standard_normal((5000, 6)))


def written(values: Any, kinds: list[Kind], ids: Any = None, words: bool = False) -> Any:
    """The table that these columns become."""
    names = [f"c{at}" for at in range(len(kinds))]
    id_name = None if ids is None else "name"
    layout = Layout(
        None, (len(kinds),), np.dtype(float), "x_hat", names, kinds, id_name=id_name, words=words
    )
    with Path("part").open("wb", buffering=0) as file:
        writer = ParquetWriter(file, layout, fresh=True)  # type: ignore[arg-type]
        if values is not None:
            writer.write(Chunk(values, ids))
        stamp = {"ae_toolkit": "x_hat", "model_id": "abc"}
        writer.finish(0 if values is None else 1, stamp, Path("part"), Path("x.parquet"))
    return pq.read_table("x.parquet")


def test_every_kind_of_column() -> None:
    day = 86400.0
    columns = {
        "c0": np.array([0.5, np.nan]),
        "c1": np.array([2.4, np.nan]),
        "c2": np.array([day * 1.4, np.nan]),
        "c3": np.array([1.4, np.nan]),
        "c4": np.array([1.25, np.nan]),
        "c5": np.array(["größe", None], object),
    }
    kinds: list[Kind] = ["number", "whole", "day", "second", "moment", "word"]
    table = written(columns, kinds, np.array(["a", "b"], object), words=True)
    types = ["string", "double", "int64", "date32[day]", "timestamp[us]", "timestamp[us]", "string"]
    assert [str(field.type) for field in table.schema] == types
    assert table.column_names == ["name", *columns]
    first = table.slice(0, 1).to_pylist()[0]
    moment = datetime.datetime(1970, 1, 1)
    assert first == {
        "name": "a",
        "c0": 0.5,
        "c1": 2,
        "c2": datetime.date(1970, 1, 2),
        "c3": moment + datetime.timedelta(seconds=1),
        "c4": moment + datetime.timedelta(seconds=1.25),
        "c5": "größe",
    }
    assert [table[name][1].as_py() for name in ("c1", "c2", "c3", "c4", "c5")] == [None] * 5
    back = read_table("x.parquet")
    assert back.columns["c2"][0] == day
    assert back.columns["c4"][0] == 1.25


def test_numbers_as_ids_and_no_rows() -> None:
    table = written(np.ones((2, 1), np.float32), ["number"], np.array([3, 4]))
    assert [str(field.type) for field in table.schema] == ["int64", "float"]
    assert written(None, ["number"]).num_rows == 0
    assert written(None, ["number", "word"], np.empty(0), words=True).num_rows == 0


def test_whole_numbers_that_no_integer_holds() -> None:
    with pytest.raises(DataError) as error:
        written(np.array([[1e40]]), ["whole"])
    assert str(error.value) == (
        "column 'c0' holds whole numbers beyond 2**63, which a .parquet column of integers does "
        "not; write .csv or .npy"
    )


def test_latents_come_back(ae: Autoencoder) -> None:
    ae.encode_file("x.npy", "z.parquet")
    table = pq.read_table("z.parquet")
    z = np.stack([table[name].to_numpy() for name in ("z0", "z1")], axis=1)
    np.testing.assert_array_equal(z, ae.encode(np.load("x.npy")))
    assert z.dtype == np.float32
    assert read_stamp(Path("z.parquet")) == {"ae_toolkit": "z", "model_id": ae.model_id}
    assert not os.path.exists("z.parquet.json")
    done = ae.decode_file("z.parquet", "x_hat.npy")
    assert done.notes == []
    np.testing.assert_array_equal(np.load("x_hat.npy"), ae.decode(z))


def test_row_groups_do_not_depend_on_blocks(
    ae: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ae.encode_file("x.npy", "a.parquet")
    ae = Autoencoder(Model(ae.bundle, block_rows=777))
    ae.encode_file("x.npy", "b.parquet")
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes()
    monkeypatch.setattr("ae_runtime.files.writers.parquet.GROUP_BYTES", 1)
    ae.encode_file("x.npy", "c.parquet")
    file = pq.ParquetFile("c.parquet")
    groups = range(file.num_row_groups)
    assert [file.metadata.row_group(at).num_rows for at in groups] == [1024] * 4 + [904]


@pytest.mark.parametrize("kill_at", [50, 2500, 5000])
def test_a_killed_run_goes_on(ae: Autoencoder, table_bundle: Path, kill_at: int) -> None:
    ae.encode_file("x.npy", "whole.parquet")
    command = [sys.executable, "-c", DRIVER, str(table_bundle), str(kill_at)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not os.path.exists("z.parquet")
    with Path("z.parquet.part").open("ab") as file:
        file.write(b"what comes after the place that was noted")
    resumed = ae.encode_file("x.npy", "z.parquet").resumed_rows
    assert resumed in (kill_at - 50, max(kill_at - 100, 0))
    assert Path("z.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert {path.name for path in Path().iterdir()} == {"x.npy", "whole.parquet", "z.parquet"}


def test_a_disk_that_is_full_when_the_part_is_made_parquet(
    ae: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ae.encode_file("x.npy", "whole.parquet")

    class Full(io.FileIO):
        def write(self, raw: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open

    def open_full(self: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        return (
            Full(self, "w")
            if self.name == "z.parquet.part.part"
            else real(self, mode, *more, **named)
        )

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(OutputFailed) as error:
            ae.encode_file("x.npy", "z.parquet")
    message = "z.parquet could not be written: the disk is full; free some space"
    assert str(error.value) == message
    assert ae.encode_file("x.npy", "z.parquet").resumed_rows == 5000
    assert Path("z.parquet").read_bytes() == Path("whole.parquet").read_bytes()
