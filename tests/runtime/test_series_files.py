"""Series from file to file: one row per window, with its start; and one per time step again."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime import Autoencoder, load
from ae_runtime.bundle.manifest import Series, dump
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import DataError
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model
from ae_runtime.tables.windows import window_starts

WINDOW, CHANNELS = 12, 2
DRIVER = """
import os, signal, sys
from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model
journal.NOTE_EVERY_S = 0.0
bundle, verb, source, out, stride, kill_at = sys.argv[1:]
def progress(done, rows):
    if done >= int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
ae = Autoencoder(Model(open_bundle(bundle), threads=2, block_rows=7))
getattr(ae, f"{verb}_file")(source, out, stride=int(stride), on_error="skip", progress=progress)
"""


@pytest.fixture(scope="module")
def bundle(table_bundle: Path) -> Path:
    return table_bundle.parent / "gru"


@pytest.fixture(scope="module")
def ae(bundle: Path) -> Autoencoder:
    return small_blocked(bundle)


def small_blocked(bundle: Path) -> Autoencoder:
    return Autoencoder(Model(open_bundle(bundle), threads=1, block_rows=7))


@pytest.fixture(autouse=True)
def small_blocks(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)


def series(steps: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((steps, CHANNELS)).astype(np.float32)


def windows(x: NDArray[np.float32], stride: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    starts = window_starts(len(x), WINDOW, stride)
    return np.stack([x[start : start + WINDOW] for start in starts]), starts


def averaged(ae: Autoencoder, x: NDArray[np.float32], stride: int) -> NDArray[np.float64]:
    """The mean over its windows of each time step, the plain way."""
    cut, starts = windows(x, stride)
    sums, counts = np.zeros((len(x), CHANNELS)), np.zeros((len(x), 1))
    for window, start in zip(ae.reconstruct(cut), starts, strict=True):
        sums[start : start + WINDOW] += window
        counts[start : start + WINDOW] += 1
    return sums / counts


@pytest.mark.parametrize("steps", [12, 13, 120, 125, 400])
@pytest.mark.parametrize("stride", [None, 1, 5, 12])
def test_one_row_per_window_and_one_per_step(
    ae: Autoencoder, steps: int, stride: int | None
) -> None:
    x = series(steps)
    np.save("x.npy", x)
    cut, starts = windows(x, stride or WINDOW)
    assert ae.encode_file("x.npy", "z.npz", stride=stride).rows == len(starts)
    with np.load("z.npz") as found:
        np.testing.assert_array_equal(found["z"], ae.encode(cut))
        np.testing.assert_array_equal(found["start"], starts)
        assert (found["window"], found["stride"], found["steps"]) == (
            WINDOW,
            stride or WINDOW,
            steps,
        )
    assert ae.reconstruct_file("x.npy", "x_hat.npy", stride=stride).rows == steps
    x_hat = np.load("x_hat.npy")
    assert (x_hat.shape, x_hat.dtype) == (x.shape, x.dtype)
    # float64 sums, rounded to float32 once
    np.testing.assert_allclose(x_hat, averaged(ae, x, stride or WINDOW), rtol=1e-6, atol=1e-7)


def test_the_start_of_a_window_is_a_column_of_a_csv(ae: Autoencoder) -> None:
    x = series(100)
    np.save("x.npy", x)
    ae.encode_file("x.npy", "z.csv", stride=10)
    header, *lines = Path("z.csv").read_text().splitlines()
    assert header == "start,z0,z1,z2"
    assert [int(line.split(",")[0]) for line in lines] == [*range(0, 90, 10), 88]
    stamp = json.loads(Path("z.csv.json").read_text())
    assert (stamp["window"], stamp["stride"], stamp["steps"]) == (WINDOW, 10, 100)
    ae.encode_file("x.npy", "z.npz", stride=10)
    for name in ("z.csv", "z.npz"):  # neither start nor stamp is taken for latents
        ae.decode_file(name, f"{name}.npy")
        np.testing.assert_array_equal(np.load(f"{name}.npy"), ae.reconstruct(windows(x, 10)[0]))


def test_windows_that_were_cut_before_stay_windows(ae: Autoencoder) -> None:
    x = windows(series(100), 10)[0]
    np.save("x.npy", x)
    ae.reconstruct_file("x.npy", "x_hat.npy")
    np.testing.assert_array_equal(np.load("x_hat.npy"), ae.reconstruct(x))
    ae.encode_file("x.npy", "z.csv")
    assert Path("z.csv").read_text().splitlines()[0] == "z0,z1,z2"


def test_bad_windows_are_left_out_and_their_steps_missing(ae: Autoencoder) -> None:
    x = series(100)
    x[[30, 95]] = np.inf  # of windows of 12, stride 12: the third, and the last two
    np.save("x.npy", x)
    done = ae.encode_file("x.npy", "z.npy", on_error="skip")
    cut, starts = windows(x, WINDOW)
    good = ~np.isinf(cut).any(axis=(1, 2))
    assert (done.rows, done.skipped_rows) == (int(good.sum()), int((~good).sum()))
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(cut[good]))
    done = ae.reconstruct_file("x.npy", "x_hat.npy", on_error="skip")
    assert (done.rows, done.skipped_rows) == (100, int((~good).sum()))
    covered = np.zeros(100, bool)
    for start in starts[good]:
        covered[start : start + WINDOW] = True
    x_hat = np.load("x_hat.npy")
    assert (np.isnan(x_hat).all(axis=1) == ~covered).all()
    np.testing.assert_array_equal(x_hat[covered], np.concatenate(ae.reconstruct(cut[good])))
    with pytest.raises(DataError, match=r"x\.npy: .* is infinite"):
        ae.reconstruct_file("x.npy", "other.npy")


@pytest.mark.parametrize(
    ("verb", "stride", "suffix"),
    [
        *(("encode", 5, suffix) for suffix in ("npy", "csv")),
        *(("reconstruct", stride, "npy") for stride in (1, 5, 12)),
        ("reconstruct", 5, "csv"),
    ],
)
def test_a_killed_run_goes_on(
    ae: Autoencoder, bundle: Path, verb: Any, stride: int, suffix: str
) -> None:
    x = series(401)
    x[100] = np.inf
    np.save("x.npy", x)
    count, out = len(window_starts(401, WINDOW, stride)), f"out.{suffix}"
    getattr(ae, f"{verb}_file")("x.npy", f"whole.{suffix}", stride=stride, on_error="skip")
    for kill_at in (count // 3, count):
        words = [bundle, verb, "x.npy", out, stride, kill_at]
        command = [sys.executable, "-c", DRIVER, *map(str, words)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not os.path.exists(out)
    done = getattr(ae, f"{verb}_file")("x.npy", out, stride=stride, on_error="skip")
    assert done.resumed_rows > count // 3 - 14 - WINDOW // stride
    for end in ("", ".skipped.csv"):
        assert Path(f"{out}{end}").read_bytes() == Path(f"whole.{suffix}{end}").read_bytes()


@pytest.fixture(scope="module")
def timed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle, of a series whose rows were a minute apart."""
    folder = tmp_path_factory.mktemp("timed") / "bundle"
    shutil.copytree(bundle, folder)
    manifest = load(bundle).manifest
    series = Series(["a", "b"], time="time", step=60.0)
    (folder / "manifest.json").write_bytes(dump(msgspec.structs.replace(manifest, series=series)))
    return folder


