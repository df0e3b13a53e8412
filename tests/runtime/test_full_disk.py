"""A disk that fills up costs one line and exit code 1; what was done is kept and gone on with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import AeError, OutputFailed
from ae_runtime.files.jobs import journal
from ae_runtime.files.writers import opening
from ae_runtime.files.writers.layout import Chunk
from ae_runtime.model.model import Model

OUTS = ["out.npy", "out.npz", "out.csv"]
# As ae-run with small blocks, in a process whose files may not grow past 20 kB.
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from ae_runtime.model import plan
plan.MAX_BLOCK_ROWS = 200
from ae_runtime.cli import main
main()
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return Autoencoder(Model(open_bundle(table_bundle), threads=1, block_rows=200))


@pytest.fixture(autouse=True)
def files(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)
    np.save("x.npy", np.random.default_rng(0).standard_normal((500, 6)))


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def done_without_trouble(ae: Autoencoder, out: str) -> bytes:
    ae.reconstruct_file("x.npy", f"whole.{out}")
    raw = Path(f"whole.{out}").read_bytes()
    for path in Path().glob("whole*"):
        path.unlink()
    return raw


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("out", OUTS)
def test_a_file_that_may_not_grow(ae: Autoencoder, table_bundle: Path, out: str) -> None:
    whole = done_without_trouble(ae, out)
    ae.encode_file("x.npy", out)  # an older output, to stay
    before = contents()
    words = ["reconstruct", str(table_bundle), "x.npy", "--out", out, "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ae-run: {out} could not be written: the file would be larger than this system allows\n"
    )
    after = contents()
    assert set(after) - set(before) == {f"{out}.part", f"{out}.part.json"}
    assert {name: after[name] for name in before} == before
    resumed = ae.reconstruct_file("x.npy", out, overwrite=True).resumed_rows
    assert resumed == (200 if out == "out.csv" else 400)  # 200 rows are 18 kB, or 9.6
    assert Path(out).read_bytes() == whole
    assert set(contents()) == set(before)


def full_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, stays: bool = True
) -> list[int]:
    """Let call `number` of owner.name, and all after it if `stays`, find the disk full.

    Only calls that write count. Returns a list that grows with them.
    """
    calls: list[int] = []
    real = getattr(owner, name)

    def full(*arguments: Any, **named: Any) -> Any:
        if name == "open" and "rb" in (*arguments[1:], *named.values()):
            return real(*arguments, **named)
        calls.append(len(calls) + 1)
        if len(calls) == number or (stays and len(calls) > number):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, full)
    return calls


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize(
    ("owner", "name", "stays"),
    # A rename that fails is put right by another.
    [(os, "fsync", True), (os, "open", True), (Path, "open", True), (Path, "replace", False)],
)
def test_a_disk_that_is_full_at_any_step(
    ae: Autoencoder,
    out: str,
    older: bool,
    owner: Any,
    name: str,
    stays: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        steps = full_at(patch, owner, name, 10**9)
        ae.reconstruct_file("x.npy", out)
    whole = Path(out).read_bytes()
    assert steps
    resumed = set()
    for number in steps:
        for path in Path().glob("out*"):
            path.unlink()
        if older:
            ae.encode_file("x.npy", out)
        before = contents()
        with monkeypatch.context() as patch:
            full_at(patch, owner, name, number, stays)
            with pytest.raises(OutputFailed) as error:
                ae.reconstruct_file("x.npy", out, overwrite=True)
        assert str(error.value) == f"{out} could not be written: the disk is full; free some space"
        after = contents()
        assert {name: after[name] for name in before} == before
        assert set(after) - set(before) <= {f"{out}.part", f"{out}.part.json", f"{out}.part.part"}
        done = ae.reconstruct_file("x.npy", out, overwrite=True)
        resumed.add(done.resumed_rows)
        assert Path(out).read_bytes() == whole
        assert len(contents()) == (2 if out.endswith(".npz") else 3)  # x.npy, out, its sidecar
    assert max(resumed) >= (0 if owner is os and name == "open" else 400)


@pytest.mark.parametrize("out", OUTS)
def test_a_disk_that_is_full_in_the_middle_of_a_block(
    ae: Autoencoder, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer: Any = opening.writer_for(Path(out))
    real, whole = writer.write, done_without_trouble(ae, out)
    written: list[int] = []

    def write_half_of_the_second(self: Any, chunk: Chunk) -> None:
        written.append(chunk.rows)
        if len(written) < 2:
            return real(self, chunk)
        values = chunk.values
        assert isinstance(values, np.ndarray)
        real(self, Chunk(values[: len(values) // 2]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write", write_half_of_the_second)
        with pytest.raises(OutputFailed) as error:
            ae.reconstruct_file("x.npy", out)
    assert str(error.value) == f"{out} could not be written: the disk is full; free some space"
    assert ae.reconstruct_file("x.npy", out).resumed_rows == 200
    assert Path(out).read_bytes() == whole


class Broken(Exception):
    """Not one of ours."""


@pytest.mark.parametrize("error", [MemoryError, Broken, AeError])
@pytest.mark.parametrize("out", OUTS)
def test_any_other_failure_leaves_nothing_either(
    ae: Autoencoder, out: str, error: type[Exception]
) -> None:
    def fail(done: int, rows: int | None) -> None:
        if done == 400:
            raise error

    before = contents()
    progress: Callable[[int, int | None], None] = fail
    with pytest.raises(error):
        ae.reconstruct_file("x.npy", out, progress=progress)
    assert contents() == before
