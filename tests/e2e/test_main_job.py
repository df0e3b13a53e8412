"""From a file to latents and back by the three commands, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BIN = Path(sys.executable).parent


def run(name: str, *words: object) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([BIN / name, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rows.npy, (300, 5) uint8 with structure, the same as rows.csv, and bundle, made of them."""
    folder = tmp_path_factory.mktemp("job")
    random = np.random.default_rng(0)
    rows = 120 + random.normal(0, 30, (300, 2)) @ random.normal(0, 1, (2, 5))
    rows = np.clip(rows, 0, 255).astype(np.uint8)
    np.save(folder / "rows.npy", rows)
    np.savetxt(folder / "rows.csv", rows, fmt="%d", delimiter=",", header="a,b,c,d,e", comments="")
    small = ("--set", "arch.width=16", "--epochs", 30)
    run("ae-train", folder / "rows.npy", "--latent", 2, *small, "--out", folder / "run")
    run("ae-export", folder / "run", "--out", folder / "bundle")
    return folder


def test_what_went_in_comes_out_but_for_what_the_code_cannot_hold(folder: Path) -> None:
    out = folder / "x_hat.npy"
    run("ae-run", "reconstruct", folder / "bundle", folder / "rows.npy", "--out", out)
    x, x_hat = np.load(folder / "rows.npy"), np.load(out)
    assert x_hat.dtype == np.uint8
    # Two latents hold the two numbers that made a row; the rest is rounding and clipping.
    assert np.mean((x_hat.astype(float) - x) ** 2) < 0.02 * x.astype(float).var()


def test_a_csv_of_whole_numbers_fits_a_model_of_bytes(folder: Path) -> None:
    for source in ("rows.npy", "rows.csv"):
        out = folder / f"{source}.z.npy"
        run("ae-run", "encode", folder / "bundle", folder / source, "--out", out)
    np.testing.assert_array_equal(
        np.load(folder / "rows.npy.z.npy"), np.load(folder / "rows.csv.z.npy")
    )


def test_the_same_seed_gives_the_same_bundle_byte_for_byte(folder: Path) -> None:
    small = ("--set", "arch.width=16", "--epochs", 30, "--latent", 2)
    run("ae-train", folder / "rows.npy", *small, "--out", folder / "again")
    run("ae-export", folder / "again", "--out", folder / "bundle2")
    names = sorted(path.name for path in (folder / "bundle").iterdir())
    assert names == sorted(path.name for path in (folder / "bundle2").iterdir())
    for name in names:
        assert (folder / "bundle" / name).read_bytes() == (folder / "bundle2" / name).read_bytes()


def test_an_output_in_the_way_is_said_before_the_data_are_read(folder: Path) -> None:
    words = [BIN / "ae-train", folder / "nowhere.npy", "--out", folder / "run"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        f"ae-train: {folder / 'run'} exists already; --overwrite replaces it\n",
    )


def test_json_is_one_object_on_stdout(folder: Path) -> None:
    said = run("ae-run", "info", folder / "bundle", "--json")
    assert json.loads(said)["manifest"]["latent"]["dim"] == 2
    assert len(said.splitlines()) == 1
