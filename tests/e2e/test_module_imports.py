"""No circle of imports, no private name of another, and a reason for each import in a function.

Read from the source of the four packages; what breaks a rule is named. test_boundary.py has the
rules of which package may import which.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "ae_runtime": ROOT / "runtime/ae_runtime",
    "ae_archive": ROOT / "runtime/ae_archive",
    "ae_train": ROOT / "train/ae_train",
    "ae_export": ROOT / "export/ae_export",
}
# The commands that read archives: imported when they are run, since most uses need none.
OF_ARCHIVES = {
    f"ae_runtime.commands.{name}" for name in ("compare", "compress", "decompress", "info")
}
# Imports within functions, and why: what a process does not need at its start it does not pay for.
ITSELF = "import of the package brings itself only"
ARRAYS = "encode and decode of arrays need no scores, samples, columns or files"
ONE_COMMAND = "one command needs it, the others start without"
NO_TORCH = "--help and errors of options need no torch"
LAZY = {
    ("ae_runtime.autoencoder", "ae_runtime.files.jobs.job"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.files.jobs.score_summary"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.files.jobs.task"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.model.sampling"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.model.scoring"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.model.tails"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.tables.columns"): ARRAYS,
    ("ae_runtime.autoencoder", "ae_runtime.tables.table"): ARRAYS,
    ("ae_runtime.bundle.opening", "ae_runtime.bundle.zipped"): "a folder is no .zip",
    ("ae_runtime.commands.info", "ae_runtime.bundle.weights"): ONE_COMMAND,
    ("ae_runtime.commands.machine", "ae_runtime.machine.doctor"): ONE_COMMAND,
    ("ae_runtime.commands.machine", "ae_runtime.machine.tune"): ONE_COMMAND,
    ("ae_runtime.tables.columns", "ae_runtime.tables.arrow"): "dicts and frames of pandas",
    ("ae_archive.reading", "ae_archive.model.decoder"): "most archives hold no model",
    ("ae_archive.writing", "ae_archive.model.encoder"): "most archives hold no model",
    ("ae_train", "ae_runtime.extras"): ITSELF,
    ("ae_train.cli", "ae_runtime.extras"): NO_TORCH,
    ("ae_train.cli", "ae_train"): NO_TORCH,
    ("ae_train.cli", "ae_train.data.dataset"): NO_TORCH,
    ("ae_train.cli", "ae_train.data.loading"): NO_TORCH,
    ("ae_train.training", "ae_train.report.document"): "matplotlib, which only the report needs",
    ("ae_export", "ae_runtime.extras"): ITSELF,
    ("ae_export.cli", "ae_export"): NO_TORCH,
}
OF_NAMEDTUPLES = {"_replace", "_asdict", "_fields", "_make"}


class Import(NamedTuple):
    """lazy: within a function."""

    target: str
    line: int
    lazy: bool


Trees = dict[str, ast.Module]


@functools.cache
def sources() -> Trees:
    """Each module of the packages by its name, parsed."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports_of(trees: Trees) -> Iterator[tuple[str, Import]]:
    """Each module and what it imports of the others."""
    for name, tree in trees.items():
        for found in _imports(trees, tree):
            if found.target != name:
                yield name, found


def _imports(trees: Trees, node: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        names: list[str] = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.module is not None:
            # Of a package its module, of a module a name.
            full = [f"{child.module}.{alias.name}" for alias in child.names]
            names = [name if name in trees else child.module for name in full]
        for name in dict.fromkeys(names):
            if name in trees:
                yield Import(name, child.lineno, lazy)
        in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(trees, child, lazy or in_function)


def circles(trees: Trees) -> list[list[str]]:
    """The groups of modules that reach each other.

    Imports for types and lazy ones count, too: a reader has to follow them as well.
    """
    graph: dict[str, set[str]] = {name: set() for name in trees}
    for name, found in imports_of(trees):
        graph[name].add(found.target)
    reached = {start: _reached(graph, start) for start in graph}
    groups = {
        tuple(sorted(one for one in reached[start] if start in reached[one]))
        for start in graph
        if start in reached[start]
    }
    return [list(group) for group in sorted(groups)]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def lazy_imports(trees: Trees) -> dict[tuple[str, str], str]:
    """(module, what it imports within a function): where."""
    return {
        (name, found.target): f"{name}:{found.line} imports {found.target} in a function"
        for name, found in imports_of(trees)
        if found.lazy and not (name in OF_ARCHIVES and found.target.startswith("ae_archive"))
    }


def private_uses(trees: Trees) -> list[str]:
    """Where a module uses a private name that it does not define."""
    wrong = []
    for name, tree in trees.items():
        known = _names_given(tree) | OF_NAMEDTUPLES
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(tuple(FOLDERS)):
                wrong += [
                    f"{name}:{node.lineno} imports {node.module}.{alias.name}"
                    for alias in node.names
                    if _is_private(alias.name)
                ]
            elif isinstance(node, ast.Attribute) and _is_private(node.attr):
                is_fine = node.attr in known or _is_allowed(node)
                wrong += (
                    [] if is_fine else [f"{name}:{node.lineno} reaches for {ast.unparse(node)}"]
                )
    return wrong


def planted(**modules: str) -> Trees:
    """Modules of a package ae_runtime that has these only."""
    return {f"ae_runtime.{name}": ast.parse(text) for name, text in modules.items()}


def test_planted_circles_are_seen() -> None:
    trees = planted(
        a="from ae_runtime import b",
        b="if TYPE_CHECKING:\n    from ae_runtime.c import C",
        c="def f():\n    import ae_runtime.b",
        d="from ae_runtime.a import x",
    )
    assert circles(trees) == [["ae_runtime.b", "ae_runtime.c"]]


def test_planted_lazy_imports_are_seen() -> None:
    trees = planted(
        a="import ae_runtime.b\nclass A:\n    def f(self):\n        from ae_runtime.c import C",
        b="import json\ndef f():\n    import math",
        c="",
    )
    assert list(lazy_imports(trees).values()) == [
        "ae_runtime.a:4 imports ae_runtime.c in a function"
    ]


def test_planted_uses_of_private_names_are_seen() -> None:
    trees = planted(
        a="from ae_runtime.b import _f, g\nx = g()._engine",
        b="class B:\n    def __init__(self, other):\n        self._own = other._own\n"
        "    def f(self, ae):\n        return ae.model._plan, self._inherited, other._replace(x=1)",
    )
    assert private_uses(trees) == [
        "ae_runtime.a:1 imports ae_runtime.b._f",
        "ae_runtime.a:2 reaches for g()._engine",
        "ae_runtime.b:5 reaches for ae.model._plan",
    ]


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles(sources()) == []


def test_lazy_imports_have_a_reason() -> None:
    lazy = lazy_imports(sources())
    assert [line for pair, line in lazy.items() if pair not in LAZY] == []
    assert [pair for pair in LAZY if pair not in lazy] == []  # reasons for what is not there


def test_private_names_stay_in_their_module() -> None:
    assert private_uses(sources()) == []


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_allowed(node: ast.Attribute) -> bool:
    """Whether the object is the own one, or Python's, which describes this name."""
    return ast.unparse(node.value) in ("self", "cls") or ast.unparse(node) == "sys._getframe"


def _names_given(tree: ast.Module) -> set[str]:
    """The names that a module defines, as attributes too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found
