"""Imports go one way: ae_export -> ae_train -> ae_runtime -> numpy, onnxruntime, click, msgspec.

And ae_archive -> ae_runtime, which takes it in return for the commands of archives alone.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RUNTIME = {"ae_runtime", "click", "msgspec", "numpy", "onnxruntime"}
TRAIN = RUNTIME - {"onnxruntime"} | {
    *("ae_train", "jinja2", "markupsafe", "matplotlib", "safetensors", "sklearn", "threadpoolctl"),
    *("tomli_w", "torch"),
}
# Of the runtime, by extras.need.
LAZY = {"PIL", "pandas", "pcodec", "pyarrow", "sklearn"}
# Its own commands, what `ae-run info` says, and the names that stood there before.
OF_ARCHIVES = {"archive.py"} | {
    f"commands/{name}.py" for name in ("compare", "compress", "decompress", "info")
}
EXPORT = TRAIN | {"ae_export", "onnx", "onnx_ir", "onnxscript"}
PACKAGES = {
    "runtime/ae_runtime": RUNTIME | LAZY | {"ae_archive"},
    "runtime/ae_archive": {
        "ae_archive",
        "ae_runtime",
        "msgspec",
        "numpy",
        "pcodec",
    },
    "train/ae_train": TRAIN,
    "export/ae_export": EXPORT,
}
# What an application imports by `ae_runtime.load`, beside graphs; the rest is for commands. The
# last are for scores, streams and mixed tables.
CORE = {
    *("__init__", "autoencoder", "errors", "extras", "notices", "stream"),
    *("bundle.manifest", "bundle.opening", "bundle.zipped"),
    *(
        f"model.{name}"
        for name in ("arrays", "cpus", "devices", "engine", "model", "plan", "prefix")
    ),
    *(f"model.{name}" for name in ("sampling", "scoring", "tails")),
    *(
        f"tables.{name}"
        for name in ("categories", "columns", "digits", "frames", "missing", "table")
    ),
}
# What they take of the rest, each when it is asked for.
WHEN_ASKED = {
    "__init__": {"drift", "files.jobs.job", "shards", "sklearn"},
    "autoencoder": {f"files.jobs.{name}" for name in ("job", "score_summary", "steps", "task")},
    "tables.columns": {"tables.arrow"},
}


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


def top_level(path: Path) -> set[str]:
    """The packages that a file imports by import statements, without need."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
    return {name.partition(".")[0] for name in names}


def test_what_an_extra_brings_is_imported_when_it_is_needed() -> None:
    for path in sources("runtime/ae_runtime") + sources("runtime/ae_archive"):
        assert not top_level(path) & LAZY, path


def test_the_runtime_needs_no_archive() -> None:
    package = ROOT / "runtime/ae_runtime"
    found = {
        str(path.relative_to(package))
        for path in sources("runtime/ae_runtime")
        if "ae_archive" in tops(path)
    }
    assert found == OF_ARCHIVES
    script = "import sys, ae_runtime.cli; sys.exit('ae_archive' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_archive_stands_under_its_former_name() -> None:
    import ae_archive
    import ae_runtime.archive

    assert ae_runtime.archive.__all__ == ["Archive", "Bad", "Chunk", "Written", "compress"]
    for name in ae_runtime.archive.__all__:
        assert getattr(ae_runtime.archive, name) is getattr(ae_archive, name)


def test_the_rule_sees_imports_everywhere(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.py"
    hidden.write_text(
        "def f():\n    import torch.nn as nn\n    from ae_export import graph\n"
        "    importlib.import_module('onnx')\n    return __import__('sklearn')\n"
    )
    assert tops(hidden) == {"torch", "ae_export", "onnx", "sklearn"}
    assert tops(ROOT / "export/ae_export/export_source.py") >= {"ae_runtime", "ae_train", "torch"}


def modules_of(package: str) -> dict[str, Path]:
    """Modules by their names within a package: model.engine."""
    folder = ROOT / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path for path in sources(package)
    }


def own_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the runtime that a file imports."""
    names = [n.partition(".")[2] for n in imported(path) if n.startswith("ae_runtime.")]
    parents = [name.rpartition(".")[0] for name in names]
    return {
        name if name in modules else parent
        for name, parent in zip(names, parents, strict=True)
        if name in modules or parent in modules
    }


def test_the_core_of_the_runtime_stands_alone() -> None:
    modules = modules_of("runtime/ae_runtime")
    assert set(modules) >= CORE
    graphs = {name for name in modules if name.startswith("graphs.")}
    for name in CORE:
        others = own_modules(modules[name], modules) - CORE - graphs
        assert others == WHEN_ASKED.get(name, set()), name
        assert "click" not in tops(modules[name]), name


def test_reading_graphs_stands_alone() -> None:
    # They parse hostile bytes: they can be read and trusted on their own.
    modules = modules_of("runtime/ae_runtime")
    for name, path in modules.items():
        if name.startswith("graphs."):
            assert tops(path) <= {"ae_runtime", "msgspec"}, path
            others = own_modules(path, modules) - {"errors", "bundle.manifest"}
            assert all(other.startswith("graphs.") for other in others), path
    assert tops(ROOT / "runtime/ae_runtime/graphs/protobuf.py") == set()
    assert tops(ROOT / "runtime/ae_runtime/errors.py") == set()


def test_base_dependencies_are_those_of_the_runtime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {line.partition(">")[0] for line in project["dependencies"]}
    cpu = {line.partition(">")[0] for line in project["optional-dependencies"]["cpu"]}
    assert base | cpu | {"ae_runtime"} == RUNTIME
    assert cpu == {"onnxruntime"}
