"""The built wheel with [cpu] alone: no torch, small, and passing the runtime's tests."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
MAX_INSTALL_BYTES = 145_000_000
# venv puts these there, whatever is installed.
OF_THE_VENV = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


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


def test_digits_are_reconstructed_there_as_here(runtime_bin: Path, tmp_path: Path) -> None:
    import ae_runtime
    from ae_train.data import load_digits

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


def test_the_runtime_tests_pass_there(runtime_bin: Path) -> None:
    # pytest itself is pure Python and comes from the environment that runs this test, by folder.
    site = Path(importlib.util.find_spec("pytest").origin).parent.parent  # type: ignore[union-attr, arg-type]
    program = (
        "import sys, importlib.util as u\n"
        "class Only:\n"
        "    names = {'pytest', '_pytest', 'pluggy', 'iniconfig', 'pygments', 'py'}\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in self.names:\n"
        "            from importlib.machinery import PathFinder\n"
        f"            return PathFinder.find_spec(name, path or [{str(site)!r}])\n"
        "sys.meta_path.append(Only())\n"
        "import pytest\n"
        "options = ['-q', '-m', 'not soak', '-p', 'no:cacheprovider']\n"
        "sys.exit(pytest.main(['tests/runtime', *options]))\n"
    )
    done = subprocess.run(
        [runtime_bin / "python", "-c", program],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no torch" in done.stdout or "passed" in done.stdout
    assert sys.executable != str(runtime_bin / "python")
