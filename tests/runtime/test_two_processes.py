"""Two processes that want one output: one gets it, the other a line; nothing is mixed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import OutputExists
from ae_runtime.model.model import Model

BUSY = "{out}.part is being written by another process; wait for it, or choose another output"
# Arguments: bundle, out, "" or a moment to wait at. Says "go" there, and waits for a line.
DRIVER = """
import sys
from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.model.model import Model
from ae_runtime.errors import OutputExists
bundle, out, wait_at = sys.argv[1:]
def progress(done, rows):
    if done == int(wait_at):
        print("go", flush=True)
        sys.stdin.readline()
ae = Autoencoder(Model(open_bundle(bundle), threads=1, block_rows=50))
try:
    ae.encode_file("x.npy", out, progress=progress)
except OutputExists as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return Autoencoder(Model(open_bundle(table_bundle), threads=1, block_rows=50))


@pytest.fixture(autouse=True)
def small_blocks(in_tmp_path: Path) -> None:
    np.save("x.npy", np.random.default_rng(0).standard_normal((500, 6)))


def start(bundle: Path, out: str, wait_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(bundle), out, str(wait_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("out", ["z.npy", "z.npz", "z.csv"])
def test_the_second_is_refused_and_the_first_goes_on(
    ae: Autoencoder, table_bundle: Path, out: str
) -> None:
    ae.encode_file("x.npy", f"whole.{out}")
    with start(table_bundle, out, wait_at=200) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "go\n"
        for overwrite in (False, True):
            with pytest.raises(OutputExists) as error:
                ae.encode_file("x.npy", out, overwrite=overwrite)
            assert str(error.value) == BUSY.format(out=out)
        first.communicate("on\n")
    assert first.returncode == 0
    assert Path(out).read_bytes() == Path(f"whole.{out}").read_bytes()
    assert not list(Path().glob("*.part*"))


def test_threads_of_one_process_are_kept_apart_too(ae: Autoencoder) -> None:
    found: list[str] = []

    def second(done: int, rows: int | None) -> None:
        def work() -> None:
            try:
                ae.encode_file("x.npy", "z.npy")
            except OutputExists as error:
                found.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    ae.encode_file("x.npy", "z.npy", progress=second)
    assert found == [BUSY.format(out="z.npy")] * 10
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(np.load("x.npy")))


def test_after_a_kill_the_output_is_free_again(ae: Autoencoder, table_bundle: Path) -> None:
    with start(table_bundle, "z.npy", wait_at=200) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "go\n"
        first.kill()
    ae.encode_file("x.npy", "z.npy")
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(np.load("x.npy")))


def test_an_empty_part_of_a_process_that_was_killed_is_no_obstacle(ae: Autoencoder) -> None:
    Path("z.npy.part").touch()
    ae.encode_file("x.npy", "z.npy")
    assert {path.name for path in Path().iterdir()} == {"x.npy", "z.npy", "z.npy.json"}


def test_many_at_once(ae: Autoencoder, table_bundle: Path) -> None:
    processes = [start(table_bundle, "z.npy", wait_at=0) for _ in range(4)]
    said = [process.communicate()[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 3, 3, 3]  # one wrote it; the others came while it did, or after
    exists = "z.npy exists already; --overwrite replaces it"
    assert {line for line in "".join(said).splitlines()} <= {BUSY.format(out="z.npy"), exists}
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(np.load("x.npy")))
    assert {path.name for path in Path().iterdir()} == {"x.npy", "z.npy", "z.npy.json"}
