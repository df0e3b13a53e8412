"""Run folders: every case of --out, full disks, and folders that are damaged."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ae_runtime.errors import RunError
from ae_train.run.folder import Run

Command = Callable[..., tuple[int, list[str]]]
Process = Callable[..., subprocess.CompletedProcess[str]]
READ = "rows.npy: 100 rows of 4 float64 (table)"
OUT = ["rows.npy", "--out", "run"]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_absent_is_made(ae_train: Command, tmp_path: Path) -> None:
    assert ae_train(*OUT) == (0, [READ])
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "recipe.toml",
        "schema.json",
        "model.safetensors",
        "scorer.safetensors",
        "sampler.safetensors",
        "probe.npz",
        "split.npz",
        "metrics.jsonl",
        "report.html",
    }
    run = Run.load(tmp_path / "run")
    assert (run.recipe.latent_dim, run.schema.rows["train"]) == (2, 80)


def test_an_empty_folder_counts_as_absent(ae_train: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert ae_train(*OUT) == (0, [READ])
    assert not (tmp_path / "run.part").exists()


def test_complete_is_refused_unless_overwrite(ae_train: Command, tmp_path: Path) -> None:
    ae_train(*OUT)
    before = tree(tmp_path)
    refused = (2, ["ae-train: run exists already; --overwrite replaces it"])
    assert ae_train(*OUT, "--seed=3") == refused
    assert ae_train(*OUT, "--seed=3", "--resume") == refused
    assert tree(tmp_path) == before
    assert ae_train(*OUT, "--seed=3", "--overwrite") == (0, [READ])
    assert Run.load(tmp_path / "run").recipe.seed == 3
    assert tree(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("flag", [[], ["--overwrite"], ["--resume"]])
@pytest.mark.parametrize("what", ["file", "folder", "bundle", "torn run"])
def test_not_ours_is_refused_always(
    ae_train: Command, tmp_path: Path, what: str, flag: list[str]
) -> None:
    if what == "torn run":
        ae_train(*OUT)
        (tmp_path / "run" / "schema.json").unlink()
    elif what == "file":
        (tmp_path / "run").write_text("thesis")
    else:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ("a" if what == "folder" else "manifest.json")).write_text("{}")
    before = tree(tmp_path)
    message = "run exists and is not a run of ae-train; it is never overwritten, choose another"
    assert ae_train(*OUT, *flag) == (2, [f"ae-train: {message}"])
    assert tree(tmp_path) == before


def test_unfinished_wants_resume_or_overwrite(ae_train: Command, tmp_path: Path) -> None:
    ae_train(*OUT)
    finished = tree(tmp_path)
    (tmp_path / "run").rename(tmp_path / "run.part")
    for name in ("schema.json", "model.safetensors"):
        (tmp_path / "run.part" / name).unlink()
    before = tree(tmp_path)
    message = "run.part holds an unfinished run; --resume goes on with it, --overwrite starts anew"
    assert ae_train(*OUT) == (2, [f"ae-train: {message}"])
    assert tree(tmp_path) == before
    shutil.copytree("run.part", "copy")
    assert ae_train(*OUT, "--overwrite") == (0, [READ])
    shutil.rmtree("run")
    (tmp_path / "copy").rename("run.part")
    assert ae_train(*OUT, "--resume") == (0, [READ])
    assert tree(tmp_path) == finished


def test_nothing_to_resume(ae_train: Command, tmp_path: Path) -> None:
    message = "there is no unfinished run run.part to resume; leave out --resume"
    assert ae_train(*OUT, "--resume") == (2, [f"ae-train: {message}"])
    assert not (tmp_path / "run").exists()


def test_resume_and_overwrite_exclude_each_other(ae_train: Command) -> None:
    message = "ae-train: --resume and --overwrite exclude each other"
    assert ae_train(*OUT, "--resume", "--overwrite") == (2, [message])


def test_the_parent_folder_must_exist(ae_train: Command, tmp_path: Path) -> None:
    before = tree(tmp_path) | {"rows.npy": b"", "other.npy": b""}
    message = "no/run: the folder no does not exist; make it first"
    assert ae_train("rows.npy", "--out", "no/run") == (2, [f"ae-train: {message}"])
    assert tree(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
def test_a_part_that_is_not_ours_stays(
    ae_train: Command, tmp_path: Path, what: str, flag: list[str]
) -> None:
    part = tmp_path / "run.part"
    if what == "file":
        part.write_text("thesis")
    else:
        part.mkdir()
        (part / "a").write_text("thesis")
    before = tree(tmp_path)
    message = "ae-train: run.part is in the way and not ours; move it"
    assert ae_train(*OUT, *flag) == (2, [message])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("left", [[], ["recipe.toml.part"]])
def test_what_a_kill_at_the_very_start_leaves_is_no_hindrance(
    ae_train: Command, tmp_path: Path, left: list[str]
) -> None:
    (tmp_path / "run.part").mkdir()
    for name in left:
        (tmp_path / "run.part" / name).write_text("latent_")
    assert ae_train(*OUT) == (0, [READ])
    assert not (tmp_path / "run.part").exists()


# 100 bytes: not even the recipe; 600: not the first weights.
@pytest.mark.parametrize(("most_bytes", "flag"), [(100, []), (600, ["--overwrite"])])
def test_a_full_disk(
    ae_train: Command,
    ae_train_process: Process,
    tmp_path: Path,
    most_bytes: int,
    flag: list[str],
) -> None:
    if flag:
        ae_train(*OUT)
    before = tree(tmp_path)
    done = ae_train_process(
        *OUT,
        *flag,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    message = "run could not be written: the file would be larger than this system allows"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [READ, f"ae-train: {message}"]
    assert tree(tmp_path) == before


def test_a_saved_run_is_the_run(finished: Run) -> None:
    assert finished.folder is not None
    loaded = Run.load(finished.folder)
    assert (loaded.recipe, loaded.schema) == (finished.recipe, finished.schema)
    assert loaded.model_id == finished.model_id
    np.testing.assert_array_equal(loaded.probe[0], finished.probe[0])
    np.testing.assert_array_equal(loaded.split.test, finished.split.test)
    assert not loaded.model.training
    x = torch.from_numpy(finished.probe[0])
    assert torch.equal(loaded.model.encode(x), finished.model.encode(x))


def test_the_probe_is_held_out(finished: Run, rows: np.ndarray) -> None:
    np.testing.assert_array_equal(finished.probe[0], rows[finished.split.test])


NPZ = "{run} is damaged ({name} is not a readable .npz archive); train again"
MISSING = "{run} is damaged ([Errno 2] No such file or directory: '{run}/{name}'); train again"
NO_RUN = "{run} holds no finished run"
TENSORS = "{run} is damaged (Error while deserializing header: header too small); train again"


@pytest.mark.parametrize(
    ("name", "missing", "empty", "cut"),
    [
        (
            "recipe.toml",
            NO_RUN,
            "{run} is damaged: the recipe is not resolved (Object missing required field "
            "`name` - at `$.arch`); train again",
            "{run} is damaged: {run}/recipe.toml is not valid TOML: ",
        ),
        (
            "schema.json",
            NO_RUN,
            "{run} is damaged: schema.json: Input data was truncated; train again",
            "{run} is damaged: schema.json: ",
        ),
        ("model.safetensors", NO_RUN, TENSORS, "{run} is damaged (Error while deserializing "),
        ("probe.npz", MISSING, NPZ, NPZ),
        ("split.npz", MISSING, NPZ, NPZ),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(
    finished: Run, tmp_path: Path, name: str, missing: str, empty: str, cut: str
) -> None:
    run = tmp_path / "copy"
    assert finished.folder is not None
    shutil.copytree(finished.folder, run)
    raw = (run / name).read_bytes()
    for left, expected in ((raw[: len(raw) // 2], cut), (b"", empty), (None, missing)):
        (run / name).unlink()
        if left is not None:
            (run / name).write_bytes(left)
        with pytest.raises(RunError) as caught:
            Run.load(run)
        message, expected = str(caught.value), expected.format(run=run, name=name)
        # A parser's words depend on where the file was cut; the rest is ours.
        assert message.startswith(expected) if left else message == expected
        assert "\n" not in message


def test_what_is_no_run_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for make, found in (
        (None, "does not exist"),
        (path.touch, "is a file, not a run"),
        (path.mkdir, "holds no finished run"),
        (
            (tmp_path / "run.part").mkdir,
            f"holds no finished run; {path}.part holds an unfinished one: ae-train --resume",
        ),
    ):
        if make == path.mkdir:
            path.unlink()
        if make:
            make()
        with pytest.raises(RunError) as caught:
            Run.load(path)
        assert str(caught.value) == f"{path} {found}"


def test_some_training_rows_are_kept_for_calibration(finished: Run, rows: np.ndarray) -> None:
    assert finished.folder is not None
    kept = Run.load(finished.folder).calibration
    np.testing.assert_array_equal(kept[0], rows[finished.split.train])  # fewer than 1,024: all


def test_a_run_of_an_earlier_version_holds_none(finished: Run, tmp_path: Path) -> None:
    assert finished.folder is not None
    shutil.copytree(finished.folder, tmp_path / "run")
    np.savez(tmp_path / "run" / "probe.npz", x=finished.probe[0])
    assert Run.load(tmp_path / "run").calibration == ()
