"""The command ae-train as people run it: mistakes in one line, progress, JSON, interrupts."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ae_train.cli import ae_train
from ae_train.run.folder import Run

Process = Callable[..., subprocess.CompletedProcess[str]]


def csv(*lines: str, rows: int = 20) -> bytes:
    """A file of two columns with the given first lines and enough rows."""
    return ("\n".join([*lines, *(f"{i},{i * i}" for i in range(rows))]) + "\n").encode()


COMMA = "x.csv: separator ',', with a header"
TWENTY = "x.csv: 20 rows of 2 float64 (table)"


@pytest.mark.parametrize(
    ("files", "arguments", "lines"),
    [
        ({}, [], ["x.csv does not exist"]),
        ({"x.csv": b""}, [], ["x.csv is empty; it holds no rows"]),
        ({"x.csv": b"a,b\n"}, [], ["x.csv holds a header and no rows"]),
        (
            {"x.csv": csv("a,b", "1,2", "3,red")},
            [],
            [
                "x.csv: column 'b' holds numbers, but for 1 of 22 cells (row 2: 'red'); correct "
                "them, or say --set data.types.b=category"
            ],
        ),
        (
            {"x.csv": csv("a,b", "1,2", "3,4,5")},
            [],
            [
                "x.csv: row 2 has 3 cells, the header has 2; the separator found is ','",
            ],
        ),
        ({"x.csv": b"a,b\n1,2\n"}, [], ["x.csv: 1 row found; training needs at least 10"]),
        (
            {"x.csv": b"a,b\n" + b"1,2\n" * 20},
            [],
            ["x.csv: all rows are the same; there is nothing to learn from"],
        ),
        (
            {"x.csv": csv("a,b", "1,2", "3,inf")},
            [],
            ["x.csv: row 2, column 'b' is infinite; correct it, or write NaN for missing"],
        ),
        (
            {"x.csv": csv("a,b")},
            ["--latent=3"],
            [
                COMMA,
                TWENTY,
                "latent_dim = 3 is larger than the 2 numbers of a row; choose at most 2",
            ],
        ),
        (
            {"x.csv": csv("a,b"), "r.toml": b"[fit]\nepoch = 3\nclip = -1\n"},
            ["--recipe=r.toml"],
            [
                'r.toml: [fit] epoch: unknown key. Did you mean "epochs"?; '
                "[fit] clip = -1: expected `float` >= 0.0"
            ],
        ),
        (
            {"x.csv": csv("a,b"), "r.toml": b"[fit\n"},
            ["--recipe=r.toml"],
            [
                "r.toml is not valid TOML: Expected ']' at the end of a table declaration "
                "(at line 1, column 5)"
            ],
        ),
        ({"x.csv": csv("a,b")}, ["--recipe=r.toml"], ["r.toml does not exist"]),
        (
            {"x.csv": csv("a,b")},
            ["--set=fit.optimiser=sgd"],
            ['settings: [fit] optimiser: unknown key. Did you mean "optimizer"?'],
        ),
        (
            {"x.csv": csv("a,b")},
            [
                "--set=fit.objective=bce",
                "--set=data.scaling=none",
                "--set=data.validation=train",
                "--set=data.test=0",
            ],
            [
                COMMA,
                TWENTY,
                "objective bce is undefined here: it needs data in [0, 1], and with scaling = "
                "'none' they run from 0 to 361; use objective = 'mse', or scaling = 'range' if "
                "each column has natural bounds",
            ],
        ),
        (
            {"x.csv": csv("a,b")},
            ["--kind=text"],
            ["Invalid value for '--kind': 'text' is not one of 'table', 'image', 'series'."],
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else "".join(value)[:40] or "-",
)  # fmt: skip
def test_mistakes_end_in_one_line_and_code_2(
    ae_train_process: Process,
    tmp_path: Path,
    files: dict[str, bytes],
    arguments: list[str],
    lines: list[str],
) -> None:
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    done = ae_train_process("x.csv", "--out=run", *arguments)
    assert done.stderr.splitlines() == [*lines[:-1], f"ae-train: {lines[-1]}"]
    assert (done.returncode, done.stdout) == (2, "")
    assert {path.name for path in tmp_path.iterdir()} == set(files)


def test_debug_adds_the_traceback(ae_train_process: Process) -> None:
    done = ae_train_process("x.csv", "--out=run", "--debug")
    first, *_, last = done.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == "ae-train: x.csv does not exist"


def test_a_table_with_a_gap_becomes_a_run_and_one_json_object(
    ae_train_process: Process, tmp_path: Path
) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(csv("a,b", "?,2", rows=39)))
    done = ae_train_process("x.csv.gz", "--out=run", "--json")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "x.csv.gz: separator ',', with a header",
        "x.csv.gz: 40 rows of 2 float64 (table), 1.2% missing",
    ]
    run, said = Run.load(tmp_path / "run"), json.loads(done.stdout)
    columns = [(column.name, column.integer) for column in run.schema.columns or []]
    assert columns == [("a", True), ("b", True)]
    assert said["model_id"] == run.model_id
    assert (said["run"], said["latent_dim"], said["epochs"]) == ("run", 2, 3)
    assert said["best_epoch"] == run.schema.best_epoch
    assert said["quality"]["test_mse"] == run.schema.quality.test_mse
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [line["epoch"] for line in metrics] == [0, 1, 2, 3]
    best = metrics[run.schema.best_epoch]
    assert best["validation_mse"] == run.schema.quality.validation_mse


def test_a_model_that_is_pca_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((100, 4)))
    done = CliRunner().invoke(ae_train, ["x.npy", "--out=run", "--latent=2", "--epochs=0"])
    assert done.exit_code == 0
    assert "the saved model is PCA: training found nothing better on validation rows" in (
        done.stdout.splitlines()
    )
    assert "(ratio 1.000)" in done.stdout


def test_an_interrupt_ends_in_one_line_with_the_best_model_saved(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((100, 4)))
    # A shell that runs tests in the background lets them ignore interrupts; a terminal does not.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ae_train.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "x.npy", "--out=run", "--latent=2"]
    command += ["--epochs=1000000", "--set=fit.patience=1000000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run.part" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    run = Run.load(tmp_path / "run")
    assert run.schema.stopped == "interrupt"
    assert stderr.splitlines() == [
        "x.npy: 100 rows of 4 float64 (table)",
        f"ae-train: interrupted after epoch {run.schema.epochs}; the best model so far is in run",
    ]
    assert stdout.splitlines()[-1] == "run written to run; next: ae-export run --out BUNDLE"
    assert not metrics.exists()
