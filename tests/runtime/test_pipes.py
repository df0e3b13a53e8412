"""ae-run between pipes: rows on stdin and stdout, everything else on stderr."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import Autoencoder, load

AE_RUN = "from ae_runtime.cli import main; main()"
NAMES = "far,tiny,gaps,constant,empty,count"


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle, threads=1)


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def ae_run(*words: object, stdin: bytes = b"") -> tuple[int, bytes, str]:
    command = [sys.executable, "-c", AE_RUN, *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def npy(x: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def csv_of(x: np.ndarray) -> bytes:
    lines = [NAMES, *(",".join(map(repr, row)) for row in x.tolist())]
    return ("\n".join(lines) + "\n").encode()


def rows(n: int = 50) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 6))


def test_npy_in_npy_out(ae: Autoencoder, table_bundle: Path) -> None:
    for words in ([], ["--from", "npy"], ["--to", "npy"]):
        found = ae_run("encode", table_bundle, "-", "--out", "-", *words, stdin=npy(rows()))
        assert found == (0, npy(ae.encode(rows())), "")


def test_csv_in_csv_out(ae: Autoencoder, table_bundle: Path) -> None:
    Path("x.csv").write_bytes(csv_of(rows()))
    assert ae_run("encode", table_bundle, "x.csv", "--out", "z.csv")[0] == 0
    for words in (["-"], ["-", "--from", "csv"], ["x.csv"]):
        stdin = csv_of(rows()) if words[0] == "-" else b""
        code, out, err = ae_run("encode", table_bundle, *words, "--out", "-", stdin=stdin)
        assert (code, out) == (0, Path("z.csv").read_bytes())
        assert err == f"{words[0]}: separator ',', with a header\n"


def test_a_chain_of_pipes(ae: Autoencoder, table_bundle: Path) -> None:
    z = ae_run("encode", table_bundle, "-", "--out", "-", stdin=npy(rows()))[1]
    code, x_hat, err = ae_run("decode", table_bundle, "-", "--out", "-", stdin=z)
    assert (code, x_hat, err) == (0, npy(ae.reconstruct(rows())), "")


def test_other_types_of_input_and_output(ae: Autoencoder, table_bundle: Path) -> None:
    np.save("x.npy", rows())
    code, out, _ = ae_run("encode", table_bundle, "x.npy", "--out", "-", "--to", "csv")
    assert code == 0
    assert out.decode().splitlines()[0] == "z0,z1"
    assert ae_run("encode", table_bundle, "-", "--out", "z.npz", stdin=npy(rows()))[0] == 0
    with np.load("z.npz") as archive:
        np.testing.assert_array_equal(archive["z"], ae.encode(rows()))


def test_a_file_from_a_pipe_cannot_be_gone_on_with(table_bundle: Path) -> None:
    raw = npy(rows())
    code, out, err = ae_run("encode", table_bundle, "-", "--out", "z.npy", stdin=raw[:-9])
    assert (code, out) == (1, b"")
    assert err.count("\n") == 1
    assert list(Path().iterdir()) == []  # nothing to go on with is kept
    assert ae_run("encode", table_bundle, "-", "--out", "z.npy", stdin=raw)[0] == 0


def test_no_rows(table_bundle: Path) -> None:
    found = ae_run("encode", table_bundle, "-", "--out", "-", stdin=npy(np.empty((0, 6))))
    assert found == (0, npy(np.empty((0, 2), np.float32)), "")


def test_what_npy_cannot_say_first(table_bundle: Path) -> None:
    words = ["encode", table_bundle, "-", "--out", "-", "--to", "npy"]
    assert ae_run(*words, stdin=csv_of(rows())) == (
        2,
        b"",
        "ae-run: -: how many rows there are is known at the end, and a .npy says it first; "
        "write --to csv, or to a file with --out FILE.npy\n",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("- --out - --json", "--json and --out - both write to stdout; choose one of them"),
        (
            "- --out - --on-error skip",
            "--on-error skip lists rows beside the output; give it a file, with --out FILE",
        ),
        (
            "- --out - --to parquet",
            "a .parquet cannot be written to stdout; use npy or csv, or --out FILE",
        ),
        ("x.npy y.npy --out -", "several inputs need a folder: --out FOLDER"),
        ("- y.npy --out z", "stdin goes alone, not with other inputs"),
        (
            "x.npy --out z.npy --from npy",
            "--from is what stdin holds; a file's name says its type",
        ),
        (
            "x.npy --out z.npy --to npy",
            "--to is for stdout and for folders; a file's name says its type",
        ),
    ],
)
def test_words_that_do_not_go_together(table_bundle: Path, words: str, line: str) -> None:
    np.save("x.npy", rows())
    assert ae_run("encode", table_bundle, *words.split()) == (2, b"", f"ae-run: {line}\n")


def test_a_bad_row_ends_the_output_where_it_is(table_bundle: Path) -> None:
    x = rows(70_000)
    x[69_000, 0] = np.inf
    code, out, err = ae_run("encode", table_bundle, "-", "--out", "-", stdin=npy(x))
    assert (code, err) == (
        2,
        "ae-run: -: row 69001, column 'far' is infinite; correct it, or write NaN for a missing "
        "value\n",
    )
    assert out.startswith(b"\x93NUMPY")
    assert len(out) < 128 + 70_000 * 8


@pytest.mark.parametrize("words", [[], ["--to", "csv"]])
def test_a_reader_that_goes_away_ends_the_work_in_silence(
    table_bundle: Path, words: list[str]
) -> None:
    np.save("x.npy", rows(200_000))
    command = [sys.executable, "-c", AE_RUN, "encode", str(table_bundle), "x.npy", "--out", "-"]
    with subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (1, b"")


def test_a_full_disk_behind_stdout(table_bundle: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    np.save("x.npy", rows())
    command = [sys.executable, "-c", AE_RUN, "encode", str(table_bundle), "x.npy", "--out", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        b"ae-run: stdout could not be written: the disk is full; free some space\n",
    )


@pytest.mark.parametrize("sent", [b"", npy(rows(1000))[:5000]])
def test_an_interrupt_ends_a_wait_for_rows(table_bundle: Path, sent: bytes) -> None:
    # A background job may ignore interrupts. "go" is said when all is imported.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from ae_runtime import cli; import os; os.write(2, b'go\\n'); cli.main()"
    )
    words = [sys.executable, "-c", program, "encode", str(table_bundle), "-", "--out", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(sent)
        process.stdin.flush()
        assert process.stderr.readline() == b"go\n"
        time.sleep(0.3)  # until it waits for rows, which nothing shows
        process.send_signal(signal.SIGINT)
        process.wait(30)  # stdin is still open
        err = process.stderr.read()
        process.stdin.close()
    assert process.returncode == 1
    assert err.strip() == b"ae-run: interrupted"  # click ends the line of a ^C
