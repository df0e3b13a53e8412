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

from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import InputFailed, OutputExists
from ae_runtime.files.jobs import journal
from ae_runtime.files.jobs.job import JobResult
from ae_runtime.model.model import Model

ROWS = 2000
BLOCK_ROWS = 100
# Arguments: bundle, source, out, rows at which it kills itself (0: never), threads. Says "go" when
# the first block of this try is done, so that a kill from outside does not land in the imports.
DRIVER = f"""
import os, signal, sys
from ae_runtime import Autoencoder
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.files.jobs import journal
from ae_runtime.model.model import Model
journal.NOTE_EVERY_S = 0.0
bundle, source, out, kill_at, threads = sys.argv[1:]
said = []
def progress(done, rows):
    if not said:
        said.append(print("go", flush=True))
    if done == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
ae = Autoencoder(Model(open_bundle(bundle), threads=int(threads), block_rows={BLOCK_ROWS}))
ae.reconstruct_file(source, out, progress=progress)
"""


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return blocked(table_bundle)


def blocked(bundle: Path, **options: int) -> Autoencoder:
    return Autoencoder(
        Model(open_bundle(bundle), **{"threads": 1, "block_rows": BLOCK_ROWS} | options)
    )


@pytest.fixture(autouse=True)
def small_blocks(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)
    np.save("x.npy", rows(0))


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, 6))


def start(
    bundle: Path, source: str, out: str, kill_at: int = 0, threads: int = 1
) -> subprocess.Popen[str]:
    words = [str(bundle), source, out, str(kill_at), str(threads)]
    arguments = [sys.executable, "-c", DRIVER, *words]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def killed(bundle: Path, source: str, out: str, at: int, threads: int = 1) -> None:
    process = start(bundle, source, out, at, threads)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not Path(out).exists()


def uninterrupted(ae: Autoencoder, source: str, suffix: str) -> bytes:
    out = Path(f"whole{suffix}")
    ae.reconstruct_file(source, out)
    raw = out.read_bytes()
    for path in Path().glob("whole*"):
        path.unlink()
    return raw


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def resume(ae: Autoencoder, source: str, out: str) -> tuple[JobResult, int]:
    """What became of it, and the rows that were done when its first block was."""
    seen: list[int] = []
    done = ae.reconstruct_file(source, out, progress=lambda rows, _: seen.append(rows))
    assert seen[-1] == done.rows == ROWS
    return done, seen[0]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_a_killed_run_goes_on(ae: Autoencoder, table_bundle: Path, suffix: str) -> None:
    whole = uninterrupted(ae, "x.npy", suffix)
    out = f"out{suffix}"
    killed(table_bundle, "x.npy", out, 700)
    # The kill may have come while the journal was written anew.
    left = names() - {f"{out}.part.json.part"}
    assert left == {"x.npy", f"{out}.part", f"{out}.part.json"}
    killed(table_bundle, "x.npy", out, 1500)  # which goes on, and is killed later
    with Path(f"{out}.part").open("ab") as file:
        file.write(b"what was written after the place was noted")
    done, first = resume(ae, "x.npy", out)
    # The kill came before the place was noted, and maybe while the one before it was.
    assert done.resumed_rows in (1300, 1400)
    assert first == done.resumed_rows + BLOCK_ROWS
    assert Path(out).read_bytes() == whole
    assert names() == {"x.npy", out} | ({f"{out}.json"} if suffix != ".npz" else set())


def test_a_run_killed_at_once_is_no_obstacle(ae: Autoencoder, table_bundle: Path) -> None:
    killed(table_bundle, "x.npy", "out.npy", BLOCK_ROWS)  # no place has been noted yet
    assert resume(ae, "x.npy", "out.npy")[0].resumed_rows == 0
    assert names() == {"x.npy", "out.npy", "out.npy.json"}


