"""ae-run compare: sizes and errors are those of archives, in every mode."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_archive import compress
from ae_runtime import load

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def files(in_tmp_path: Path, table_bundle: Path) -> None:
    shutil.copytree(table_bundle, "table")


@pytest.fixture
def digits(digits_bundle: Path) -> np.ndarray:
    """digits.npy: 600 images that the model of digits_bundle tells well."""
    x = load(digits_bundle).decode(3 * np.random.default_rng(0).standard_normal((600, 8)))
    np.save("digits.npy", x)
    return x


def test_ways_with_and_without_the_model(run: Run, digits: np.ndarray, digits_bundle: Path) -> None:
    code, out, err = run(f"compare {digits_bundle} digits.npy --max-error 1% --json --rows 500")
    assert (code, err) == (0, "")
    found = json.loads(out)
    ways = {way["name"]: way for way in found["ways"]}
    assert list(ways)[:3] == ["raw", "lossless", "grid"]
    assert (found["rows"], ways["raw"]["bytes"]) == (500, 500 * 64)
    spread = np.ptp(digits[:500].astype(float), axis=0)
    for name in ("grid", "model"):
        # No value is further away than 2, the whole part of 1 % of 255.
        assert 0 < ways[name]["largest_error"] <= 2 / spread[spread > 0].min()
        assert ways[name]["rmse"] < ways[name]["largest_error"]
    assert {ways[name]["rmse"] for name in ("raw", "lossless")} == {0}
    assert ways["lossless"]["bits"] == 8 * ways["lossless"]["bytes"] / digits[:500].size
    assert ways.keys() <= {"raw", "lossless", "grid", "pca", "interpolation", "model"}
    # What an archive has become is the best way, and some bytes for its frames and header.
    x, ae = digits[:500], load(digits_bundle)
    best = min(ways[name]["bytes"] for name in ways if name in ("lossless", "grid", "pca", "model"))
    written = compress(x, "x.aez", max_error=2.55, model=ae)
    assert best < written.bytes < best + 3000
    model = ways["model"]["model_bytes"]
    inside = compress(x, "y.aez", max_error=2.55, model=ae, include_model=True)
    assert 0 < model - (inside.bytes - written.bytes) < 3000  # the graph, and what the header has
    saved = min(way["bytes"] for way in found["ways"][:4] if way["name"] != "model")
    saved -= ways["model"]["bytes"]
    assert found["pays_from"] == (np.ceil(model / (saved / 500)) if saved > 0 else None)


def test_lines_without_the_model(run: Run) -> None:
    u, v = np.random.default_rng(1).standard_normal((2, 400))
    x = np.stack([1e6 + u, 7e-6 + 2e-6 * v, u, 5.5 + 0 * u, 0 * u, np.rint(9 * v)], 1)
    np.save("x.npy", x)
    code, out, _ = run("compare table x.npy --max-error 1% --no-model")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == (
        "the first 400 rows of 6 float64, 19,200 bytes, max-error 1 % of each column's range"
    )
    assert lines[2].split() == ["raw", "19,200", "64.000", "1.0x", "0", "%", "0", "%"]
    assert not [line for line in lines if line.startswith("model")]
    assert sorted(os.listdir()) == ["table", "x.npy"]


def test_categories_come_back_in_every_mode(run: Run, mixed_bundle: Path) -> None:
    jobs = ["cook", "clerk", "other", "pilot"]
    lines = [f"{at / 7!r},{jobs[at * at % 4]}" for at in range(300)]
    Path("jobs.csv").write_text("age,job\n" + "\n".join(lines) + "\n", encoding="utf-8")
    code, out, err = run(f"compare {mixed_bundle} jobs.csv --max-error 2 --json")
    assert code == 0, err
    grid = next(way for way in json.loads(out)["ways"] if way["name"] == "grid")
    assert 0 < grid["largest_error"] <= 2 / (299 / 7)  # of the ages alone


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "give one error bound to compare under: --max-error or --rmse"),
        ("--max-error 1 --rmse 1", "give one error bound to compare under: --max-error or --rmse"),
    ],
)
def test_wrong_words(run: Run, words: str, line: str) -> None:
    np.save("x.npy", np.zeros((5, 6)))
    before = sorted(os.listdir())
    assert run(f"compare table x.npy {words}") == (2, "", f"ae-run: {line}\n")
    assert sorted(os.listdir()) == before


def test_other_compressors_and_the_chart_are_gone(run: Run) -> None:
    code, out, err = run("compare table x.npy --rmse 1 --picture x.svg")
    assert (code, out) == (2, "")
    assert "No such option" in err  # click's words, in which versions differ
    assert "--picture" in err
