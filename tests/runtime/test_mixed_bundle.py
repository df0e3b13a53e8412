"""A bundle of a table of numbers and words: in memory, and from file to file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime import console
from ae_runtime.cli import ae_run
from ae_runtime.errors import DataError, DataWarning, DtypeMismatch, ShapeMismatch

COLUMNS = ["far", "count", "job", "open"]


@pytest.fixture
def ae(table_bundle: Path) -> ae_runtime.Autoencoder:
    return ae_runtime.load(table_bundle.parent / "mixed", threads=2, tile=7)


@pytest.fixture
def table() -> dict[str, Any]:
    random = np.random.default_rng(0)
    u = random.standard_normal(50)
    far = np.where(np.arange(50) % 7 == 3, np.nan, 1e6 + u)
    jobs = np.array(["admin", "tech", "other"], object)[random.integers(0, 3, 50)]
    jobs[::9] = None
    return {
        "far": far,
        "count": np.rint(20 * u),
        "job": jobs,
        "open": np.array(["no", "yes"])[random.integers(0, 2, 50)],
    }


def write(path: Path, table: dict[str, Any]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*(list(values) for values in table.values()), strict=True):
            writer.writerow("" if value is None or value != value else value for value in row)


def test_columns_are_taken_by_name_in_any_order(
    ae: ae_runtime.Autoencoder, table: dict[str, Any]
) -> None:
    codes = {"admin": 0, "tech": 1, "other": 2, None: -1}
    x_cat = np.stack(
        [[codes[word] for word in table["job"]], table["open"] == "yes"], axis=1
    ).astype(np.int32)
    z = ae.model.encode(np.stack([table["far"], table["count"]], 1), x_cat)
    assert z.shape == (50, 3)
    assert np.isfinite(z).all()
    turned = {name: table[name] for name in reversed(COLUMNS)}
    with pytest.warns(DataWarning, match="^columns not in the model are left out: id$"):
        np.testing.assert_array_equal(ae.encode({**turned, "id": np.arange(50)}), z)
    one_by_one = [ae.encode({name: table[name][i : i + 1] for name in table}) for i in range(50)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), z)


def test_columns_come_back(ae: ae_runtime.Autoencoder, table: dict[str, Any]) -> None:
    z = ae.encode(table)
    back = ae.decode(z)
    assert list(back) == COLUMNS
    numbers, codes, chances = ae.model.decode(z)
    np.testing.assert_array_equal(back["far"], numbers[:, 0])
    np.testing.assert_array_equal(back["count"], np.rint(back["count"]))
    assert (back["job"] == np.array(["admin", "tech", "other"])[codes[:, 0]]).all()
    assert (codes[:, 0] == chances[:, :3].argmax(1)).all()
    np.testing.assert_allclose(chances[:, 3:].sum(1), 1, atol=1e-6)  # float32 softmax
    known = np.array([word is not None for word in table["job"]])
    assert (back["open"] == table["open"])[known].mean() > 0.8  # half by chance
    assert ae.input_shape == (2,)


def test_no_rows(ae: ae_runtime.Autoencoder) -> None:
    none: dict[str, Any] = {name: np.empty(0) for name in COLUMNS}
    assert ae.encode(none).shape == (0, 3)
    assert {len(values) for values in ae.decode(np.empty((0, 3))).values()} == {0}


def test_what_is_no_such_table(ae: ae_runtime.Autoencoder, table: dict[str, Any]) -> None:
    with pytest.raises(DtypeMismatch) as wrong:
        ae.encode(np.zeros((3, 4)))
    assert str(wrong.value) == (
        "x is ndarray, and this bundle takes a table of numbers and categories; pass a dict of 1-d "
        "columns, or a pandas, polars or pyarrow table"
    )
    with pytest.raises(DataError, match="1 columns are missing: job"):
        ae.encode({name: table[name] for name in COLUMNS if name != "job"})
    with pytest.raises(ShapeMismatch) as rows:
        ae.model.encode(np.zeros((3, 2)), np.zeros((2, 2), np.int32))
    assert str(rows.value) == (
        "the arrays must have as many rows as each other, found 3 of x_num and 2 of x_cat"
    )


def run(*arguments: object) -> int:
    return console.run(ae_run, "ae-run", [str(argument) for argument in arguments])


def test_from_file_to_file(
    ae: ae_runtime.Autoencoder,
    table: dict[str, Any],
    table_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = table_bundle.parent / "mixed"
    write(tmp_path / "in.csv", {"id": np.arange(50), **table})
    assert run("encode", bundle, tmp_path / "in.csv", "--out", tmp_path / "z.npy") == 0
    assert "columns not in the model are left out: id\n" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), ae.encode(table))
    assert run("reconstruct", bundle, tmp_path / "in.csv", "--out", tmp_path / "a.csv") == 0
    assert run("decode", bundle, tmp_path / "z.npy", "--out", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    back = ae.decode(np.load(tmp_path / "z.npy"))
    assert rows[0] == COLUMNS
    assert [float(row[0]) for row in rows[1:]] == back["far"].tolist()
    assert [row[1] for row in rows[1:]] == [f"{count:.0f}" for count in back["count"]]
    assert [row[2:] for row in rows[1:]] == np.stack([back["job"], back["open"]], 1).tolist()


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_words_need_a_file_that_holds_them(
    table: dict[str, Any],
    table_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ending: str,
) -> None:
    write(tmp_path / "in.csv", table)
    out = tmp_path / f"out.{ending}"
    bundle = table_bundle.parent / "mixed"
    assert run("reconstruct", bundle, tmp_path / "in.csv", "--out", out) == 2
    message = f"ae-run: {out}: a .{ending} holds no categories; write .csv, .parquet\n"
    assert capsys.readouterr().err == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]