def test_a_killed_overwrite_leaves_the_old_output(ae: Autoencoder, table_bundle: Path) -> None:
    ae.encode_file("x.npy", "out.npy")
    old = Path("out.npy").read_bytes(), Path("out.npy.json").read_bytes()

    def kill(done: int, rows: int) -> None:
        if done == 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ae.reconstruct_file("x.npy", "out.npy", overwrite=True, progress=kill)
    assert (Path("out.npy").read_bytes(), Path("out.npy.json").read_bytes()) == old
    assert ae.reconstruct_file("x.npy", "out.npy", overwrite=True).resumed_rows == 700
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
    other = blocked(rewrite(table_bundle, edit=lambda fields: fields.update(model_id="0" * 64)))
    assert resume(other, "x.npy", "out.npy")[0].resumed_rows == 0
    killed(table_bundle, "x.npy", "z.npy", 700)
    assert ae.encode_file("x.npy", "z.npy").resumed_rows == 0
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
        ae.reconstruct_file("x.npy", "out.npy")
    assert str(error.value) == "out.npy.part is in the way and not ours; move it"


# What version 0.1.0 writes beside OUT.part. It stands here as text: where these fields or their
# meaning change, what users have left is lost, or must be refused in words of its own.
JOURNAL = """{"job": {"verb": "reconstruct", "model_id": "MODEL", "input": "INPUT",
"id_column": null, "stride": null, "on_error": "stop", "tile": 256, "block": 100},
"place": {"first": 700, "position": POSITION, "rows": 700, "bytes": BYTES, "skipped": 0,
"skipped_bytes": 0, "listed": 700, "steps": null, "done": false}}"""


def leave_700_rows(ae: Autoencoder, source: str, position: int, written: bytes) -> None:
    """What that version leaves of reconstruct: with some bytes of a block that is not whole."""
    status, out = os.stat(source), f"out{Path(source).suffix}"
    text = JOURNAL.replace("MODEL", ae.model_id).replace("POSITION", str(position))
    text = text.replace("INPUT", f"{Path(source).absolute()} {status.st_size}-{status.st_mtime_ns}")
    Path(f"{out}.part.json").write_text(text.replace("BYTES", str(len(written))))
    Path(f"{out}.part").write_bytes(written + b"12.5,1")


def test_an_array_that_version_0_1_0_left_goes_on(ae: Autoencoder) -> None:
    whole = uninterrupted(ae, "x.npy", ".npy")
    header = len(whole) - ROWS * 6 * 8
    leave_700_rows(ae, "x.npy", 0, whole[: header + 700 * 6 * 8])
    done, first = resume(ae, "x.npy", "out.npy")
    assert (done.resumed_rows, first) == (700, 800)
    assert Path("out.npy").read_bytes() == whole


def test_text_that_version_0_1_0_left_goes_on(ae: Autoencoder) -> None:
    lines = ["far,tiny,gaps,constant,empty,count", *(",".join(map(str, row)) for row in rows(0))]
    Path("x.csv").write_text("\n".join(lines))
    whole = uninterrupted(ae, "x.csv", ".csv")
    position = len("\n".join(lines[:701])) + 1  # of row 700 in the input
    leave_700_rows(ae, "x.csv", position, b"".join(whole.splitlines(keepends=True)[:701]))
    done, first = resume(ae, "x.csv", "out.csv")
    assert (done.resumed_rows, first) == (700, 800)
    assert Path("out.csv").read_bytes() == whole


def test_a_part_of_another_form_is_refused_and_left(ae: Autoencoder) -> None:
    """As a version would leave it whose journal has another field, older or newer than this."""
    leave_700_rows(ae, "x.npy", 0, bytes(1000))
    journal_file = Path("out.npy.part.json")
    journal_file.write_text(journal_file.read_text().replace('"listed"', '"looked_at"'))
    before = {name: Path(name).read_bytes() for name in names()}
    for overwrite in (False, True):
        with pytest.raises(OutputExists) as error:
            ae.reconstruct_file("x.npy", "out.npy", overwrite=overwrite)
        assert str(error.value) == "out.npy.part is in the way and not ours; move it"
    assert {name: Path(name).read_bytes() for name in names()} == before


def test_an_interrupt_keeps_what_is_done(ae: Autoencoder) -> None:
    def interrupt(done: int, rows: int) -> None:
        if done == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ae.reconstruct_file("x.npy", "out.csv", progress=interrupt)
    assert names() == {"x.npy", "out.csv.part", "out.csv.part.json"}
    assert resume(ae, "x.npy", "out.csv")[0].resumed_rows == 500


