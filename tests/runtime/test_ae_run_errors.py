"""Whatever is wrong, ae-run says it in one line, ends with the right code, and leaves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]
LINE = (
    "tables of numbers are taken: leave the column out, or write it as numbers with a point "
    "before decimals"
)


@pytest.fixture(autouse=True)
def files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table_bundle: Path, digits_bundle: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(table_bundle, "table")
    shutil.copytree(digits_bundle, "digits")
    Path("nothing").mkdir()
    names = "far,tiny,gaps,constant,empty,count"
    for name, lines in {
        "good": [names, "1,2,3,4,,6"],
        "empty": [],
        "header": [names],
        "text": [names, "1,2,3,4,,6", "1,2,red,4,,6"],
        "ragged": [names, "1,2,3,4,,6", "1,2,3"],
        "infinite": [names, "1,2,3,4,,6", "1,2,3,-inf,,6"],
        "lacking": ["far,tiny", "1,2"],
    }.items():
        Path(f"{name}.csv").write_text("".join(line + "\n" for line in lines))
    np.save("wide.npy", np.ones((4, 7)))
    np.save("images.npy", np.ones((4, 8, 8), np.uint8))
    np.save("image.npy", np.ones((8, 8), np.uint8))
    np.save("strings.npy", np.array([["a"] * 6]))
    np.save("objects.npy", np.array([[None] * 6]), allow_pickle=True)
    np.savez("two.npz", a=np.ones((2, 6)), b=np.ones((2, 6)))


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(run: Run, words: str) -> str:
    """The one line on stderr, for words, files or data that are wrong; nothing has changed."""
    before = contents()
    code, out, err = run(words)
    assert (code, out) == (2, "")
    assert err.startswith("ae-run: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert contents() == before
    return err.removeprefix("ae-run: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("none.npy", "none.npy does not exist"),
        (
            "nothing",
            "nothing: a folder cannot be read; known types: .npy, .npz, .csv, .csv.gz, .tsv, "
            ".tsv.gz, .parquet, .arrow, .feather",
        ),
        ("empty.csv", "empty.csv is empty; it holds no rows"),
        ("header.csv", "header.csv holds a header and no rows"),
        ("text.csv", f"text.csv: row 2, column 'gaps': 'red' is not a number; {LINE}"),
        (
            "ragged.csv",
            "ragged.csv: row 2 has 3 cells, the header has 6; the separator found is ','",
        ),
        (
            "infinite.csv",
            "infinite.csv: row 2, column 'constant' is infinite; "
            "correct it, or write NaN for a missing value",
        ),
        (
            "lacking.csv",
            "lacking.csv lacks 4 of the model's columns: gaps, constant, empty, count",
        ),
        ("wide.npy", "wide.npy: x has shape (4, 7), the bundle wants (B, 6)"),
        ("strings.npy", "strings.npy holds <U1 values; only numbers are taken"),
        ("two.npz", "two.npz holds a, b; say which: two.npz:a"),
        ("two.npz:c", "two.npz holds no 'c'; it holds a, b"),
    ],
)
def test_wrong_data(run: Run, source: str, line: str) -> None:
    for verb in ("encode", "reconstruct"):
        assert refused(run, f"{verb} table {source} --out out.npy") == line


def test_objects(run: Run) -> None:
    line = refused(run, "encode table objects.npy --out out.npy")
    assert line.startswith("objects.npy is not a readable .npy array: ")  # the rest is numpy's


def test_one_image_without_its_batch_axis(run: Run) -> None:
    assert refused(run, "encode digits image.npy --out z.npy") == (
        "image.npy: x has shape (8, 8), the bundle wants (B, 8, 8); for one sample write x[None]"
    )


def test_numbers_of_another_type(run: Run) -> None:
    np.save("floats.npy", np.ones((4, 8, 8)))
    assert refused(run, "encode digits floats.npy --out z.npy") == (
        "floats.npy: x is float64, the bundle takes uint8; "
        "if the values are whole and in range, pass x.astype('uint8')"
    )


def test_latents_of_another_model(run: Run) -> None:
    assert run("encode digits images.npy --out z.npy --quiet")[0] == 0
    ids = [
        json.loads(Path(b, "manifest.json").read_bytes())["model_id"] for b in ("digits", "table")
    ]
    assert refused(run, "decode table z.npy --out out.npy") == (
        f"z.npy holds latents of model {ids[0][:12]}, this bundle is {ids[1][:12]}; "
        "decode with the bundle that encoded them"
    )


@pytest.mark.parametrize(
    ("out", "line"),
    [
        (
            "out",
            "out: no file extension cannot be written; known types: .npy, .npz, .csv, .parquet",
        ),
        (
            "out.csv.gz",
            "out.csv.gz: .gz cannot be written; known types: .npy, .npz, .csv, .parquet",
        ),
        ("none/out.npy", "none/out.npy: the folder none does not exist; make it first"),
        (
            "good.csv --overwrite",
            "good.csv exists and is not an output of ae-run; "
            "it is never overwritten, choose another",
        ),
    ],
)
def test_wrong_outputs(run: Run, out: str, line: str) -> None:
    assert refused(run, f"encode table good.csv --out {out}") == line


def test_an_output_that_is_there(run: Run) -> None:
    assert run("encode table good.csv --out out.npy")[0] == 0
    assert refused(run, "encode table good.csv --out out.npy") == (
        "out.npy exists already; --overwrite replaces it"
    )
    assert run("encode table good.csv --out out.npy --overwrite")[0] == 0


def change_byte(bundle: Path) -> None:
    raw = bytearray((bundle / "encoder.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle / "encoder.onnx").write_bytes(raw)


def newer(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"format": "1.0"', '"format": "2.0"'))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            change_byte,
            "table: encoder.onnx does not match the hash in the manifest; "
            "fetch or export the bundle again",
        ),
        (
            lambda bundle: (bundle / "decoder.onnx").unlink(),
            "table: decoder.onnx is missing; fetch or export the bundle again",
        ),
        (
            newer,
            "table: the bundle has format 2.0, this version reads up to 1.x; update ae-toolkit",
        ),
        (
            lambda bundle: (bundle / "manifest.json").unlink(),
            "table is not a bundle: it holds no manifest.json",
        ),
        (
            lambda bundle: shutil.rmtree(bundle),
            "table does not exist; a bundle is a folder or a .zip that ae-export wrote",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["info", "doctor", "encode", "decode", "reconstruct"])
def test_wrong_bundles(run: Run, damage: Callable[[Path], None], line: str, verb: str) -> None:
    damage(Path("table"))
    rest = "" if verb in ("info", "doctor") else " good.csv --out out.npy"
    assert refused(run, f"{verb} table{rest}") == line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("nope", "nope"),
        ("encode", "BUNDLE"),
        ("encode table", "IN"),
        ("decode table", "Z"),
        ("encode table good.csv", "--out"),
        ("encode table good.csv --out", "--out"),
        ("encode table good.csv --out out.npy --on-error go-on", "--on-error"),
        ("encode table good.csv --out out.npy --stride 0", "--stride"),
        ("encode table good.csv --out out.npy --max-memory much", "--max-memory"),
        ("encode table good.csv --out out.npy --nope", "--nope"),
        ("encode table good.csv --out out.npy --threads 0", "--threads"),
        ("encode table good.csv --out out.npy --tile many", "--tile"),
        ("info", "BUNDLE"),
        ("--debug info table", "--debug"),
    ],
)
def test_wrong_words(run: Run, words: str, named: str) -> None:
    assert named in refused(run, words)  # the rest is click's


def test_no_words_give_the_help(run: Run) -> None:
    code, out, err = run("")
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ae-run [OPTIONS] COMMAND [ARGS]...\n")
    assert run("--help") == (0, err, "")


def test_debug_shows_where(run: Run) -> None:
    code, out, err = run("encode table wide.npy --out out.npy --debug")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.splitlines()[-1] == "ae-run: wide.npy: x has shape (4, 7), the bundle wants (B, 6)"
