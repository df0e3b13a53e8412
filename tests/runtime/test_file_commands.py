"""ae-run over folders and several files, ids that travel along, and what each option does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import load

Run = Callable[..., tuple[int, str, str]]
NAMES = ["far", "tiny", "gaps", "constant", "empty", "count"]


@pytest.fixture(autouse=True)
def files(in_tmp_path: Path, table_bundle: Path) -> None:
    shutil.copytree(table_bundle, "table")


def rows(seed: int, n: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 6))


def write_csv(path: str, x: np.ndarray, ids: list[str] | None = None) -> None:
    names = [*(["who"] if ids else []), *NAMES]
    lines = [",".join(names)]
    for at, row in enumerate(x.tolist()):
        lines.append(",".join([*([ids[at]] if ids else []), *map(repr, row)]))
    Path(path).write_text("\n".join(lines) + "\n")


@pytest.fixture
def shards() -> Path:
    """Three files of rows: a.npy, b.csv and c.npz."""
    folder = Path("in")
    folder.mkdir()
    np.save(folder / "a.npy", rows(0))
    write_csv("in/b.csv", rows(1))
    np.savez(folder / "c.npz", x=rows(2))
    (folder / "README.txt").write_text("about these")
    return folder


def test_a_folder_of_files_is_a_folder_of_outputs(run: Run, shards: Path) -> None:
    code, out, err = run("encode table in --out done")
    assert (code, out) == (0, "3 files, 60 rows -> done (0 s)\n")
    assert err == "b.csv: separator ',', with a header\n"
    ae = load("table")
    for number, name in enumerate("abc"):
        np.testing.assert_array_equal(np.load(f"done/{name}.npy"), ae.encode(rows(number)))
    before = {path.name: os.stat(path).st_mtime_ns for path in Path("done").iterdir()}
    code, out, err = run("encode table in --out done")
    assert (code, out) == (0, "3 files, 60 rows -> done (0 s), 3 of them done before\n")
    assert {path.name: os.stat(path).st_mtime_ns for path in Path("done").iterdir()} == before
    code, out, _ = run("decode table done --out back --to csv --json")
    assert json.loads(out) == {
        "out": "back",
        "files": 3,
        "files_done_before": 0,
        "rows": 60,
        "resumed_rows": 0,
        "skipped_rows": 0,
    }
    assert sorted(path.name for path in Path("back").glob("*.csv")) == ["a.csv", "b.csv", "c.csv"]


def test_several_files(run: Run, shards: Path) -> None:
    assert run("encode table in/a.npy in/c.npz --out done --to npz")[0] == 0
    assert sorted(path.name for path in Path("done").glob("*.npz")) == ["a.npz", "c.npz"]


def test_a_bad_shard_stops_and_the_next_call_goes_on(run: Run, shards: Path) -> None:
    x = rows(1)
    x[7, 0] = np.inf
    write_csv("in/b.csv", x)
    code, out, err = run("encode table in --out done")
    assert (code, out) == (2, "")
    assert err == (
        "ae-run: in/b.csv: row 8, column 'far' is infinite; correct it, or write NaN for a "
        "missing value\n"
    )
    assert sorted(os.listdir("done")) == ["a.npy", "a.npy.json"]
    write_csv("in/b.csv", rows(1))
    assert run("encode table in --out done")[1] == (
        "3 files, 60 rows -> done (0 s), 1 of them done before\n"
    )


def test_rows_left_out_of_shards_are_counted(run: Run, shards: Path) -> None:
    x = rows(1)
    x[[7, 9], 0] = np.inf
    write_csv("in/b.csv", x)
    _, out, _ = run("encode table in --out done --on-error skip")
    assert out == "3 files, 58 rows -> done (0 s), 2 skipped\n"
    assert Path("done/b.npy.skipped.csv").read_text().splitlines()[0] == "row,reason"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("in --out in", "in is the folder of the input; choose another for the output"),
        (
            "in --out table/manifest.json",
            "table/manifest.json is no folder; several inputs need one",
        ),
        ("in --out -", "several inputs need a folder: --out FOLDER"),
        (
            "in/a.npy other/a.csv --out done",
            "in/a.npy and other/a.csv would both be done/a.npy; rename one",
        ),
    ],
)
def test_wrong_folders(run: Run, shards: Path, words: str, line: str) -> None:
    assert run(f"encode table {words}") == (2, "", f"ae-run: {line}\n")


def test_ids_travel_along(run: Run) -> None:
    ids = [f"p{at:02}" for at in range(20)]
    write_csv("x.csv", rows(0), ids)
    assert run("encode table x.csv --out z.csv --id who")[0] == 0
    lines = Path("z.csv").read_text().splitlines()
    assert lines[0] == "who,z0,z1"
    assert [line.split(",")[0] for line in lines[1:]] == ids
    assert run("encode table x.csv --out z.npz --id who")[0] == 0
    with np.load("z.npz") as found:
        assert found["id"].tolist() == ids
    for source in ("z.csv", "z.npz"):
        out = f"{source}.csv"
        asked = "--id who" if source == "z.csv" else ""
        assert run(f"decode table {source} --out {out} {asked}")[0] == 0
    found = Path("z.csv.csv").read_text().splitlines()
    plain = Path("z.npz.csv").read_text().splitlines()
    assert [line.split(",", 1)[1] for line in found] == plain
    assert [line.split(",", 1)[0] for line in found[1:]] == ids


def test_ids_and_types_without_them(run: Run) -> None:
    write_csv("x.csv", rows(0), ["a"] * 20)
    assert run("encode table x.csv --out z.npy --id who") == (
        2,
        "",
        "ae-run: z.npy: a .npy holds no ids; write .npz, .csv, .parquet, or leave --id away\n",
    )
    assert run("reconstruct table x.csv --out x_hat.csv --id nobody")[0] == 2
    assert not [path for path in Path().iterdir() if path.name not in ("table", "x.csv")]


@pytest.mark.parametrize("size", ["64MB", "1GB", "200MiB", "100000000"])
def test_options_of_loading_are_passed_on(
    run: Run, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("x.npy", rows(0))
    asked: dict[str, object] = {}

    def load_and_tell(bundle: Path, **options: object) -> object:
        asked.update(options)
        return load(bundle, threads=1)

    monkeypatch.setattr("ae_runtime.commands.files.load", load_and_tell)
    words = f"--device cpu --threads 2 --tile 8 --max-memory {size}"
    assert run(f"encode table x.npy --out z.npy {words}")[0] == 0
    sizes = {"64MB": 64 * 10**6, "1GB": 10**9, "200MiB": 200 * 2**20, "100000000": 10**8}
    assert asked == {"device": "cpu", "threads": 2, "tile": 8, "max_memory": sizes[size]}