def kill_at_random(
    bundle: Path, source: str, out: str, whole: bytes, kills: int, seed: int, threads: int
) -> None:
    """Kill at `kills` random moments after a try's first block; every OUT that appears is whole.

    The last try, after the last kill, is left to finish.
    """
    random, longest_s = np.random.default_rng(seed), 0.0
    beside = set() if out.endswith(".npz") else {f"{out}.json"}
    killed_times = -1  # the first try only shows how long one takes
    while killed_times < kills or not Path(out).exists():
        if Path(out).exists():
            Path(out).unlink()
        process = start(bundle, source, out, threads=threads)
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
            assert names() == {source, out} | beside
            killed_times = max(killed_times, 0)
        else:
            assert process.returncode == -signal.SIGKILL
            killed_times += 1


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_kills_at_random_moments(ae: Autoencoder, table_bundle: Path, suffix: str) -> None:
    whole = uninterrupted(ae, "x.npy", suffix)
    out = f"out{suffix}"
    kill_at_random(table_bundle, "x.npy", out, whole, kills=2, seed=0, threads=2)


@pytest.mark.soak
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_50_kills_at_random_moments(
    ae: Autoencoder, table_bundle: Path, suffix: str, threads: int
) -> None:
    """Of which the plain run above does 2 for each type, with 2 threads."""
    whole = uninterrupted(ae, "x.npy", suffix)
    out = f"out{suffix}"
    kill_at_random(table_bundle, "x.npy", out, whole, kills=50, seed=threads, threads=threads)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_other_threads_go_on_to_the_same_bytes(
    ae: Autoencoder, table_bundle: Path, suffix: str
) -> None:
    whole, out = uninterrupted(ae, "x.npy", suffix), f"out{suffix}"
    for threads, at in ((4, 300), (1, 900), (2, 1400)):
        killed(table_bundle, "x.npy", out, at, threads)
    assert resume(ae, "x.npy", out)[0].resumed_rows >= 1200
    assert Path(out).read_bytes() == whole


def test_another_tile_starts_anew(ae: Autoencoder, table_bundle: Path) -> None:
    """Not every operator gives the same bits in tiles of another size."""
    killed(table_bundle, "x.npy", "out.npy", 700)
    other = blocked(table_bundle, tile=16)
    assert resume(other, "x.npy", "out.npy")[0].resumed_rows == 0


def test_an_input_that_ends_early_keeps_what_is_done(ae: Autoencoder) -> None:
    """As on a disk that fails: the header promises rows that cannot be read."""
    whole, raw = uninterrupted(ae, "x.npy", ".npy"), Path("x.npy").read_bytes()
    status = os.stat("x.npy")
    at = 128 + 1250 * 6 * 8

    def cut(done: int, rows: int | None) -> None:
        if done == 100:
            os.truncate("x.npy", at)

    with pytest.raises(InputFailed) as error:
        ae.reconstruct_file("x.npy", "out.npy", progress=cut)
    assert str(error.value).startswith("x.npy")
    assert error.value.exit_code == 1
    Path("x.npy").write_bytes(raw)
    os.utime("x.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert resume(ae, "x.npy", "out.npy")[0].resumed_rows == 1200
    assert Path("out.npy").read_bytes() == whole


@pytest.mark.parametrize("size", [1, 7, 64, 1999, 2000, 2001])
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".npz"])
def test_blocks_of_any_size_give_the_same_bytes(
    ae: Autoencoder, table_bundle: Path, suffix: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size == 1:
        np.save("x.npy", rows(0)[:64])
    whole, out = uninterrupted(ae, "x.npy", suffix), f"out{suffix}"
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 1.0)
    ae = blocked(table_bundle, block_rows=size)
    seen: list[int] = []

    def interrupt(done: int, rows: int | None) -> None:
        seen.append(done)
        if done >= 40:
            raise KeyboardInterrupt

    other = blocked(table_bundle, threads=3, block_rows=size)
    with pytest.raises(KeyboardInterrupt):
        other.reconstruct_file("x.npy", out, progress=interrupt)
    done = ae.reconstruct_file("x.npy", out)
    assert done.resumed_rows == seen[-1] // size * size
    assert Path(out).read_bytes() == whole
