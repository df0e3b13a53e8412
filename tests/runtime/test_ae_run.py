"""The command ae-run from outside, in processes of its own: results, pipes, signals, terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import load
from ae_runtime.files.readers.formats import read_table

AE_RUN = "from ae_runtime.cli import main; main()"
SMALL_BLOCKS = f"""
from ae_runtime.model import plan
plan.MAX_BLOCK_ROWS = 10
{AE_RUN}
"""
# ae-run that says "go" when its second block is done, and then waits to be interrupted.
STUCK = f"""
import signal, time
from ae_runtime import console
def show(self, line, last=False):
    if " 20 of" in line:
        print("go", flush=True)
        time.sleep(60)
console.ProgressLine.show = show
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
{SMALL_BLOCKS}
"""
INFO = """\
6 numbers -> 2; test MSE 0.02112, PCA 0.1515, mean 0.9885 (in scaled space)
errors      test MSE 0.02112, PCA 0.1515, mean 0.9885 (in scaled space)
kind        table, 6 float64
latents     2 float32, bottleneck plain
precision   fp32
model_id    fa67b12622609425d12d637d21c59e33c62863933b273f147324ddf5b6e87f5e
format      1.0
columns     far, tiny, gaps, constant, empty, count
"""


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def ae_run(*words: object, program: str = AE_RUN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "\x1b" not in done.stdout + done.stderr  # no colours, no cursor movements
    return done


def result(*words: object) -> str:
    done = ae_run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def table_rows() -> np.ndarray:
    u, v = np.random.default_rng(0).standard_normal((2, 50))
    x = np.stack([1e6 + u, u * u * 1e-6, u + v, u * 0 + 5.5, u * np.nan, np.rint(v * 10)], 1)
    x[::7, 2] = np.nan
    return x


def test_info(table_bundle: Path) -> None:
    assert result("info", table_bundle) == INFO


@pytest.mark.parametrize("golden_bundle", ["image"], indirect=True)
def test_info_says_that_a_model_is_pca(golden_bundle: Path) -> None:
    lines = result("info", golden_bundle).splitlines()
    assert lines[1] == "the saved model is PCA: training found nothing better on validation rows"
    assert lines[2:4] == [
        "errors      test MSE 0.7032, PCA 0.7032, mean 1.085 (in scaled space)",
        "kind        image, 4x5x3 uint8",
    ]


def test_info_lists_the_weights(table_bundle: Path) -> None:
    found = result("info", table_bundle, "--weights")
    assert found.startswith(INFO + "\n")
    head, *lines = found.removeprefix(INFO + "\n").splitlines()
    assert head.split() == ["graph", "name", "shape", "dtype", "mean", "std", "min", "max"]
    weights = json.loads(result("info", table_bundle, "--weights", "--json"))["weights"]
    assert [line.split()[:2] for line in lines] == [[w["graph"], w["name"]] for w in weights]
    # The encoder subtracts the training mean, 1e6 in the first column, in float64.
    offset = next(w for w in weights if w["name"] == "model.preprocess.offset")
    assert (offset["graph"], offset["dtype"], offset["shape"]) == ("encoder", "float64", [6])
    assert abs(offset["max"] - 1e6) < 1  # the deviation of that column is 1
    line = next(line.split() for line in lines if line.split()[1] == offset["name"])
    assert line[2:4] == ["6", "float64"]
    assert line[7] == "1e+06"


def test_info_as_json_is_the_manifest(table_bundle: Path) -> None:
    found = result("info", table_bundle, "--json")
    assert found.count("\n") == 1
    manifest = json.loads((table_bundle / "manifest.json").read_bytes())
    # What newer versions say of a model, and this older bundle does not.
    newer = ("range_error", "pca_range_error", "accuracy", "pca_accuracy", "gain")
    manifest["quality"] |= dict.fromkeys(newer)
    manifest["latent"]["curve"] = None
    newer = ("reading", "scores", "step_scores", "step_threshold", "sampler")
    manifest |= dict.fromkeys(newer) | {"resized": False}
    assert json.loads(found) == {"manifest": manifest}


def test_doctor(digits_bundle: Path) -> None:
    lines = result("doctor", digits_bundle).splitlines()
    assert {line[:5] for line in lines} == {"ok   "}
    names = [line[7:22].strip() for line in lines]
    assert {"golden encoder", "golden decoder"} <= set(names)
    found = json.loads(result("doctor", digits_bundle, "--json"))
    assert list(found) == names
    assert all(check["ok"] for check in found.values())


def test_doctor_on_a_machine_that_computes_something_else(
    table_bundle: Path, tmp_path: Path, rewrite: Callable[..., Path]
) -> None:
    with np.load(table_bundle / "golden.npz") as stored:
        golden = dict(stored)
    golden["z"][3, 1] += 0.01
    np.savez(tmp_path / "golden.npz", **golden)
    bundle = rewrite(table_bundle, {"golden.npz": (tmp_path / "golden.npz").read_bytes()})
    for words in ([], ["--json"]):
        done = ae_run("doctor", bundle, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("ae-run: ")
        assert "golden encoder" in done.stderr
        assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["golden encoder"]["ok"] is False


def test_digits(digits_bundle: Path) -> None:
    x = np.random.default_rng(0).integers(0, 17, (300, 8, 8)).astype(np.uint8)
    np.save("x.npy", x)
    encoded = result("encode", digits_bundle, "x.npy", "--out", "z.npy")
    assert re.fullmatch(r"300 rows -> z\.npy \(\d+ s\)\n", encoded)
    result("decode", digits_bundle, "z.npy", "--out", "x_hat.npy")
    result("reconstruct", digits_bundle, "x.npy", "--out", "direct.npy", "--threads", 1)
    ae = load(digits_bundle)
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(x))
    np.testing.assert_array_equal(np.load("direct.npy"), ae.reconstruct(x))
    assert Path("x_hat.npy").read_bytes() == Path("direct.npy").read_bytes()


def test_a_table_by_csv(table_bundle: Path) -> None:
    x = table_rows()
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    order = [5, 3, 1, 4, 0, 2]
    lines = ["id;" + ";".join(names[at] for at in order)]
    for number, row in enumerate(x.tolist()):
        lines.append(f"{number};" + ";".join(repr(row[at]).replace("nan", "") for at in order))
    Path("x.csv").write_text("\n".join(lines))
    done = ae_run("encode", table_bundle, "x.csv", "--out", "z.csv", "--json")
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            "x.csv: separator ';', with a header",
            "columns not in the model are left out: id",
        ],
    )
    fields = {"out": "z.csv", "rows": 50, "resumed_rows": 0, "skipped_rows": 0}
    assert json.loads(done.stdout) == fields
    ae_run("decode", table_bundle, "z.csv", "--out", "x_hat.csv")
    ae_run("reconstruct", table_bundle, "x.csv", "--out", "direct.csv")
    assert Path("x_hat.csv").read_bytes() == Path("direct.csv").read_bytes()
    x_hat = load(table_bundle).reconstruct(x)
    x_hat[:, 5] = np.rint(x_hat[:, 5])
    columns = read_table("x_hat.csv").columns
    assert list(columns) == names
    np.testing.assert_array_equal(np.stack(list(columns.values()), axis=1), x_hat)


def test_an_interrupt_ends_with_1_and_the_next_call_goes_on(table_bundle: Path) -> None:
    np.save("x.npy", table_rows())
    words = ["encode", str(table_bundle), "x.npy", "--out", "z.npy", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.removeprefix("\n") == "ae-run: interrupted\n"  # click ends the line of a ^C
    assert not Path("z.npy").exists()
    done = ae_run(*words, program=SMALL_BLOCKS)
    assert (done.returncode, done.stderr) == (0, "")
    fields = {"out": "z.npy", "rows": 50, "resumed_rows": 20, "skipped_rows": 0}
    assert json.loads(done.stdout) == fields
    np.testing.assert_array_equal(np.load("z.npy"), load(table_bundle).encode(table_rows()))


@pytest.mark.parametrize("words", [["--json"], ["--weights"], []])
def test_a_reader_that_goes_away(table_bundle: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", AE_RUN, "info", str(table_bundle), *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def on_a_terminal(*words: object) -> tuple[int, str]:
    """The exit code, and what a terminal at stderr is sent."""
    pty = pytest.importorskip("pty")
    terminal, stderr = pty.openpty()
    command: Any = [sys.executable, "-c", AE_RUN, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=False)
    os.close(stderr)
    sent = os.read(terminal, 65536).decode()
    os.close(terminal)
    return done.returncode, sent


def test_progress_on_a_terminal_leaves_nothing_behind(table_bundle: Path) -> None:
    np.save("x.npy", table_rows())
    code, sent = on_a_terminal("encode", table_bundle, "x.npy", "--out", "z.npy")
    assert code == 0
    assert "\x1b" not in sent
    first, *rest = sent.strip("\r").split("\r")
    assert first == "encode: 50 of 50 rows"  # one block has no rate yet
    assert not "".join(rest).strip()  # then white space over it, and back to the margin


def test_an_error_on_a_terminal_stands_in_its_own_line(table_bundle: Path) -> None:
    x = np.tile(table_rows(), (1400, 1))
    x[66_000, 0] = np.inf  # in the second block, when there is progress to be seen
    np.save("x.npy", x)
    code, sent = on_a_terminal("encode", table_bundle, "x.npy", "--out", "z.npy")
    assert code == 2
    progress, blank, error = sent.strip("\r\n").split("\r")
    assert progress.startswith("encode: 37,376 of 70,000 rows")
    assert len(blank) == len(progress)
    assert not blank.strip()
    assert error == (
        "ae-run: x.npy: row 66001, column 'far' is infinite; "
        "correct it, or write NaN for a missing value"
    )
