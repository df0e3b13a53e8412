"""The built wheel with [cpu] alone: no torch, small, and passing the runtime's tests."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
MAX_INSTALL_BYTES = 145_000_000
# venv puts these there, whatever is installed.
OF_THE_VENV = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
# What of the runtime's tests cannot run there: the extra "data", whose tests pass in the other
# environment, and a GPU.
SKIPPED = (
    "environment has no pyarrow",
    "environment has no Pillow",
    "environment has no pcodec",
    "nothing was computed on a GPU",
)

# Most of the time, and as good in the other environment: arithmetic of numpy, graphs read byte by
# byte, disks and processes, which need nothing that an installed wheel could lack. Their modules
# are imported by what does run there: imports, loading, commands, formats, golden files, and what
# is said where an extra is missing.
AS_GOOD_ELSEWHERE = (
    *("archive", "archive_choice", "archive_damage", "archive_decoder_error", "archive_entropy"),
    *("archive_interpolation", "archive_model", "archive_soak"),
    *("full_disk", "fuzzed_graphs", "hostile_graphs", "many_at_once", "mutated_bundles"),
    *("random_inputs", "resume", "same_bits", "series_files", "shapes", "sharing", "skipped"),
    *("streams_series", "tune", "two_processes", "values", "windows"),
)


def bare(*words: object) -> subprocess.CompletedProcess[str]:
    """Run with an empty environment, as under `env -i`."""
    return subprocess.run([str(w) for w in words], env={}, capture_output=True, text=True)


def test_torch_cannot_be_imported_there(runtime_bin: Path) -> None:
    done = bare(runtime_bin / "python", "-c", "import torch")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torch'"


def test_train_and_export_say_which_extra_they_need(runtime_bin: Path, tmp_path: Path) -> None:
    for command, data, extra in (("train", "digits", "train"), ("export", "run", "export")):
        done = bare(runtime_bin / f"ae-{command}", data, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert f'pip install "ae-toolkit[{extra}]"' in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_package_has_types_and_a_version(runtime_bin: Path) -> None:
    packages = ("ae_runtime", "ae_archive", "ae_train", "ae_export")
    installed = next((runtime_bin.parent / "lib").glob("python*/site-packages"))
    assert [name for name in packages if not (installed / name / "py.typed").is_file()] == []
    script = "".join(f"import {name}; print({name}.__version__);" for name in packages)
    done = bare(runtime_bin / "python", "-c", script)
    assert (done.stdout, done.stderr) == (f"{version('ae-toolkit')}\n" * 4, "")


def test_commands_are_run_as_modules_too(runtime_bin: Path) -> None:
    for module, name in (("runtime", "run"), ("train", "train"), ("export", "export")):
        done = bare(runtime_bin / "python", "-m", f"ae_{module}", "--version")
        assert (done.stdout, done.stderr) == (f"ae-{name} {version('ae-toolkit')}\n", "")


def test_files_that_are_no_code_are_installed_too(runtime_bin: Path) -> None:
    """The page of the report and the marks of types, as they are in the sources."""
    installed = next((runtime_bin.parent / "lib").glob("python*/site-packages"))
    brought = []
    for root in (ROOT / "runtime", ROOT / "train", ROOT / "export"):
        for file in root.rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                name = file.relative_to(root)
                assert (installed / name).read_bytes() == file.read_bytes()
                brought.append(name.as_posix())
    assert "ae_train/report/report.html.j2" in brought
    assert "ae_train/py.typed" in brought


def test_digits_are_reconstructed_there_as_here(runtime_bin: Path, tmp_path: Path) -> None:
    import ae_runtime
    from ae_train.data.loading import load_digits

    x = load_digits()[:300]
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "x_hat.npy"
    bundle = ROOT / "models" / "digits"
    done = bare(
        runtime_bin / "ae-run", "reconstruct", bundle, tmp_path / "x.npy", "--out", out, "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rows"] == 300
    np.testing.assert_array_equal(np.load(out), ae_runtime.load(bundle).reconstruct(x))


def test_the_install_is_small(runtime_bin: Path) -> None:
    packages = next((runtime_bin.parent / "lib").glob("python*/site-packages"))
    brought = [entry for entry in packages.iterdir() if not entry.name.startswith(OF_THE_VENV)]
    files = [file for entry in brought for file in (entry, *entry.rglob("*")) if file.is_file()]
    assert any(file.name.startswith("ae_toolkit") for file in brought)
    assert sum(f.stat().st_size for f in files if f.suffix != ".pyc") <= MAX_INSTALL_BYTES


def test_the_runtime_tests_pass_there(runtime_bin: Path, tmp_path: Path) -> None:
    # pytest is pure Python: linked into a folder of its own, it brings nothing else along.
    site = Path(pytest.__file__).parent.parent
    for name in ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "pygments"):
        for entry in site.glob(f"{name}*"):
            if "xdist" not in entry.name:  # a plugin, which would be looked for
                (tmp_path / entry.name).symlink_to(entry)
    options = ["-m", "not soak and not alone", "-p", "no:cacheprovider"]
    left_out = [f"tests/runtime/test_{name}.py" for name in AS_GOOD_ELSEWHERE]
    assert [name for name in left_out if not (ROOT / name).is_file()] == []
    options += [f"--ignore={name}" for name in left_out]
    done = subprocess.run(
        [runtime_bin / "python", "-m", "pytest", "tests/runtime", *options],
        cwd=ROOT,
        # Two threads of products would wait for those of the test beside this one.
        env={
            **{"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no torch, no onnx" in done.stdout  # the header of tests/conftest.py
    summary = done.stdout.splitlines()[-1]
    assert " passed" in summary
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert [line for line in skipped if not line.endswith(SKIPPED)] == []
    for reason in SKIPPED[:2]:
        assert any(line.endswith(reason) for line in skipped)
