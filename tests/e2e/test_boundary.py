"""Imports go one way: ae_export -> ae_train -> ae_runtime -> numpy, onnxruntime, click, msgspec."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RUNTIME = {"ae_runtime", "click", "msgspec", "numpy", "onnxruntime"}
TRAIN = RUNTIME - {"onnxruntime"} | {
    *("ae_train", "matplotlib", "safetensors", "sklearn", "threadpoolctl", "tomli_w", "torch"),
}
# Of the runtime, by extras.need; the last two by ae-run compare, where someone has them.
LAZY = {"PIL", "pandas", "pcodec", "pyarrow", "sklearn", "pysz", "zfpy"}
EXPORT = TRAIN | {"ae_export", "onnx", "onnx_ir", "onnxscript"}
PACKAGES = {
    "runtime/ae_runtime": RUNTIME | LAZY,
    "train/ae_train": TRAIN,
    "export/ae_export": EXPORT,
}
# Modules of the runtime that an application imports by `ae_runtime.load`, beside those of graphs;
# the rest is for commands. The last are for scores, streams and mixed tables.
CORE = {
    *("__init__", "arrays", "autoencoder", "bundle", "cpus", "devices", "engine", "errors"),
    *("manifest", "plan", "prefix", "zipped"),
    *("columns", "digits", "extras", "frames", "missing", "sampling", "scoring", "stream"),
    *("table", "words"),
}
# What they take from the package of files, each when it is asked for.
OF_FILES = {"autoencoder": {"batch", "judge"}, "columns": {"parquet_files"}}


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no sources in {package}"
    return files


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, and whatever it names as a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__", "need")
        ):
            name = node.args[0]
            start = name.values[0] if isinstance(name, ast.JoinedStr) else name  # f"ae_train.{x}"
            if isinstance(start, ast.Constant):
                yield str(start.value)
            else:
                assert path.name == "extras.py", f"{path}: which module is that?"


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_what_they_may(package: str) -> None:
    found = {path: tops(path) - PACKAGES[package] for path in sources(package)}
    assert {str(path): names for path, names in found.items() if names} == {}


def test_what_an_extra_brings_is_imported_when_it_is_needed() -> None:
    for path in sources("runtime/ae_runtime"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {
            ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert not [name for name in names if any(module in name for module in LAZY)], path


def test_the_rule_sees_imports_everywhere(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.py"
    hidden.write_text(
        "def f():\n    import torch.nn as nn\n    from ae_export import graph\n"
        "    importlib.import_module('onnx')\n    return __import__('sklearn')\n"
    )
    assert tops(hidden) == {"torch", "ae_export", "onnx", "sklearn"}
    assert tops(ROOT / "export/ae_export/subject.py") >= {"ae_runtime", "ae_train", "torch"}


def test_the_core_of_the_runtime_stands_alone() -> None:
    for path in sources("runtime/ae_runtime"):
        if path.stem not in CORE or path.parent.name != "ae_runtime":
            continue
        own = [name.split(".")[1:] for name in imported(path) if name.startswith("ae_runtime.")]
        of_files = {names[1] for names in own if names[0] == "files"}
        assert of_files == OF_FILES.get(path.stem, set()), path
        assert {names[0] for names in own} <= CORE | {"AeError", "graphs", "files"}, path
        assert "click" not in tops(path), path


def test_reading_graphs_stands_alone() -> None:
    # They parse hostile bytes: they can be read and trusted on their own.
    for path in sources("runtime/ae_runtime/graphs"):
        assert tops(path) <= {"ae_runtime", "msgspec"}, path
        own = [name.split(".")[1] for name in imported(path) if name.startswith("ae_runtime.")]
        assert set(own) <= {"graphs", "errors", "manifest"}, path
    assert tops(ROOT / "runtime/ae_runtime/graphs/protobuf.py") == set()
    assert tops(ROOT / "runtime/ae_runtime/errors.py") == set()


def test_base_dependencies_are_those_of_the_runtime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {line.partition(">")[0] for line in project["dependencies"]}
    cpu = {line.partition(">")[0] for line in project["optional-dependencies"]["cpu"]}
    assert base | cpu | {"ae_runtime"} == RUNTIME
    assert cpu == {"onnxruntime"}
