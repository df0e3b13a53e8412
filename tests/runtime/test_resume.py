"""A killed run leaves no OUT, and the next call goes on to the bytes of an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import Autoencoder, batch, load
from ae_runtime.batch import Done, process_file
from ae_runtime.errors import OutputExists

ROWS = 2000
BLOCK_ROWS = 100
# Arguments: bundle, source, out, rows at which it kills itself (0: never). Says "go" when the
# first block of this try is done, so that a kill from outside does not land in the imports.
DRIVER = f"""
import os, signal, sys
from ae_runtime import batch, load
batch.BLOCK_ROWS, batch.NOTE_EVERY_S = {BLOCK_ROWS}, 0.0
bundle, source, out, kill_at = sys.argv[1:]
said = []
def progress(done, rows):
    if not said:
        said.append(print("go", flush=True))
    if done == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
batch.process_file(load(bundle, threads=1), "reconstruct", source, out, progress=progress)
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle, threads=1)


@pytest.fixture(autouse=True)
def small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "BLOCK_ROWS", BLOCK_ROWS)
    monkeypatch.setattr(batch, "NOTE_EVERY_S", 0.0)
    np.save("x.npy", rows(0))


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, 6))


def start(bundle: Path, source: str, out: str, kill_at: int = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", DRIVER, str(bundle), source, out, str(kill_at)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def killed(bundle: Path, source: str, out: str, at: int) -> None:
    process = start(bundle, source, out, at)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not Path(out).exists()


def uninterrupted(ae: Autoencoder, source: str, suffix: str) -> bytes:
    out = Path(f"whole{suffix}")
    process_file(ae, "reconstruct", source, out)
    raw = out.read_bytes()
    for path in Path().glob("whole*"):
        path.unlink()
    return raw


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def resume(ae: Autoencoder, source: str, out: str) -> tuple[Done, int]:
    """What became of it, and the rows that were done when its first block was."""
    seen: list[int] = []
    done = process_file(ae, "reconstruct", source, out, progress=lambda rows, _: seen.append(rows))
    assert seen[-1] == done.rows == ROWS
    return done, seen[0]


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_killed_run_goes_on(ae: Autoencoder, table_bundle: Path, suffix: str) -> None:
    whole = uninterrupted(ae, "x.npy", suffix)
    out = f"out{suffix}"
    killed(table_bundle, "x.npy", out, 700)
    assert names() == {"x.npy", f"{out}.part", f"{out}.part.json"}
    killed(table_bundle, "x.npy", out, 1500)  # which goes on, and is killed later
    with Path(f"{out}.part").open("ab") as file:
        file.write(b"what was written after the place was noted")
    done, first = resume(ae, "x.npy", out)
    # The kill came before the place was noted, so the last block is done again.
    assert (done.resumed_rows, first) == (1400, 1500)
    assert Path(out).read_bytes() == whole
    assert names() == {"x.npy", out, f"{out}.json"}


def test_a_run_killed_at_once_is_no_obstacle(ae: Autoencoder, table_bundle: Path) -> None:
    killed(table_bundle, "x.npy", "out.npy", BLOCK_ROWS)  # no place has been noted yet
    assert resume(ae, "x.npy", "out.npy")[0].resumed_rows == 0
    assert names() == {"x.npy", "out.npy", "out.npy.json"}


def test_a_killed_npz_starts_anew(ae: Autoencoder, table_bundle: Path) -> None:
    whole = uninterrupted(ae, "x.npy", ".npz")
    killed(table_bundle, "x.npy", "out.npz", 700)
    done, first = resume(ae, "x.npy", "out.npz")
    assert (done.resumed_rows, first) == (0, BLOCK_ROWS)
    assert Path("out.npz").read_bytes() == whole
    assert names() == {"x.npy", "out.npz"}


def test_a_killed_overwrite_leaves_the_old_output(ae: Autoencoder, table_bundle: Path) -> None:
    process_file(ae, "encode", "x.npy", "out.npy")
    old = Path("out.npy").read_bytes(), Path("out.npy.json").read_bytes()

    def kill(done: int, rows: int) -> None:
        if done == 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_file(ae, "reconstruct", "x.npy", "out.npy", overwrite=True, progress=kill)
    assert (Path("out.npy").read_bytes(), Path("out.npy.json").read_bytes()) == old
    assert process_file(ae, "reconstruct", "x.npy", "out.npy", overwrite=True).resumed_rows == 600
    assert Path("out.npy").read_bytes() == uninterrupted(ae, "x.npy", ".npy")


def change_time() -> str:
    os.utime("x.npy", ns=(1, 1))
    return "x.npy"


def change_rows() -> str:
    np.save("x.npy", rows(1))
    return "x.npy"


def other_member() -> str:
    return "both.npz:b"


@pytest.mark.parametrize("change", [change_time, change_rows, other_member])
def test_another_input_starts_anew(
    ae: Autoencoder, table_bundle: Path, change: Callable[[], str]
) -> None:
    np.savez("both.npz", a=rows(0), b=rows(1))
    first = "both.npz:a" if change is other_member else "x.npy"
    killed(table_bundle, first, "out.npy", 700)
    source = change()
    done, _ = resume(ae, source, "out.npy")
    assert done.resumed_rows == 0
    assert Path("out.npy").read_bytes() == uninterrupted(ae, source, ".npy")


def test_another_model_or_verb_starts_anew(
    ae: Autoencoder, table_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    killed(table_bundle, "x.npy", "out.npy", 700)
    other = load(rewrite(table_bundle, edit=lambda fields: fields.update(model_id="0" * 64)))
    assert resume(other, "x.npy", "out.npy")[0].resumed_rows == 0
    killed(table_bundle, "x.npy", "z.npy", 700)
    assert process_file(ae, "encode", "x.npy", "z.npy").resumed_rows == 0
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(rows(0)))


@pytest.mark.parametrize("lost", ["part", "end of part"])
def test_a_part_that_lost_bytes_starts_anew(ae: Autoencoder, table_bundle: Path, lost: str) -> None:
    whole = uninterrupted(ae, "x.npy", ".npy")
    killed(table_bundle, "x.npy", "out.npy", 700)
    part = Path("out.npy.part")
    if lost == "part":
        part.unlink()
    else:
        os.truncate(part, 600)
    assert resume(ae, "x.npy", "out.npy")[0].resumed_rows == 0
    assert Path("out.npy").read_bytes() == whole


def test_a_part_without_its_journal_is_not_taken(ae: Autoencoder, table_bundle: Path) -> None:
    killed(table_bundle, "x.npy", "out.npy", 700)
    Path("out.npy.part.json").write_text("{}")
    with pytest.raises(OutputExists) as error:
        process_file(ae, "reconstruct", "x.npy", "out.npy")
    assert str(error.value) == "out.npy.part is in the way and not ours; move it"


def test_an_interrupt_keeps_what_is_done(ae: Autoencoder) -> None:
    def interrupt(done: int, rows: int) -> None:
        if done == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_file(ae, "reconstruct", "x.npy", "out.csv", progress=interrupt)
    assert names() == {"x.npy", "out.csv.part", "out.csv.part.json"}
    assert resume(ae, "x.npy", "out.csv")[0].resumed_rows == 400


def kill_at_random(bundle: Path, out: str, whole: bytes, kills: int, seed: int) -> None:
    """Kill at `kills` random moments after a try's first block; every OUT that appears is whole.

    The last try, after the last kill, is left to finish.
    """
    random, longest_s = np.random.default_rng(seed), 0.0
    beside = set() if out.endswith(".npz") else {f"{out}.json"}
    killed_times = -1  # the first try only shows how long one takes
    while killed_times < kills or not Path(out).exists():
        if Path(out).exists():
            Path(out).unlink()
        process = start(bundle, "x.npy", out)
        assert process.stdout is not None
        said = process.stdout.readline()  # nothing if the kill before it came after all rows
        started = time.monotonic()
        if said and 0 <= killed_times < kills:
            time.sleep(random.uniform(0, longest_s))
            process.kill()
        process.communicate()
        longest_s = max(longest_s, time.monotonic() - started)
        if Path(out).exists():
            assert Path(out).read_bytes() == whole
        if process.returncode == 0:
            assert names() == {"x.npy", out} | beside
            killed_times = max(killed_times, 0)
        else:
            assert process.returncode == -signal.SIGKILL
            killed_times += 1


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_kills_at_random_moments(ae: Autoencoder, table_bundle: Path, suffix: str) -> None:
    whole = uninterrupted(ae, "x.npy", suffix)
    kill_at_random(table_bundle, f"out{suffix}", whole, kills=3, seed=0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_many_kills_at_random_moments(
    ae: Autoencoder, table_bundle: Path, suffix: str, seed: int
) -> None:
    whole = uninterrupted(ae, "x.npy", suffix)
    kill_at_random(table_bundle, f"out{suffix}", whole, kills=30, seed=seed)
