"""The command ae-export: every case of --out, full disks, and a quiet exporter."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ae_export import building, export, writing
from ae_export.cli import ae_export as click_command
from ae_runtime import console, load
from ae_runtime.bundle.zipped import zip_bundle
from ae_runtime.errors import OutputExists, OutputFailed

Command = Callable[..., tuple[int, list[str]]]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.fixture
def ae_export(
    any_case: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """ae-export in this process and in tmp_path, which holds a run: (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(any_case("pca").run.folder, "run")

    def run(*arguments: str) -> tuple[int, list[str]]:
        code = console.run(click_command, "ae-export", list(arguments))
        return code, capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals must come before the work."""

    def trace(*arguments: Any) -> bytes:
        raise AssertionError("traced before --out was looked at")

    monkeypatch.setattr(building, "trace", trace)


TRACING = "tracing encoder and decoder (some seconds, mostly imports) ..."
VERIFYING = "verifying against the model in float64 on 40 held-out rows ..."


def test_absent_is_made_and_overwrite_replaces(
    ae_export: Command, tmp_path: Path, any_case: Callable[[str], Any]
) -> None:
    (tmp_path / "bundle").mkdir()  # an empty folder counts as absent
    assert ae_export("run", "--out", "bundle") == (0, [TRACING, VERIFYING])
    assert {p.name: p.read_bytes() for p in (tmp_path / "bundle").iterdir()} == any_case(
        "pca"
    ).files
    (tmp_path / "bundle" / "golden.npz").write_bytes(b"torn")  # still ours
    (tmp_path / "bundle.part").mkdir()
    for left_by_a_kill in ("encoder.onnx", "golden.npz.part"):
        (tmp_path / "bundle.part" / left_by_a_kill).write_bytes(b"half")
    assert ae_export("run", "--out", "bundle", "--overwrite", "--quiet") == (0, [])
    assert {p.name: p.read_bytes() for p in (tmp_path / "bundle").iterdir()} == any_case(
        "pca"
    ).files
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "run"]


@pytest.mark.usefixtures("no_trace")
def test_complete_is_refused(
    ae_export: Command, tmp_path: Path, any_case: Callable[[str], Any]
) -> None:
    shutil.copytree(any_case("pca").bundle, tmp_path / "bundle")
    before = tree(tmp_path)
    message = "ae-export: bundle exists already; --overwrite replaces it"
    assert ae_export("run", "--out", "bundle") == (2, [message])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
@pytest.mark.parametrize("what", ["file", "folder", "run"])
def test_not_ours_is_refused_always(
    ae_export: Command, tmp_path: Path, what: str, flag: list[str]
) -> None:
    out = tmp_path / "out"
    if what == "file":
        out.write_text("thesis")
    elif what == "folder":
        out.mkdir()
        (out / "encoder.onnx").write_text("thesis")
    else:
        shutil.copytree("run", out)
    before = tree(tmp_path)
    message = "out exists and is not a bundle of ae-export; it is never overwritten, choose another"
    assert ae_export("run", "--out", "out", *flag) == (2, [f"ae-export: {message}"])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_part_that_is_not_ours_stays(
    ae_export: Command, tmp_path: Path, what: str, flag: list[str]
) -> None:
    part = tmp_path / "bundle.part"
    if what == "file":
        part.write_text("thesis")
    else:
        part.mkdir()
        (part / "thesis").write_text("thesis")
    before = tree(tmp_path)
    message = "ae-export: bundle.part is in the way and not ours; move it"
    assert ae_export("run", "--out", "bundle", *flag) == (2, [message])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize(
    ("run", "out", "message"),
    [
        ("nope", "bundle", "nope does not exist"),
        ("run/recipe.toml", "bundle", "run/recipe.toml is a file, not a run"),
        ("run", "no/bundle", "no/bundle: the folder no does not exist; make it first"),
    ],
)
def test_other_mistakes(
    ae_export: Command, tmp_path: Path, run: str, out: str, message: str
) -> None:
    before = tree(tmp_path)
    assert ae_export(run, "--out", out) == (2, [f"ae-export: {message}"])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
def test_a_damaged_run_is_refused(ae_export: Command, tmp_path: Path) -> None:
    (tmp_path / "run" / "probe.npz").write_bytes(b"")
    message = "run is damaged (probe.npz is not a readable .npz archive); train again"
    assert ae_export("run", "--out", "bundle") == (2, [f"ae-export: {message}"])
    (tmp_path / "run" / "schema.json").unlink()
    assert ae_export("run", "--out", "bundle") == (2, ["ae-export: run holds no finished run"])


def process(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from ae_export.cli import main; main()", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_the_exporter_is_silent_and_another_process_writes_the_same_bytes(
    any_case: Callable[[str], Any], tmp_path: Path
) -> None:
    case = any_case("table")
    done = process(tmp_path, str(case.run.folder), "--out=bundle", "--json")
    held_out = len(case.run.probe[0])
    assert done.returncode == 0
    assert done.stderr.splitlines() == [TRACING, VERIFYING.replace("40", str(held_out))]
    assert json.loads(done.stdout) == {
        "bundle": "bundle",
        "model_id": case.run.model_id,
        "bytes": case.exported.bytes,
        "precision": "fp32",
        "encoder_error": case.exported.agreement.encoder,
        "decoder_error": case.exported.agreement.decoder,
        "int8_speedup": None,
        "int8_error_rise": None,
    }
    assert {p.name: p.read_bytes() for p in (tmp_path / "bundle").iterdir()} == case.files


def test_a_zip_holds_the_same_files(
    ae_export: Command, tmp_path: Path, any_case: Callable[[str], Any]
) -> None:
    (tmp_path / "bundle.zip.part").write_bytes(b"left by a kill")
    assert ae_export("run", "--out", "bundle.zip", "--zip") == (0, [TRACING, VERIFYING])
    raw = (tmp_path / "bundle.zip").read_bytes()
    # From another folder than the files of the case, and the same bytes.
    assert raw == zip_bundle(any_case("pca").files)
    assert load(tmp_path / "bundle.zip").model_id == any_case("pca").run.model_id
    message = "ae-export: bundle.zip exists already; --overwrite replaces it"
    assert ae_export("run", "--out", "bundle.zip", "--zip") == (2, [message])
    (tmp_path / "bundle.zip").write_bytes(zip_bundle(any_case("float32").files))  # ours, another
    again = "run", "--out", "bundle.zip", "--zip", "--overwrite", "--quiet"
    assert ae_export(*again) == (0, [])
    assert (tmp_path / "bundle.zip").read_bytes() == raw
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip", "run"]


def foreign_zip(out: Path, case: Any) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("thesis", "thesis")


def torn_zip(out: Path, case: Any) -> None:
    out.write_bytes(zip_bundle(case.files)[:-9])


def text(out: Path, case: Any) -> None:
    out.write_text("thesis")


def bundle_folder(out: Path, case: Any) -> None:
    shutil.copytree(case.bundle, out)


def empty_folder(out: Path, case: Any) -> None:
    out.mkdir()


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
@pytest.mark.parametrize("make", [foreign_zip, torn_zip, text, bundle_folder, empty_folder])
def test_a_zip_replaces_nothing_else(
    ae_export: Command,
    tmp_path: Path,
    any_case: Callable[[str], Any],
    make: Callable[[Path, Any], None],
    flag: list[str],
) -> None:
    make(tmp_path / "out.zip", any_case("pca"))
    before = tree(tmp_path)
    message = (
        "out.zip exists and is not a bundle of ae-export; it is never overwritten, choose another"
    )
    assert ae_export("run", "--out", "out.zip", "--zip", *flag) == (2, [f"ae-export: {message}"])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
def test_a_folder_does_not_replace_a_zip(
    ae_export: Command, tmp_path: Path, any_case: Callable[[str], Any], flag: list[str]
) -> None:
    (tmp_path / "out").write_bytes(zip_bundle(any_case("pca").files))
    before = tree(tmp_path)
    message = "out exists and is not a bundle of ae-export; it is never overwritten, choose another"
    assert ae_export("run", "--out", "out", *flag) == (2, [f"ae-export: {message}"])
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
def test_other_mistakes_with_a_zip(ae_export: Command, tmp_path: Path) -> None:
    message = "ae-export: no/b.zip: the folder no does not exist; make it first"
    assert ae_export("run", "--out", "no/b.zip", "--zip") == (2, [message])
    (tmp_path / "b.zip.part").mkdir()
    (tmp_path / "b.zip.part" / "thesis").write_text("thesis")
    before = tree(tmp_path)
    message = "ae-export: b.zip.part is in the way and not ours; move it"
    assert ae_export("run", "--out", "b.zip", "--zip") == (2, [message])
    assert tree(tmp_path) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), FULL])
def test_a_write_that_ends_early_leaves_what_was_there(
    any_case: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    zipped: bool,
    old: bool,
) -> None:
    out, files = tmp_path / "out", any_case("pca").files
    if old:
        writing.write(out, any_case("float32").files, zipped)
    before = tree(tmp_path)

    def fail(descriptor: int) -> None:
        raise failure

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises((KeyboardInterrupt, OutputFailed)) as caught:
        writing.write(out, files, zipped)
    if failure is FULL:
        assert str(caught.value) == (
            f"{out} could not be written: the disk is full; free some space"
        )
    assert tree(tmp_path) == before


def test_a_full_disk(any_case: Callable[[str], Any], tmp_path: Path) -> None:
    case = any_case("pca")
    shutil.copytree(case.run.folder, tmp_path / "run")
    shutil.copytree(case.bundle, tmp_path / "bundle")
    before = tree(tmp_path)
    most = len(case.files["golden.npz"]) - 1  # room for the graphs, not for what comes after
    assert most > len(case.files["encoder.onnx"])
    done = process(
        tmp_path,
        "run",
        "--out=bundle",
        "--overwrite",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    message = "bundle could not be written: the file would be larger than this system allows"
    assert done.stderr.splitlines() == [TRACING, VERIFYING, f"ae-export: {message}"]
    assert (done.returncode, done.stdout) == (1, "")
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_trace")
def test_python_raises_what_the_command_says(
    any_case: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("thesis")
    with pytest.raises(OutputExists) as caught:
        export(any_case("pca").run, tmp_path / "out", overwrite=True)
    assert str(caught.value) == (
        f"{tmp_path / 'out'} exists and is not a bundle of ae-export; it is never overwritten, "
        "choose another"
    )
