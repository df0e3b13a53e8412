"""ae-run compress, decompress and info: what comes back, what is said, and what is never left."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_archive import Archive
from ae_runtime import load

Run = Callable[..., tuple[int, str, str]]
NAMES = ["far", "tiny", "gaps", "constant", "empty", "count"]
CHECKED = "each chunk was decoded and checked\n"


@pytest.fixture(autouse=True)
def files(in_tmp_path: Path, table_bundle: Path) -> None:
    shutil.copytree(table_bundle, "table")


@pytest.fixture
def good(run: Run) -> Callable[[str], str]:
    """Stdout of a command that succeeds."""

    def call(words: str) -> str:
        code, out, err = run(words)
        assert code == 0, err
        return out

    return call


def rows(n: int = 300, seed: int = 0) -> np.ndarray:
    """Like what the table was trained on: gaps, a constant, nothing, whole numbers."""
    u, v = np.random.default_rng(seed).standard_normal((2, n))
    x = np.stack([1e6 + u, 7e-6 + 2e-6 * v, u + v, np.full(n, 5.5), u * np.nan, np.rint(9 * v)], 1)
    x[::7, 2] = np.nan
    return x


def write_csv(path: str, x: np.ndarray, names: list[str]) -> None:
    lines = [",".join(names), *(",".join(map(repr, row)) for row in x.tolist())]
    Path(path).write_text("\n".join(lines) + "\n")


def ranges(bundle: str = "table") -> np.ndarray:
    columns = load(bundle).manifest.columns or []
    return np.array([np.nan if c.max is None else c.max - c.min for c in columns])


def assert_within(found: np.ndarray, x: np.ndarray, bound: Any) -> None:
    """Every value, and gaps where gaps were."""
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    assert (np.abs(found - x) <= bound)[~np.isnan(x)].all()


def test_a_bound_in_the_values_own_units(run: Run, good: Callable[[str], str]) -> None:
    np.save("x.npy", rows())
    code, out, err = run("compress table x.npy --out x.aez --max-error 0.25")
    assert (code, err) == (0, f"no value is further away than 0.25: {CHECKED}")
    size = os.stat("x.aez").st_size
    assert out.startswith(f"300 rows -> x.aez, 14,400 -> {size:,} bytes (")
    assert re.search(r"times smaller\); chunks: 1 \w+ \(\d+ s\)$", out)
    assert good("decompress x.aez --out back.npy --bundle table") == "300 rows -> back.npy (0 s)\n"
    assert_within(np.load("back.npy"), rows(), 0.25)


def test_a_share_of_each_columns_range(run: Run, good: Callable[[str], str]) -> None:
    x = rows()
    x[50, 3], x[60, 4] = 5.500001, 3.0  # where nothing varied, and where nothing was
    x[70:73, 0] = np.inf, -np.inf, 1e300
    np.save("x.npy", x)
    code, _, err = run("compress table x.npy --out x.aez --max-error 1%")
    assert (code, err) == (
        0,
        "the bundle has no range of column 'empty': kept exactly\n"
        f"no value is further away than 1 % of its column's range: {CHECKED}",
    )
    good("decompress x.aez --out back.csv --bundle table")
    good("decompress x.aez --out back.npy --bundle table")
    with np.errstate(invalid="ignore"):
        assert_within(
            np.where(np.isinf(x), 0, np.load("back.npy")),
            np.where(np.isinf(x), 0, x),
            np.nan_to_num(0.01 * ranges()),
        )
    np.testing.assert_array_equal(np.load("back.npy")[70:72, 0], [np.inf, -np.inf])
    lines = Path("back.csv").read_text().splitlines()
    assert lines[0] == ",".join(NAMES)
    np.testing.assert_array_equal(np.loadtxt(lines[1:], delimiter=","), np.load("back.npy"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int64, np.uint8])
def test_without_a_bound_every_bit_of_any_dtype(good: Callable[[str], str], dtype: Any) -> None:
    x = np.random.default_rng(1).integers(0, 200, (100, 6)).astype(dtype)
    np.savez("x.npz", a=x, b=x)
    good("compress table x.npz:b --out x.aez")
    good("decompress x.aez --out back.npz")
    with np.load("back.npz") as back:
        assert back["x"].dtype == dtype
        np.testing.assert_array_equal(back["x"], x)


@pytest.mark.parametrize("amount", ["0.1", "2%"])
def test_rmse(run: Run, good: Callable[[str], str], amount: str) -> None:
    np.save("x.npy", rows(2000))
    code, _, err = run(f"compress table x.npy --out x.aez --rmse {amount} --no-model")
    said = "0.1" if amount == "0.1" else "2 % of its column's range"
    assert code == 0
    assert err.splitlines()[-1] == (
        f"the root mean square error of a chunk is at most {said}; single values not bounded"
    )
    good("decompress x.aez --out back.npy")
    back, x = np.load("back.npy"), rows(2000)
    bound = np.full(6, 0.1) if amount == "0.1" else 0.02 * ranges()
    varies = bound > 0
    off = (back - x) / np.where(varies, bound, 1)  # of all values, those that are exact too
    assert np.sqrt(np.nanmean(off**2)) <= 1
    if amount != "0.1":
        np.testing.assert_array_equal(back[:, ~varies], x[:, ~varies])
    assert "single values not bounded" in good("info x.aez")


def test_a_csv_in_any_order_of_columns(run: Run, good: Callable[[str], str]) -> None:
    x = rows()
    more = np.column_stack([x[:, ::-1], np.arange(len(x))])
    write_csv("x.csv", more, [*NAMES[::-1], "row"])
    code, _, err = run("compress table x.csv --out x.aez")
    assert (code, err.splitlines()) == (
        0,
        [
            "x.csv: separator ',', with a header",
            "columns not in the model are left out: row",
            "every bit is kept",
        ],
    )
    good("decompress x.aez --out back.npy")
    np.testing.assert_array_equal(np.load("back.npy"), x)


def test_images(good: Callable[[str], str], digits_bundle: Path) -> None:
    x = np.random.default_rng(2).integers(0, 17, (200, 8, 8), np.uint8)
    np.save("x.npy", x)
    good(f"compress {digits_bundle} x.npy --out x.aez --max-error 1%")
    with Archive("x.aez", model=load(digits_bundle)) as archive:
        assert archive.names is None
        np.testing.assert_allclose(archive.max_error, np.full((8, 8), 2.55))
        assert (np.abs(archive[:].astype(int) - x) <= 2).all()


def test_time_steps_and_windows_of_a_series(
    run: Run, good: Callable[[str], str], table_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["series"] = {"channels": ["flow", "heat"], "min": [-4, 0], "max": [4, 50]}

    bundle = rewrite(table_bundle.parent / "gru", edit=edit)
    x = np.random.default_rng(3).standard_normal((125, 2)).astype(np.float32)
    write_csv("x.csv", x[:, ::-1].astype(np.float64), ["heat", "flow"])
    good(f"compress {bundle} x.csv --out x.aez --max-error 1%")
    with Archive("x.aez", model=load(bundle)) as archive:
        assert archive.names == ["flow", "heat"]
        np.testing.assert_allclose(archive.max_error, [0.08, 0.5])
        assert_within(archive[:], x.astype(np.float64), archive.max_error)
    np.save("windows.npy", x[:120].reshape(10, 12, 2))
    good(f"compress {bundle} windows.npy --out w.aez --max-error 1%")
    with Archive("w.aez", model=load(bundle)) as archive:
        assert archive.names is None
        assert_within(archive[:], x[:120].reshape(10, 12, 2), archive.max_error)
    old = table_bundle.parent / "gru"
    assert run(f"compress {old} windows.npy --out old.aez --max-error 1%") == (
        2,
        "",
        "ae-run: the bundle has no ranges that a share could be of: it is an older one, or of "
        "modules that came without; give the bound in the values' own units, as --max-error 0.5\n",
    )


def test_the_model_inside_or_given(
    run: Run, good: Callable[[str], str], digits_bundle: Path
) -> None:
    ae = load(digits_bundle)
    x = ae.decode(3 * np.random.default_rng(4).standard_normal((600, 8)))
    np.save("x.npy", x)
    words = f"compress {digits_bundle} x.npy --max-error 1% --out"
    fields = json.loads(good(f"{words} x.aez --include-model --json"))
    assert fields["modes"] == {"model": 1}
    assert fields["model_bytes"] > 0
    assert fields["rows"] == 600
    assert fields["ratio"] == fields["raw_bytes"] / fields["bytes"]
    good("decompress x.aez --out inside.npy")
    assert np.abs(np.load("inside.npy").astype(int) - x).max() <= 2
    good(f"{words} y.aez")
    assert f"model       inside ({ae.model_id})" in good("info x.aez")
    assert f"model       referred to, not inside ({ae.model_id})" in good("info y.aez")
    assert run("decompress y.aez --out y.npy") == (
        2,
        "",
        f"ae-run: y.aez holds latents of the model {ae.model_id[:12]}, which is not inside; "
        "give its bundle with --bundle\n",
    )
    assert run("decompress y.aez --out y.npy --bundle table") == (
        2,
        "",
        f"ae-run: y.aez was written with the model {ae.model_id[:12]}, this bundle is "
        f"{load('table').model_id[:12]}; give the bundle that it was written with\n",
    )
    good(f"decompress y.aez --out given.npy --bundle {digits_bundle} --rows 100:200")
    np.testing.assert_array_equal(np.load("given.npy"), np.load("inside.npy")[100:200])
    good(f"{words} z.aez --no-model")
    assert "model       none\n" in good("info z.aez")
    assert os.stat("y.aez").st_size < os.stat("z.aez").st_size


@pytest.fixture
def mixed(mixed_bundle: Path) -> str:
    """Rows of words, one of which the bundle does not know, with gaps."""
    jobs = ["cook", "clerk", "other", "pilot", "", "Zoë, the 1st"]
    lines = [f'{at / 7!r},"{jobs[at % 6]}"' for at in range(60)]
    lines[5] = ',"cook"'
    Path("jobs.csv").write_text("age,job\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(mixed_bundle)


@pytest.mark.parametrize("bound", ["", "--max-error 0.5", "--rmse 0.5"])
def test_categories_are_never_lost(
    run: Run, good: Callable[[str], str], mixed: str, bound: str
) -> None:
    code, _, err = run(f"compress {mixed} jobs.csv --out jobs.aez {bound}")
    assert code == 0
    note = "the rows hold categories, which come back exactly: the model is not used"
    assert (note in err.splitlines()) == bool(bound)
    good("decompress jobs.aez --out back.csv")
    was, found = (Path(name).read_text("utf-8").splitlines() for name in ("jobs.csv", "back.csv"))
    assert [line.partition(",")[2].strip('"') for line in found] == [
        line.partition(",")[2].strip('"') for line in was
    ]
    ages = [
        [float(line.partition(",")[0]) for at, line in enumerate(lines[1:]) if at != 5]
        for lines in (was, found)
    ]
    assert np.abs(np.subtract(*ages)).max() <= (1e9 if "rmse" in bound else 0.5 if bound else 0)
    assert json.loads(good("info jobs.aez --json"))["archive"]["levels"] == [
        None,
        ["cook", "clerk", "other", "Zoë, the 1st", "pilot"],
    ]
    assert run("decompress jobs.aez --out back.npy") == (
        2,
        "",
        "ae-run: back.npy: a .npy holds no categories; write .csv, .parquet\n",
    )


def test_categories_from_stdin(
    run: Run, good: Callable[[str], str], mixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("jobs.csv").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run(f"compress {mixed} - --out jobs.aez") == (
        2,
        "",
        "ae-run: stdin: column 'job' holds 'Zoë, the 1st', which the bundle does not know; "
        "of a file such words are gathered first: bring a file\n",
    )
    assert not Path("jobs.aez").exists()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"age,job\n1,cook\n2,clerk\n")))
    good(f"compress {mixed} - --out jobs.aez")
    good("decompress jobs.aez --out back.csv")
    assert Path("back.csv").read_text() == "age,job\n1.0,cook\n2.0,clerk\n"


def test_dates_are_kept_exactly(
    run: Run, good: Callable[[str], str], table_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["columns"][1] |= {"type": "date", "integer": True, "min": 0, "max": 864e5}

    bundle = rewrite(table_bundle, edit=edit)
    days = [f"2026-0{1 + at % 9}-{10 + at % 19}" for at in range(200)]
    lines = [f"{at / 3!r},{days[at]},0,5.5,,{at}" for at in range(200)]
    Path("x.csv").write_text(",".join(NAMES) + "\n" + "\n".join(lines) + "\n")
    code, _, err = run(f"compress {bundle} x.csv --out x.aez --max-error 0.5")
    assert code == 0
    assert err.splitlines()[1:3] == [
        "dates are kept exactly: column 'tiny'",
        "the rows hold dates, which come back exactly: the model is not used",
    ]
    good(f"decompress x.aez --out back.csv --bundle {bundle}")
    assert [line.split(",")[1] for line in Path("back.csv").read_text().splitlines()[1:]] == days
    good("decompress x.aez --out seconds.csv")
    assert Path("seconds.csv").read_text().splitlines()[1].split(",")[1] == "1768003200.0"
    Path("x.csv").write_text(",".join(NAMES) + "\n1,2026-01-10T08:15,0,5.5,,1\n")
    good(f"compress {bundle} x.csv --out late.aez")
    assert run(f"decompress late.aez --out late.csv --bundle {bundle}") == (
        2,
        "",
        "ae-run: column 'tiny' holds moments between days, which the bundle has none of; "
        "without --bundle they are written as seconds since 1970\n",
    )


@pytest.fixture
def broken(good: Callable[[str], str]) -> np.ndarray:
    """broken.aez of 5 chunks of 100 rows, of which the second is damaged; and its rows."""
    x = np.random.default_rng(5).standard_normal((500, 6))
    np.save("x.npy", x)
    good("compress table x.npy --out x.aez --chunk-rows 100")
    with Archive("x.aez") as archive:
        size = archive.chunks[0].bytes
    raw = bytearray(Path("x.aez").read_bytes())
    raw[int(1.5 * size)] ^= 1
    Path("broken.aez").write_bytes(raw)
    return x


def test_damage_ends_the_work_or_is_left_out(run: Run, broken: np.ndarray) -> None:
    code, out, err = run("decompress broken.aez --out back.npy")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "broken.aez, rows 101 to 200: " in err
    assert not list(Path().glob("back*"))
    code, out, err = run("decompress broken.aez --out back.npy --on-error skip")
    assert (code, out) == (0, "400 rows -> back.npy (0 s), 100 skipped\n")
    assert err == "100 rows are lost; back.npy.skipped.csv says which\n"
    np.testing.assert_array_equal(np.load("back.npy"), np.delete(broken, slice(100, 200), 0))
    listed = Path("back.npy.skipped.csv").read_text().splitlines()
    assert listed[0] == "row,reason"
    assert listed[1].startswith('101,"broken.aez, rows 101 to 200: ')
    fields = json.loads(run("decompress broken.aez --out b.npy --on-error skip --json")[1])
    assert (fields["rows"], fields["skipped_rows"]) == (400, 100)
    # What is whole is there, whatever lies beside.
    assert run("decompress broken.aez --out part.npy --rows 200:")[0] == 0
    np.testing.assert_array_equal(np.load("part.npy"), broken[200:])


def test_a_lost_end(run: Run, broken: np.ndarray) -> None:
    raw = Path("x.aez").read_bytes()
    Path("cut.aez").write_bytes(raw[: len(raw) // 2])
    code, out, err = run("decompress cut.aez --out back.npy --on-error skip")
    assert (code, out) == (0, "200 rows -> back.npy (0 s)\n")
    assert err == "cut.aez: the index is lost; chunks were found by looking for them\n"
    assert "damage      the index is lost" in run("info cut.aez")[1]


@pytest.mark.parametrize(
    ("words", "low", "high"), [(":", 0, 500), ("90:310", 90, 310), ("7:7", 7, 7)]
)
@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_some_rows(
    good: Callable[[str], str], broken: np.ndarray, words: str, low: int, high: int, suffix: str
) -> None:
    assert good(f"decompress x.aez --out back.{suffix} --rows {words}") == (
        f"{high - low:,} rows -> back.{suffix} (0 s)\n"
    )
    if suffix == "csv":
        lines = Path("back.csv").read_text().splitlines()[1:]
        found = np.array([list(map(float, line.split(","))) for line in lines]).reshape(-1, 6)
    elif suffix == "npy":
        found = np.load("back.npy")
    else:
        with np.load("back.npz") as stored:
            found = stored["x"]
    np.testing.assert_array_equal(found, broken[low:high])


def test_a_parquet_file(good: Callable[[str], str], mixed: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="environment has no pyarrow")
    good(f"compress {mixed} jobs.csv --out jobs.aez")
    good("decompress jobs.aez --out jobs.parquet")
    good(f"compress {mixed} jobs.parquet --out again.aez")
    good("decompress again.aez --out again.parquet")
    first, again = (parquet.read_table(f"{name}.parquet") for name in ("jobs", "again"))
    assert first.column("job").equals(again.column("job"))
    np.testing.assert_array_equal(first.column("age"), again.column("age"))


def test_info_names_modes(good: Callable[[str], str], broken: np.ndarray) -> None:
    lines = good("info x.aez").splitlines()
    size = os.stat("x.aez").st_size
    assert lines[0].startswith(f"500 rows of 6 float64 in 24,000 -> {size:,} bytes (")
    assert lines[1:4] == [
        "error bound every bit is kept",
        "model       none",
        f"columns     {', '.join(NAMES)}",
    ]
    assert lines[5].split()[:3] == ["lossless", "5", "500"]
    fields = json.loads(good("info x.aez --json"))["archive"]
    assert fields["modes"] == {"lossless": 5}
    assert [chunk["first"] for chunk in fields["chunks"]] == [0, 100, 200, 300, 400]
    assert sum(chunk["bytes"] for chunk in fields["chunks"]) < fields["bytes"] == size


def test_outputs_that_are_there(run: Run, good: Callable[[str], str], broken: np.ndarray) -> None:
    exists = "ae-run: {} exists already; --overwrite replaces it\n"
    assert run("compress table x.npy --out x.aez") == (2, "", exists.format("x.aez"))
    good("compress table x.npy --out x.aez --overwrite")
    good("decompress x.aez --out back.npy")
    assert run("decompress x.aez --out back.npy") == (2, "", exists.format("back.npy"))
    good("decompress x.aez --out back.npy --overwrite")
    Path("mine.aez").write_text("about these rows")
    assert run("compress table x.npy --out mine.aez --overwrite")[2] == (
        "ae-run: mine.aez exists and is not an archive; it is never overwritten, choose another\n"
    )
    assert run("decompress x.aez --out x.npy --overwrite")[2] == (
        "ae-run: x.npy exists and is not an output of ae-run; it is never overwritten, choose "
        "another\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "compress table x.npy --out new.aez --max-error 1 --rmse 1",
            "--max-error and --rmse are two error bounds; give one of them",
        ),
        (
            "compress table x.npy --out new.aez --max-error 1 --embed",
            "--embed is called --include-model now",
        ),
        (
            "compress table x.npy --out new.aez --include-model",
            "--include-model puts a model inside, and an archive without --max-error or --rmse "
            "uses none; "
            "choose one",
        ),
        (
            "compress table x.npy --out new.aez --max-error 1 --include-model --no-model",
            "--include-model puts a model inside, and --no-model uses none; choose one",
        ),
        (
            "compress table x.npy --out new.npy",
            "new.npy: an archive is a .aez; call it new.aez",
        ),
        (
            "compress table x.npy --out new.aez --max-error much",
            "Invalid value for '--max-error': 'much' is no bound; write a number such as 0.5, in "
            "the values' units, or a share of each column's range such as 1%",
        ),
        ("compress table none.npy --out new.aez", "none.npy does not exist"),
        (
            "compress table wide.npy --out new.aez",
            "wide.npy: x has shape (5, 7), the bundle wants (B, 6)",
        ),
        ("compress table empty.npy --out new.aez", "empty.npy holds no rows"),
        (
            "compress table bad.csv --out new.aez",
            "bad.csv: row 2, column 'count': 'much' is not a number; tables of numbers are taken: "
            "leave the column out, or write it as numbers with a point before decimals",
        ),
        (
            "decompress x.aez --out new.npy --rows 5",
            "Invalid value for '--rows': '5' is no range of rows; write it as 1000:2000",
        ),
        (
            "decompress x.npy --out new.npy",
            "x.npy is no archive: it does not begin as one; choose a .aez file",
        ),
        (
            "decompress x.aez --out new.txt",
            "new.txt: .txt cannot be written; known types: .npy, .npz, .csv, .parquet",
        ),
        ("info x.aez --weights", "--weights is of a bundle; an archive has none to list"),
    ],
)
def test_wrong_words(run: Run, broken: np.ndarray, words: str, line: str) -> None:
    np.save("wide.npy", np.zeros((5, 7)))
    np.save("empty.npy", np.zeros((0, 6)))
    Path("bad.csv").write_text(",".join(NAMES) + "\n1,2,3,4,5,6\n1,2,3,4,5,much\n")
    before = sorted(os.listdir())
    assert run(words) == (2, "", f"ae-run: {line}\n")
    assert sorted(os.listdir()) == before


def test_images_of_floats_have_no_range(
    run: Run, digits_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    np.save("x.npy", np.zeros((5, 8, 8), np.float32))
    assert run(f"compress {digits_bundle} x.npy --out x.aez --max-error 1%") == (
        2,
        "",
        "ae-run: the bundle has no range of images of float32, only uint8 has one; give the bound "
        "in the values' own units, as --max-error 0.5\n",
    )


DRIVER = """
import os, signal, sys
from ae_runtime.commands import compress, decompress
from ae_archive import input
from ae_runtime import console as cmd
from ae_runtime.cli import ae_run
input.BLOCK_VALUES = 300
def shown(line, what):
    def progress(done, rows):
        if done >= 250:
            os.kill(os.getpid(), signal.SIGKILL)
    return progress
compress.shown = decompress.shown = shown
cmd.run(ae_run, "ae-run", sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    "words",
    ["compress table x.npy --out new.aez --chunk-rows 50", "decompress x.aez --out new.npy"],
)
def test_a_kill_leaves_nothing_that_is_taken_for_an_output(
    run: Run, broken: np.ndarray, words: str
) -> None:
    done = subprocess.run([sys.executable, "-c", DRIVER, *words.split()], check=False)
    assert done.returncode == -signal.SIGKILL
    out = Path(words.split()[words.split().index("--out") + 1])
    assert not out.exists()
    assert Path(f"{out}.part").exists()
    assert run(words)[0] == 0
    assert [path.name for path in Path().glob(f"{out}*")].count(f"{out}.part") == 0
    if out.suffix == ".npy":
        np.testing.assert_array_equal(np.load(out), broken)
    else:
        with Archive(out) as archive:
            np.testing.assert_array_equal(archive[:], broken)
