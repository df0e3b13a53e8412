"""Every code block of README and docs is run, and prints what the page says."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ae_runtime.cli import ae_run

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
FILE_NAME = re.compile(r"(?:#|//) (\S+\.\w+)\n")
NODE_MODULES = ROOT / "build" / "node" / "node_modules"
# What depends on the run or on the machine: a model's name, and how long a file took.
IDENTIFIER = re.compile(r"\b[0-9a-f]{64}\b|\(\d+ s\)")


@pytest.mark.usefixtures("one_processor")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run_and_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    if page.name == "node.md":
        if not NODE_MODULES.is_dir():
            pytest.skip(f"{page.name} was not run: `make build/node/.ready` brings what it needs")
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    names: dict[str, object] = {}
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        for language, body in FENCE.findall(page.read_text()):
            run_block(language, body, names)
    finally:
        os.chdir(before)


def run_block(language: str, body: str, names: dict[str, object]) -> None:
    if language in ("python", "js", "toml") and (named := FILE_NAME.match(body)):
        Path(named[1]).write_text(body)  # for a command that follows
    elif language == "python":
        exec(compile(body, "block", "exec"), names)
    elif language == "console":
        for command, expected in commands(body):
            check_output(command, expected)
    elif language == "toml":
        tomllib.loads(body)
    elif language == "json":
        json.loads(body)
    else:
        assert language == "text", f"a block of {language!r} is not run by this test"


def commands(body: str) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def check_output(command: str, expected: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Off a terminal a long training logs how far it is; how often depends on the machine.
    found = re.sub(r"^epoch \d+/.*\n", "", done.stdout, flags=re.MULTILINE)
    assert words(found) == words(expected), f"{command}\n{found}"
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        # Another processor rounds otherwise, and 100 epochs make more of it; errors of 1e-6 are
        # rounding itself. What must hold everywhere is the size of the figures.
        assert abs(a - b) <= max(0.25 * abs(b), 0.1 if abs(b) < 1 else 0, 2e-5), command


def words(text: str) -> list[str]:
    return NUMBER.sub("#", IDENTIFIER.sub("ID", text)).split()


def numbers(text: str) -> list[float]:
    return [float(n.replace(",", "")) for n in NUMBER.findall(IDENTIFIER.sub("ID", text))]


def test_the_recipe_page_shows_the_defaults() -> None:
    from ae_train.recipe import Recipe, make_recipe

    page = (ROOT / "docs" / "recipe.md").read_text()
    shown = next(body for language, body in FENCE.findall(page) if language == "toml")
    assert make_recipe(tomllib.loads(shown)) == Recipe()


# A word that can only be a file or a folder of this project: below one of its folders or packages,
# where a link leads, or the name of a file of code.
TOP = (
    "runtime|train|export|models|tests|benchmarks|docs|findings|ae_(?:runtime|archive|train|export)"
)
PATHS = re.compile(
    rf"(?<![\w./<-])((?:{TOP})/[\w./*-]*\w\*?)(?![\w(])"
    r"|\]\(([^)#:\s]+)(?:#[^)]*)?\)|`(\w+\.(?:py|mjs))`"
)
SOURCES = [path for top in ("runtime", "train", "export") for path in (ROOT / top).rglob("*.py")]


def named_paths(page: Path) -> list[str]:
    """What a page names as paths, or a file of code in its comments and texts."""
    text = page.read_text()
    if page.suffix == ".md":
        text = FENCE.sub("", text)
    return ["".join(found) for found in PATHS.findall(text)]


def is_there(name: str, page: Path) -> bool:
    if "/" not in name and name.endswith((".py", ".mjs")):
        return any(ROOT.glob(f"*/**/{name}"))
    places = [page.parent, ROOT, ROOT / "runtime", ROOT / "train", ROOT / "export"]
    return (
        any(any(place.glob(name)) for place in places if not name.startswith("../"))
        or (page.parent / name).exists()
    )


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_paths_that_a_page_names_are_there(page: Path) -> None:
    assert [name for name in named_paths(page) if not is_there(name, page)] == []


def test_paths_that_the_code_names_are_there() -> None:
    missing = [
        (str(page.relative_to(ROOT)), name)
        for page in SOURCES
        for name in named_paths(page)
        if name.startswith("ae_") and not is_there(name, page)
    ]
    assert missing == []


def test_a_path_that_is_gone_is_seen() -> None:
    page = ROOT / "docs" / "bundle.md"
    for name in ("ae_runtime/admission.py", "tests/golden/v9", "gone.md", "gone.py"):
        assert not is_there(name, page)
    text = "see `ae_runtime/admission.py`, [x](gone.md#y) and `gone.py` of train/ae_train/none.py."
    assert ["".join(found) for found in PATHS.findall(text)] == [
        *("ae_runtime/admission.py", "gone.md", "gone.py", "train/ae_train/none.py")
    ]


MODULE = re.compile(r"(?<![\w./])ae_(?:runtime|archive|train|export)(?:\.\w+)+(?![\w/])")
LINK = re.compile(r"\]\(([^)#:\s]*)#([^)\s]+)\)")
CODE = re.compile(r"^```\w*\n.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_modules_and_names_that_a_page_names_are_there(page: Path) -> None:
    for name in MODULE.findall(FENCE.sub("", page.read_text())):
        pkgutil.resolve_name(name)  # raises where it is gone


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_headings_that_a_page_links_to_are_there(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        assert anchor in anchors(page.parent / target if target else page), (target, anchor)


def public_members(kind: type) -> set[str]:
    """The attributes of a class that a caller may use, as far as the packages declare them."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("ae_")]
    names = {
        name for base in ours for name in (*vars(base), *vars(base).get("__annotations__", {}))
    }
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", ["ae_runtime", "ae_archive", "ae_train", "ae_export"])
def test_every_public_name_is_described(package: str) -> None:
    module = importlib.import_module(package)
    pages = [
        set(re.findall(r"\w+", " ".join(CODE.findall(page.read_text()))))
        for page in PAGES
        if page.name not in ("commands.md", "architecture.md")
    ]
    missing = []
    for name in module.__all__:
        about = [words for words in pages if name in words]
        value = getattr(module, name)
        members = public_members(value) if isinstance(value, type) else set()
        missing += [] if about else [name]
        missing += [f"{name}.{each}" for each in members if not any(each in w for w in about)]
    assert sorted(missing) == []


def test_every_command_of_ae_run_has_its_help_on_the_page() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in ae_run.commands if f"<!-- help: ae-run {name} -->" not in page] == []
