"""Rows that cannot be used end the work, or are left out and listed beside the output."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import DataError, OutputExists
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model

NAMES = ["far", "tiny", "gaps", "constant", "empty", "count"]
ROWS = 300
BAD = [3, 50, 51, 52, 99, 100, 299]  # at the edges of blocks of 50, and the last one
DRIVER = """
import os, signal, sys
from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model
journal.NOTE_EVERY_S = 0.0
bundle, out, kill_at = sys.argv[1:]
def progress(done, rows):
    if done == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
ae = Autoencoder(Model(open_bundle(bundle), threads=2, block_rows=50))
ae.encode_file("x.csv", out, on_error="skip", progress=progress)
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return Autoencoder(Model(open_bundle(table_bundle), threads=1, block_rows=50))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)
    x = rows()
    lines = [",".join(NAMES)]
    for at, row in enumerate(x.tolist()):
        cells = list(map(repr, row))
        if at in BAD:
            cells = [["1", "2"], [*cells[:5], "-inf"], [*cells[:2], "red", *cells[3:]]][at % 3]
        lines.append(",".join(cells))
    Path("x.csv").write_text("\n".join(lines) + "\n")
    Path("good.csv").write_text("\n".join([lines[0], *lines[1:3]]) + "\n")


def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 6))


def listed(out: str) -> list[list[str]]:
    with Path(f"{out}.skipped.csv").open(newline="") as file:
        return list(csv.reader(file))


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"x.csv", "good.csv"}


@pytest.mark.parametrize("out", ["z.npy", "z.npz", "z.csv"])
def test_the_others_are_written_and_these_listed(
    ae: Autoencoder, out: str, rows_in: Callable[..., Any]
) -> None:
    done = ae.encode_file("x.csv", out, on_error="skip")
    assert (done.rows, done.skipped_rows) == (ROWS - len(BAD), len(BAD))
    good = np.delete(rows(), BAD, axis=0)
    np.testing.assert_array_equal(rows_in(out).astype(np.float32), ae.encode(good))
    head, *found = listed(out)
    assert head == ["row", "reason"]
    assert [int(number) for number, _ in found] == [at + 1 for at in BAD]
    assert found[0][1] == ("row 4 has 2 cells, the header has 6; the separator found is ','")
    assert found[1][1] == (
        "row 51, column 'gaps': 'red' is not a number; tables of numbers are taken: leave the "
        "column out, or write it as numbers with a point before decimals"
    )
    assert found[3][1] == (
        "row 53, column 'count' is infinite; correct it, or write NaN for a missing value"
    )


def test_the_first_of_them_stops_the_work_otherwise(ae: Autoencoder) -> None:
    with pytest.raises(DataError) as error:
        ae.encode_file("x.csv", "z.npy")
    assert str(error.value) == (
        "x.csv: row 4 has 2 cells, the header has 6; the separator found is ','"
    )
    assert names() == set()


def test_where_none_is_left_out_there_is_no_list(ae: Autoencoder) -> None:
    ae.encode_file("x.csv", "z.npy", on_error="skip")
    assert names() == {"z.npy", "z.npy.json", "z.npy.skipped.csv"}
    # A list of the output before is none of the one that takes its place.
    for on_error in ("skip", "stop"):
        done = ae.encode_file("good.csv", "z.npy", on_error=on_error, overwrite=True)
        assert (done.rows, done.skipped_rows) == (2, 0)
        assert names() == {"z.npy", "z.npy.json"}


def test_a_list_that_someone_else_wrote_is_never_replaced(ae: Autoencoder) -> None:
    Path("z.npy.skipped.csv").write_text("mine")
    with pytest.raises(OutputExists) as error:
        ae.encode_file("x.csv", "z.npy", on_error="skip")
    assert str(error.value) == (
        "z.npy.skipped.csv exists and is no list of skipped rows; it is never overwritten, "
        "choose another name than z.npy"
    )
    ae.encode_file("good.csv", "z.npy")  # needs no list
    assert Path("z.npy.skipped.csv").read_text() == "mine"


def test_a_file_of_nothing_but_such_rows(ae: Autoencoder) -> None:
    Path("bad.csv").write_text(",".join(NAMES) + "\n" + "1,2,3,inf,5,6\n" * 120)
    done = ae.encode_file("bad.csv", "z.npy", on_error="skip")
    assert (done.rows, done.skipped_rows) == (0, 120)
    assert np.load("z.npy").shape == (0, 2)
    assert len(listed("z.npy")) == 121


@pytest.mark.parametrize("kill_at", [50, 100, 250, 300])
@pytest.mark.parametrize("out", ["z.npy", "z.npz"])
def test_a_killed_run_goes_on_to_the_same_list(
    ae: Autoencoder, table_bundle: Path, out: str, kill_at: int
) -> None:
    ae.encode_file("x.csv", f"whole.{out}", on_error="skip")
    words: list[Any] = [sys.executable, "-c", DRIVER, table_bundle, out, kill_at]
    done = subprocess.run([str(word) for word in words], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not Path(out).exists()
    assert not Path(f"{out}.skipped.csv").exists()
    if kill_at > 100:  # what comes after the place that was noted is cut off
        with Path(f"{out}.skipped.csv.part").open("ab") as file:
            file.write(b"1,nothing\n")
    resumed = ae.encode_file("x.csv", out, on_error="skip")
    assert resumed.resumed_rows in (kill_at - 50, max(kill_at - 100, 0))
    assert (resumed.rows, resumed.skipped_rows) == (ROWS - len(BAD), len(BAD))
    for end in ("", ".skipped.csv"):
        assert Path(f"{out}{end}").read_bytes() == Path(f"whole.{out}{end}").read_bytes()
    assert not [name for name in names() if ".part" in name]


def test_an_interrupt_between_list_and_output_starts_neither_anew(
    ae: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ae.encode_file("x.csv", "whole.npy", on_error="skip")
    real = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "z.npy.part":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ae.encode_file("x.csv", "z.npy", on_error="skip")
    assert os.path.exists("z.npy.skipped.csv")
    done = ae.encode_file("x.csv", "z.npy", on_error="skip")
    assert done.resumed_rows == ROWS
    for end in ("", ".skipped.csv"):
        assert Path(f"z.npy{end}").read_bytes() == Path(f"whole.npy{end}").read_bytes()
