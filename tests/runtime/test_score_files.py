"""Scores from file to file: those of arrays, the strangest rows named, resumed after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from ae_runtime import Autoencoder, load
from ae_runtime.cli import ae_run
from ae_runtime.errors import OutputExists, ScoreUnknown
from ae_runtime.files.jobs import journal
from ae_runtime.files.jobs.score_summary import ScoreOptions, ScoreSummary
from ae_runtime.files.writers.layout import Chunk
from ae_runtime.model import plan
from ae_runtime.model.scoring import score_arrays
from ae_runtime.shards import score_shard

BLOCK = 50
DRIVER = f"""
import os, signal, sys
from ae_runtime import load
from ae_runtime.files.jobs import journal
from ae_runtime.model import plan
plan.MAX_BLOCK_ROWS = {BLOCK}
journal.NOTE_EVERY_S = 0.0
bundle, source, out, kill_at = sys.argv[1:]
def progress(done, rows):
    if done >= int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
load(bundle, threads=2).score_file(source, out, parts=True, progress=progress)
"""


@pytest.fixture
def bundle(table_bundle: Path) -> Path:
    return table_bundle.parent / "scored"


@pytest.fixture
def ae(bundle: Path) -> Autoencoder:
    return load(bundle)


@pytest.fixture(autouse=True)
def small_blocks(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(journal, "NOTE_EVERY_S", 0.0)
    np.save("x.npy", rows())


def rows() -> NDArray[np.float64]:
    random = np.random.default_rng(0)
    u, v = random.standard_normal((2, 333))
    x = np.stack([1e6 + u, u * u * 1e-6, u + v, u * 0 + 5.5, u * np.nan, np.rint(10 * v)], 1)
    x[17, 2] += 30
    x[200, 0] += 90
    return x


def run(*words: Any) -> Result:
    return CliRunner().invoke(ae_run, [str(word) for word in words], catch_exceptions=False)


def expected(ae: Autoencoder, x: NDArray[Any], place: int = 0) -> NDArray[np.float32]:
    """Columns score, probability, anomaly and parts, from the scores of arrays."""
    scored = score_arrays(ae.model, x)
    score = scored.scores[:, place : place + 1]
    name = (ae.manifest.scores or [])[place].name
    chance = ae.tail_probability(score, name).astype(np.float32)
    flags = ae.is_anomaly(x, name=name)[:, None].astype(np.float32)
    return np.concatenate([score, chance, flags, scored.parts], axis=1)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
@pytest.mark.parametrize("parts", [False, True])
def test_a_file_holds_the_scores_of_arrays(ae: Autoencoder, suffix: str, parts: bool) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
    out = f"s.{suffix}"
    done = ae.score_file("x.npy", out, parts=parts)
    assert done.rows == 333
    wanted = expected(ae, rows())[:, : None if parts else 3]
    found, names = read(out)
    np.testing.assert_array_equal(found, wanted)
    if names:
        columns = [f"part_{column.name}" for column in ae.manifest.columns or ()]
        assert names == ["score", "probability", "anomaly", *(columns if parts else [])]


def read(out: str) -> tuple[NDArray[np.float32], list[str]]:
    if out.endswith(".npy"):
        return np.load(out), []
    if out.endswith(".npz"):
        with np.load(out) as stored:
            return stored["score"], []
    if out.endswith(".csv"):
        header, *lines = csv.reader(Path(out).read_text().splitlines())
        return np.array(lines, np.float64).astype(np.float32), header
    table = pytest.importorskip("pyarrow.parquet").read_table(out)
    return np.stack([c.to_numpy() for c in table.columns], 1).astype(np.float32), table.column_names


def test_other_scores_and_thresholds(ae: Autoencoder) -> None:
    ae.score_file("x.npy", "s.npy", name="whitened")
    np.testing.assert_array_equal(np.load("s.npy"), expected(ae, rows(), 2)[:, :3])
    ae.score_file("x.npy", "t.npy", threshold=0.2)
    found = np.load("t.npy")
    np.testing.assert_array_equal(found[:, 2], found[:, 0] > 0.2)
    with pytest.raises(ScoreUnknown, match="no score 'x'"):
        ae.score_file("x.npy", "u.npy", name="x")
    assert not Path("u.npy").exists()


@pytest.mark.parametrize("kill_at", [150, 333])
def test_killed_and_called_again(ae: Autoencoder, bundle: Path, kill_at: int) -> None:
    words = [sys.executable, "-c", DRIVER, str(bundle), "x.npy", "s.npy", str(kill_at)]
    assert subprocess.run(words, env=os.environ).returncode == -signal.SIGKILL
    assert not Path("s.npy").exists()
    done = ae.score_file("x.npy", "s.npy", parts=True)
    assert 0 < done.resumed_rows <= kill_at
    ae.score_file("x.npy", "whole.npy", parts=True)
    assert Path("s.npy").read_bytes() == Path("whole.npy").read_bytes()


def test_another_question_starts_anew(ae: Autoencoder, bundle: Path) -> None:
    words = [sys.executable, "-c", DRIVER, str(bundle), "x.npy", "s.npy", "200"]
    subprocess.run(words, env=os.environ)
    done = ae.score_file("x.npy", "s.npy", parts=True, name="error")
    assert done.resumed_rows == 0
    np.testing.assert_array_equal(np.load("s.npy"), expected(ae, rows(), 1))


def test_time_steps_score_the_mean_of_their_windows(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored_series")
    random = np.random.default_rng(1)
    x = random.standard_normal((140, 2)).astype(np.float32)
    np.save("series.npy", x)
    for stride in (None, 5):
        ae.score_file("series.npy", f"s{stride}.npy", stride=stride, parts=True)
        found = np.load(f"s{stride}.npy")
        starts = sorted({*range(0, 129, stride or 1), 128})
        windows = np.stack([x[start : start + 12] for start in starts])
        scored = score_arrays(ae.model, windows)
        sums, counts = np.zeros((140, 3)), np.zeros((140, 1))
        for start, score, parts in zip(starts, scored.score, scored.parts, strict=True):
            sums[start : start + 12, 0] += score
            sums[start : start + 12, 1:] += parts
            counts[start : start + 12] += 1
        np.testing.assert_allclose(found[:, [0, 3, 4]], sums / counts, rtol=1e-6)
        assert ae.manifest.threshold is not None
        np.testing.assert_array_equal(found[:, 2], found[:, 0] > ae.manifest.threshold.value)


def test_windows_that_were_cut_before(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored_series")
    x = np.random.default_rng(1).standard_normal((30, 12, 2)).astype(np.float32)
    np.save("windows.npy", x)
    ae.score_file("windows.npy", "s.npy", parts=True)
    found = np.load("s.npy")
    np.testing.assert_array_equal(found[:, 0], ae.score(x))
    np.testing.assert_array_equal(found[:, 3:], score_arrays(ae.model, x).parts.reshape(30, 24))


def test_the_strangest_rows_are_named(ae: Autoencoder, bundle: Path) -> None:
    found = run("score", bundle, "x.npy", "--out", "s.csv", "--top", "3", "--json")
    assert found.exit_code == 0
    fields = json.loads(found.stdout)
    scores = ae.score(rows())
    order = np.argsort(-scores, kind="stable")[:3]
    assert [top["row"] for top in fields["top"]] == order.tolist()
    assert [top["score"] for top in fields["top"]] == scores[order].tolist()
    assert ae.manifest.threshold is not None
    assert fields["threshold"] == ae.manifest.threshold.value
    assert fields["anomalies"] == int((scores > fields["threshold"]).sum())
    parts = ae.explain(rows()[order], top=3)
    for top, wanted in zip(fields["top"], parts, strict=True):
        assert top["parts"] == {part.where: part.off for part in wanted}


def test_lines_of_the_command(ae: Autoencoder, bundle: Path) -> None:
    found = run("score", bundle, "x.npy", "--top", "1", "--threshold", "5")
    scores = ae.score(rows())
    most = int(scores.argmax())
    parts = ", ".join(f"{part.where} {part.off:.1f}" for part in ae.explain(rows()[[most]])[0])
    assert found.stdout.splitlines() == [
        f"{(scores > 5).sum()} of 333 rows score above 5",
        f"row {most}  score {scores[most]:.6g}  {parts}",
    ]
    assert [path.name for path in Path().iterdir()] == ["x.npy"]


def test_ids_go_along(bundle: Path) -> None:
    x = rows()[:40]
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    lines = [",".join(["who", *names])]
    lines += [",".join([f"r{at}", *map(repr, map(float, row))]) for at, row in enumerate(x)]
    Path("x.csv").write_text("\n".join(lines) + "\n")
    found = run("score", bundle, "x.csv", "--out", "s.csv", "--id", "who", "--top", "2", "--json")
    header, *rest = csv.reader(Path("s.csv").read_text().splitlines())
    assert header == ["who", "score", "probability", "anomaly"]
    assert [line[0] for line in rest] == [f"r{at}" for at in range(40)]
    assert json.loads(found.stdout)["top"][0]["id"] == "r17"


def test_shards(ae: Autoencoder, bundle: Path) -> None:
    assert score_shard(bundle, "x.npy", "s.npy").rows == 333
    assert score_shard(bundle, "x.npy", "s.npy").was_done
    Path("in").mkdir()
    for name in ("a", "b"):
        np.save(f"in/{name}.npy", rows())
    found = run("score", bundle, "in", "--out", "done", "--json")
    assert json.loads(found.stdout)["rows"] == 666
    np.testing.assert_array_equal(np.load("done/b.npy"), expected(ae, rows())[:, :3])


def test_several_inputs_are_counted_without_an_output(bundle: Path) -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        np.save(f"in/{name}.npy", rows())
    alone = json.loads(run("score", bundle, "x.npy", "--json").stdout)
    for sources in (["in"], ["in/a.npy", "in/b.npy"]):
        found = json.loads(run("score", bundle, *sources, "--json").stdout)
        assert found["rows"] == 2 * alone["rows"] == 666
        assert found["anomalies"] == 2 * alone["anomalies"] > 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("--threshold", "1", "--false-alarm-rate", "0.1"),
            "--threshold and --false-alarm-rate say the same; give one",
        ),
        (("--on-error", "skip"), "--on-error skip lists rows beside the output; add --out FILE"),
        (("-",), "stdin goes alone, not with other inputs"),
    ],
)
def test_words_that_do_not_go_together(bundle: Path, words: tuple[str, ...], line: str) -> None:
    found = CliRunner().invoke(ae_run, ["score", str(bundle), "x.npy", *words])
    assert found.exit_code == 2
    assert found.stderr.splitlines()[-1] == f"Error: {line}"


def test_nothing_is_lost(ae: Autoencoder) -> None:
    Path("s.npy").write_bytes(b"mine")
    with pytest.raises(OutputExists):
        ae.score_file("x.npy", "s.npy")
    assert Path("s.npy").read_bytes() == b"mine"


def test_a_row_without_a_score_is_neither_an_anomaly_nor_ordinary(ae: Autoencoder) -> None:
    summary = ScoreSummary(ae.manifest, ScoreOptions(), top=3)
    values = np.zeros((3, 1 + 6), np.float32)
    values[:, 0] = [np.nan, 1e6, 0]
    found = summary.counted(Chunk(values), 0).values
    np.testing.assert_array_equal(np.isnan(found), [[True] * 3, [False] * 3, [False] * 3])  # type: ignore[arg-type]
    assert (summary.rows, summary.anomalies) == (3, 1)
    assert [row.row for row in summary.top] == [1, 2]
