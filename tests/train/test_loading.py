"""From files to a dataset: several files, a file to validate on, groups, series, images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_runtime.errors import DataError, NoRows
from ae_train.data.dataset import Dataset
from ae_train.data.loading import load
from ae_train.data.splitting import split_data
from ae_train.recipe import Recipe, make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

JOBS = ["cook", "clerk", "pilot"]
Small = Callable[..., Recipe]
Command = Callable[..., tuple[int, list[str]]]


def people(path: Path, first: int, rows: int, extra: str = "") -> str:
    lines = [
        f"p{at},{at % 40 + 20},{JOBS[at % 3]},{'yes' if at % 2 else 'no'}{extra}"
        for at in range(first, first + rows)
    ]
    path.write_text(f"id,age,job,ok{',more' if extra else ''}\n" + "\n".join(lines) + "\n")
    return str(path)


def loaded(*names: str, val: str | None = None, **data: object) -> Dataset:
    return load(names, make_recipe({"data": data}), val)


def test_several_tables_are_one(tmp_path: Path) -> None:
    a, b = people(tmp_path / "a.csv", 0, 30), people(tmp_path / "b.csv", 30, 20)
    data = loaded(a, b, id=["id"])
    assert (len(data), data.form.levels) == (50, (3, 2))
    both = people(tmp_path / "c.csv", 0, 50)
    for part, other in zip(data.parts, loaded(both, id=["id"]).parts, strict=True):
        np.testing.assert_array_equal(part, other)


def test_a_file_to_validate_on(tmp_path: Path) -> None:
    a, b = people(tmp_path / "a.csv", 0, 30), people(tmp_path / "b.csv", 30, 20)
    data = loaded(a, val=b, id=["id"])
    split = split_data(data, make_recipe({}).data, 0)
    assert sorted(split.validation) == list(range(30, 50))
    assert sorted([*split.train, *split.test]) == list(range(30))


def test_words_that_only_validation_has_are_unknown(tmp_path: Path) -> None:
    a = people(tmp_path / "a.csv", 0, 30)
    b = tmp_path / "b.csv"
    b.write_text("id,age,job,ok\nz,30,wizard,yes\n")
    data = loaded(a, val=str(b), id=["id"])
    assert data.parts[1][-1].tolist() == [-1, 1]


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    data = loaded(people(tmp_path / "a.csv", 0, 200), id=["id"], split_by="age")
    assert [c.name for c in data.columns or []] == ["job", "ok"]
    split = split_data(data, make_recipe({}).data, 0)
    ages = np.arange(200) % 40
    parts = [set(ages[part]) for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_a_part_without_values_or_with_numbers_only_is_a_part_all_the_same(tmp_path: Path) -> None:
    """Words of one file may all look like numbers in another, or be missing there."""
    codes = ["a1", "7", "b", "12"] * 10
    whole = pd.DataFrame({"n": range(40), "code": codes, "k": [1, 2, 3, 4] * 10})
    parts = [
        whole.assign(code=["7", "12"] * 20),  # in a CSV, numbers
        whole.assign(code=[None] * 40, k=[None] * 40),
        whole,
    ]
    for kind in ("csv", "parquet"):
        names = [str(tmp_path / f"{at}.{kind}") for at in range(3)]
        for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
            for at, name in zip(order, names, strict=True):
                part = parts[at]
                part.to_csv(name, index=False) if kind == "csv" else part.to_parquet(name)
            data = loaded(*names)
            assert [(c.name, c.type, c.integer) for c in data.columns or []] == [
                ("n", "number", True),
                ("k", "number", True),
                ("code", "category", False),
            ]
            assert set((data.columns or [])[-1].levels or []) == set(codes)
            known = data.parts[1][:, 0].reshape(3, 40)[order.index(2)]
            words = np.array((data.columns or [])[-1].levels, object)
            assert words[known].tolist() == codes


def test_digits_of_one_file_keep_their_text_where_another_holds_words(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("n,code\n" + "1,007\n2,7\n3,1.10\n" * 10)
    b.write_text("n,code\n" + "1,x7\n" * 10)
    for names in ([a, b], [b, a]):
        data = loaded(*map(str, names))
        levels = np.array((data.columns or [])[-1].levels, object)
        assert set(levels) == {"007", "7", "1.10", "x7"}
        rows = data.parts[1][:30, 0] if names[0] is a else data.parts[1][10:, 0]
        assert levels[rows].tolist() == ["007", "7", "1.10"] * 10


def test_a_date_of_infinity_is_an_infinite_value_in_text_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    dates = [f"2026-01-{at + 1:02}" for at in range(20)] + ["infinity"]
    path.write_text("n,when\n" + "".join(f"{at},{when}\n" for at, when in enumerate(dates)))
    with pytest.raises(DataError) as error:
        loaded(str(path))
    assert str(error.value) == (
        f"{path}: row 21, column 'when' is infinite; correct it, or write NaN for missing"
    )


def test_parts_without_rows_are_left_out_and_said(tmp_path: Path) -> None:
    a, b = people(tmp_path / "a.csv", 0, 30), people(tmp_path / "b.csv", 0, 0)
    none = tmp_path / "none.csv"
    none.touch()
    for names in ([a, b, str(none)], [b, str(none), a]):
        data = loaded(*names, id=["id"])
        assert len(data) == 30
        assert f"without rows, and left out: {b}, {none}" in data.note.splitlines()
    with pytest.raises(NoRows, match=r"none\.csv is empty; it holds no rows"):
        loaded(b, str(none), id=["id"])
    with pytest.raises(NoRows, match=r"b\.csv holds a header and no rows"):
        loaded(a, val=b, id=["id"])


def test_a_date_by_type_and_words_do_not_become_one_column(tmp_path: Path) -> None:
    days = pd.date_range("2026-01-01", periods=20)
    pd.DataFrame({"n": range(20), "day": days}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"n": range(20), "day": days.astype(str)}).to_parquet(tmp_path / "b.parquet")
    a, b = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    for names in ([a, b], [b, a]):
        with pytest.raises(DataError) as error:
            loaded(*names)
        assert str(error.value) == (
            f"column 'day' is a date in {a} and none in {b}; write it in one way"
        )


def test_a_folder_of_a_data_set_is_a_table_with_its_keys(tmp_path: Path) -> None:
    for year, place, count in ((2025, "x", 30), (2026, "y", 20), (2026, "z", 0)):
        part = tmp_path / "hive" / f"year={year}" / f"place={place}" / "part-0.parquet"
        part.parent.mkdir(parents=True)
        pd.DataFrame({"a": np.arange(count) * 1.0}).to_parquet(part)
    data = loaded(str(tmp_path / "hive"))
    assert [(c.name, c.type, c.integer) for c in data.columns or []] == [
        ("a", "number", False),
        ("year", "number", True),
        ("place", "category", False),
    ]
    assert data.parts[0][:, 1].tolist() == [2025] * 30 + [2026] * 20
    assert (data.columns or [])[-1].levels == ["x", "y"]
    val = loaded(str(tmp_path / "hive" / "year=2025"), val=str(tmp_path / "hive" / "year=2026"))
    assert [c.name for c in val.columns or []] == ["a", "place"]


def test_an_index_of_pandas_is_left_out_and_said(tmp_path: Path) -> None:
    name = str(tmp_path / "t.parquet")
    frame = pd.DataFrame({"a": np.arange(30.0), "b": np.arange(30) % 7})
    frame.index = np.arange(30)[::-1]
    frame.to_parquet(name)
    data = loaded(name)
    assert [c.name for c in data.columns or []] == ["a", "b"]
    assert data.note == (
        "the index of pandas is left out: __index_level_0__; --columns can bring it back"
    )
    asked = loaded(name, columns=["a", "__index_level_0__"])
    assert ([c.name for c in asked.columns or []], asked.note) == (["a", "__index_level_0__"], "")
    assert loaded(name, id=["__index_level_0__"]).note == ""


def test_an_index_of_pandas_in_text_is_left_out_and_said(tmp_path: Path) -> None:
    name = str(tmp_path / "t.csv")
    frame = pd.DataFrame({"a": np.arange(30) ** 2 / 8, "b": np.arange(30) % 7})
    frame.to_csv(name)
    data = loaded(name)
    assert [c.name for c in data.columns or []] == ["a", "b"]
    assert data.note.splitlines()[1] == (
        "the index of pandas is left out: the column without a name; --columns can bring it back"
    )
    assert [c.name for c in loaded(name, columns=["", "a"]).columns or []] == ["", "a"]
    frame.sample(frac=1, random_state=0).to_csv(name)  # no count of the rows: a column like others
    assert [c.name for c in loaded(name).columns or []] == ["", "a", "b"]


def test_a_vector_is_named_as_one_column(tmp_path: Path) -> None:
    name = str(tmp_path / "t.parquet")
    x = np.random.default_rng(0).standard_normal((30, 3))
    pq.write_table(pa.table({"n": np.arange(30.0), "v": x.tolist()}), name)
    numbers = ["v[0]", "v[1]", "v[2]"]
    for options, wanted in (
        ({}, ["n", *numbers]),
        ({"columns": ["v"]}, numbers),
        ({"drop": ["v"]}, ["n"]),
    ):
        data = loaded(name, **options)
        assert [c.name for c in data.columns or []] == wanted
    np.testing.assert_array_equal(loaded(name, columns=["v"]).parts[0], x)


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    a, b = people(tmp_path / "a.csv", 0, 30), people(tmp_path / "b.csv", 0, 30, extra=",1")
    with pytest.raises(DataError) as error:
        loaded(a, b, id=["id"])
    assert str(error.value) == f"{a} and {b} have different columns: more"
    np.save(tmp_path / "x.npy", np.ones((20, 3)))
    with pytest.raises(DataError, match="tables and arrays do not go together"):
        loaded(a, str(tmp_path / "x.npy"))
    np.save(tmp_path / "y.npy", np.ones((20, 4)))
    with pytest.raises(DataError, match="the files hold rows of different shapes"):
        loaded(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    with pytest.raises(DataError, match="is an array, which has no named columns for drop"):
        loaded(str(tmp_path / "x.npy"), drop=["a"])


def test_series_of_several_files(tmp_path: Path) -> None:
    for name, steps in (("a", 300), ("b", 200)):
        t = np.arange(steps)
        np.savetxt(
            tmp_path / f"{name}.csv",
            np.column_stack([t, np.sin(t / 9), np.cos(t / 5)]),
            delimiter=",",
            header="time,v,w",
            comments="",
        )
    a, b = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    data = loaded(a, b, kind="series", window=16)
    assert data.form.row_shape == (16, 2)
    assert (data.channels, data.stride, len(data)) == (["v", "w"], 1, 285 + 185)
    assert (data.time, data.step) == ("time", 1.0)
    held = loaded(a, val=b, kind="series", window=16)
    split = split_data(held, make_recipe({}).data, 0)
    assert sorted(split.validation) == list(range(285, 285 + 185))
    assert max(split.train) < 285
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((100, 3)))
    assert loaded(str(tmp_path / "c.npy"), kind="series", window=10).form.row_shape == (10, 3)


def test_series_without_rows_are_left_out_and_said(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).standard_normal((200, 2))
    names = [str(tmp_path / name) for name in ("a.csv", "b.csv", "none.csv")]
    for name, rows in zip(names, (steps, steps[::-1], steps[:0]), strict=True):
        np.savetxt(name, rows, delimiter=",", header="left,right", comments="")
    data = loaded(*names, kind="series", window=8)
    assert len(data.raw) == 2
    assert f"without rows, and left out: {names[2]}" in data.note.splitlines()
    with pytest.raises(NoRows, match=r"none\.csv holds a header and no rows"):
        loaded(names[2], kind="series")
    with pytest.raises(NoRows, match=r"none\.csv holds a header and no rows"):
        loaded(*names[:2], val=names[2], kind="series")
    arrays = [str(tmp_path / name) for name in ("a.npy", "none.npy")]
    for name, rows in zip(arrays, (steps, steps[:0]), strict=True):
        np.save(name, rows)
    data = loaded(*arrays, kind="series", window=8)
    assert len(data.raw) == 1
    assert f"without rows, and left out: {arrays[1]}" in data.note.splitlines()
    with pytest.raises(NoRows, match=r"none\.npy holds no rows"):
        loaded(*arrays[::-1][:1], kind="series")


def test_a_folder_of_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 6, 7), np.uint8)
    for at, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{at:02}.png")
    np.testing.assert_array_equal(loaded(str(tmp_path)).parts[0], pixels)
    (tmp_path / "13.png").write_bytes(b"torn")
    data = loaded(str(tmp_path), unreadable="skip", resize=[4, 4])
    assert (len(data), data.form.row_shape) == (12, (4, 4))
    assert data.note == f"{tmp_path}: 1 unreadable images left out: 13.png"


def test_a_mixed_table_from_file_to_run(ae_train: Command, tmp_path: Path) -> None:
    people(tmp_path / "p.csv", 0, 200)
    code, lines = ae_train("p.csv", "--id=id", "--out=run")
    assert (code, lines) == (
        0,
        [
            "p.csv: separator ',', with a header",
            "columns: 1 number (age), 1 boolean (ok), 1 category (job 3); "
            "--set data.types.COLUMN=TYPE corrects one",
            "p.csv: 200 rows of 3 columns, float64 (table)",
        ],
    )
    run = Run.load(tmp_path / "run")
    assert run.recipe.fit.objective == "mixed"
    assert run.schema.mixed is not None
    assert 0 <= run.schema.mixed["test"].accuracy <= 1
    described = json.loads((tmp_path / "run" / "schema.json").read_bytes())["columns"]
    assert [column.get("levels") for column in described] == [
        None,
        ["cook", "clerk", "pilot"],
        ["no", "yes"],
    ]
    code, lines = ae_train("p.csv", "--id=id", "--out=next", "--init=run")
    assert code == 0
    assert Run.load(tmp_path / "next").schema.form == run.schema.form


def test_columns_in_memory_are_those_of_a_file(tmp_path: Path, small: Small) -> None:
    frame = pd.read_csv(people(tmp_path / "p.csv", 0, 60)).drop(columns="id")
    frame["seen"] = pd.Timestamp("2026-03-01") + pd.to_timedelta(frame["age"], unit="D")
    frame.to_csv(tmp_path / "q.csv", index=False)
    recipe = small(latent_dim=1)
    wanted = train(load([str(tmp_path / "q.csv")], recipe), recipe)
    columns = {name: frame[name].to_numpy() for name in frame}
    for table in (columns, frame, pa.Table.from_pandas(frame, preserve_index=False)):
        found = train(table, recipe)
        assert found.schema.columns == wanted.schema.columns
        assert found.model_id == wanted.model_id
    with pytest.raises(DataError, match=r"x: columns: there is no column 'agee'. Did you mean"):
        train(columns, small(data={"columns": ["agee"]}))


def test_init_wants_the_same_size(ae_train: Command) -> None:
    assert ae_train("rows.npy", "--out=run")[0] == 0
    code, lines = ae_train("other.npy", "--out=next", "--init=run", "--latent=3")
    assert (code, lines[-1]) == (
        2,
        "ae-train: the run to go on from has another latent_dim; leave them as they were, or train "
        "anew, without init",
    )


def test_init_without_an_epoch_is_the_old_model(ae_train: Command, tmp_path: Path) -> None:
    plain = ["--set=arch.pca_path=false", "--set=fit.keep=last"]
    assert ae_train("rows.npy", "--out=run", *plain)[0] == 0
    assert ae_train("other.npy", "--out=next", "--init=run", "--epochs=0")[0] == 0
    old, new = Run.load(tmp_path / "run"), Run.load(tmp_path / "next")
    assert old.model_id == new.model_id  # the same function of the same kind of rows
    weights, others = old.model.state_dict(), new.model.state_dict()
    assert all(bool((weights[name] == others[name]).all()) for name in weights)


def test_the_latent_size_is_found(ae_train: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.save("low.npy", random.standard_normal((200, 3)) @ random.standard_normal((3, 12)))
    code, lines = ae_train("low.npy", "--out=run", "--latent=auto")
    assert code == 0
    run = Run.load(tmp_path / "run")
    sizes = run.schema.sizes or []
    assert run.recipe.latent_dim == sizes[-1].latent_dim <= 3
    assert [size.latent_dim for size in sizes] == list(range(1, len(sizes) + 1))
    assert sizes[-1].mse < 0.11
    tried = [line for line in lines if line.startswith("latent ")]
    assert len(tried) == len(sizes)