BORDERS = [100, 105, 250, 390]  # rows after a gap: 5 and 11 rows between gaps are no window


def write_timed(rows: int = 401) -> NDArray[np.float32]:
    x = series(rows)
    at = np.arange(rows)
    minutes = at + sum(1000 * (at >= border) for border in BORDERS)
    moments = np.datetime64("2026-01-01T00:00") + minutes
    lines = [f"{t},{a},{b}" for t, (a, b) in zip(moments, x.tolist(), strict=True)]
    Path("x.csv").write_text("\n".join(["time,a,b", *lines]))
    return x


NOTE = (
    "x.csv: 4 gaps in 'time': windows do not cross them; 16 rows between gaps, in stretches "
    "shorter than a window of 12, are in no window"
)


@pytest.mark.parametrize("stride", [1, 5, 12])
def test_each_stretch_between_gaps_is_as_a_series_of_its_own(timed: Path, stride: int) -> None:
    x, ae = write_timed(), small_blocked(timed)
    done = ae.reconstruct_file("x.csv", "x_hat.npy", stride=stride)
    assert done.rows == 401
    assert done.notes[-1] == NOTE
    found, edges = np.load("x_hat.npy"), [0, *BORDERS, 401]
    for low, high in itertools.pairwise(edges):
        if high - low < WINDOW:
            assert np.isnan(found[low:high]).all()
            continue
        np.save("part.npy", x[low:high])
        ae.reconstruct_file("part.npy", "part_hat.npy", stride=stride, overwrite=True)
        np.testing.assert_array_equal(found[low:high], np.load("part_hat.npy"))
    ae.encode_file("x.csv", "z.npz", stride=stride)
    with np.load("z.npz") as z:
        np.testing.assert_array_equal(z["start"], window_starts(401, WINDOW, stride, BORDERS))


@pytest.mark.parametrize(
    ("verb", "stride"), [("encode", 5), ("reconstruct", 1), ("reconstruct", 5)]
)
def test_a_killed_run_over_gaps_goes_on(timed: Path, verb: Any, stride: int) -> None:
    write_timed()
    ae, count = small_blocked(timed), len(window_starts(401, WINDOW, stride, BORDERS))
    getattr(ae, f"{verb}_file")("x.csv", "whole.csv", stride=stride, on_error="skip")
    for kill_at in (count // 3, count // 2 + 8):
        words = [timed, verb, "x.csv", "out.csv", stride, kill_at]
        command = [sys.executable, "-c", DRIVER, *map(str, words)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    done = getattr(ae, f"{verb}_file")("x.csv", "out.csv", stride=stride, on_error="skip")
    assert done.resumed_rows
    assert done.notes[-1] == NOTE  # of the whole file
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_ids_of_steps_do_not_survive_reconstruction(ae: Autoencoder) -> None:
    lines = ["time,a,b", *(f"t{at},{at},{-at}" for at in range(40))]
    Path("x.csv").write_text("\n".join(lines))
    ae.encode_file("x.csv", "z.csv", id_column="time")
    assert Path("z.csv").read_text().splitlines()[0] == "time,start,z0,z1,z2"
    with pytest.raises(DataError) as error:
        ae.reconstruct_file("x.csv", "x_hat.csv", id_column="time")
    assert str(error.value) == (
        "x.csv: windows come back as time steps, which have no ids; leave --id away"
    )
