"""Tables in memory: columns by name, in any order, give what a file with these columns gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.autoencoder import Autoencoder
from ae_runtime.drift import Drift
from ae_runtime.errors import DataError, DataWarning, DtypeMismatch

arrow = pytest.importorskip("pyarrow", reason="the runtime's own environment has no pyarrow")
pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = 12
FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": lambda columns: columns,
    "dict of lists": lambda columns: {name: list(values) for name, values in columns.items()},
    "pandas": lambda columns: pandas.DataFrame(columns, index=np.arange(ROWS) * 3),
    "pandas, held by Arrow": lambda columns: arrow.table(columns).to_pandas(
        types_mapper=pandas.ArrowDtype
    ),
    "pyarrow": lambda columns: arrow.table(columns),
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


@pytest.fixture
def ae(table_bundle: Path) -> Autoencoder:
    return ae_runtime.load(table_bundle, threads=1)


@pytest.fixture
def x(ae: Autoencoder) -> np.ndarray:
    found: np.ndarray = ae.sample(ROWS, seed=0) if ae.manifest.sampler else numbers(ae)
    return found


def numbers(ae: Autoencoder) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, *ae.input_shape))


def columns_of(ae: Autoencoder, x: np.ndarray) -> dict[str, Any]:
    assert ae.manifest.column_names is not None
    return dict(zip(ae.manifest.column_names, x.T, strict=True))


@forms
def test_columns_go_by_name_in_any_order(form: Any, ae: Autoencoder, x: np.ndarray) -> None:
    table = form(dict(reversed(columns_of(ae, x).items())))
    np.testing.assert_array_equal(ae.encode(table), ae.encode(x))
    np.testing.assert_array_equal(ae.reconstruct(table), ae.reconstruct(x))
    np.testing.assert_array_equal(next(ae.encode_iter([table])), ae.encode(x))


def test_scores_go_by_name(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle.parent / "scored", threads=1)
    x = ae.sample(ROWS, seed=0)
    table = arrow.table(dict(reversed(columns_of(ae, x).items())))
    np.testing.assert_array_equal(ae.score(table), ae.score(x))
    np.testing.assert_array_equal(ae.is_anomaly(table), ae.is_anomaly(x))
    assert ae.explain(table) == ae.explain(x)
    by_array, by_name = Drift(ae), Drift(ae)
    by_array.add(x)
    by_name.add(table)
    assert by_name.report() == by_array.report()


@forms
def test_a_column_too_few_is_named(form: Any, ae: Autoencoder, x: np.ndarray) -> None:
    columns = columns_of(ae, x)
    gone = next(iter(columns))
    del columns[gone]
    with pytest.raises(DataError) as error:
        ae.encode(form(columns))
    assert str(error.value) == f"1 columns are missing: {gone}"


@forms
def test_a_column_too_many_is_left_out_and_said_once(
    form: Any, ae: Autoencoder, x: np.ndarray
) -> None:
    table = form({"more": np.array(["word"] * ROWS), **columns_of(ae, x)})
    with pytest.warns(DataWarning) as told:
        z = ae.encode(table)
    assert [str(one.message) for one in told] == ["columns not in the model are left out: more"]
    assert told[0].filename == __file__
    np.testing.assert_array_equal(z, ae.encode(x))
    ae.encode(table)  # a second warning would be an error


def test_a_model_without_names_takes_columns_by_position_and_says_so(
    table_bundle: Path, rewrite: Any, x: np.ndarray
) -> None:
    def nameless(fields: dict[str, Any]) -> None:
        for column in fields["columns"]:
            column["name"] = None

    ae = ae_runtime.load(rewrite(table_bundle, edit=nameless), threads=1)
    names = [f"c{at}" for at in range(x.shape[1])]
    with pytest.warns(DataWarning, match="^the model was trained without names of columns: they"):
        z = ae.encode(dict(zip(names, x.T, strict=True)))
    np.testing.assert_array_equal(z, ae.encode(x))
    for prefix, first in (("x", 0), ("column_", 0), ("", 0), ("", 1)):  # nothing to say of these
        numbered = {f"{prefix}{at + first}": values for at, values in enumerate(x.T)}
        np.testing.assert_array_equal(ae.encode(dict(reversed(numbered.items()))), z)
    with pytest.raises(DataError, match="2 columns found"):
        ae.encode({"a": x[:, 0], "b": x[:, 1]})


@forms
def test_latents_go_by_number(form: Any, ae: Autoencoder, x: np.ndarray) -> None:
    z = ae.encode(x).astype(np.float64)
    named = {f"z{at}": values for at, values in enumerate(z.T)}
    np.testing.assert_array_equal(ae.decode(form(dict(reversed(named.items())))), ae.decode(z))


@pytest.fixture
def dated(table_bundle: Path, rewrite: Any) -> Autoencoder:
    """A bundle whose first column is a date."""

    def edit(fields: dict[str, Any]) -> None:
        fields["columns"][0] |= {"type": "date", "name": "when"}

    return ae_runtime.load(rewrite(table_bundle, edit=edit), threads=1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_dates_are_the_seconds_that_files_give(
    dated: Autoencoder, x: np.ndarray, unit: str, zone: str | None, tmp_path: Path
) -> None:
    step = {"s": 1, "ms": 1003, "us": 1000003, "ns": 1000000000 + 3000}[unit]
    moments = np.datetime64("1969-12-31T23:59:55", unit) + np.arange(ROWS) * step
    columns = {name: values for name, values in columns_of(dated, x).items() if name != "when"}
    table = arrow.table({"when": arrow.array(moments, arrow.timestamp(unit, zone)), **columns})
    source, out = tmp_path / "t.parquet", tmp_path / "z.npy"
    parquet.write_table(table, source)
    dated.encode_file(source, out)
    expected = np.load(out)
    stored = arrow.Table.to_pandas
    tables = [table, stored(table), stored(table, types_mapper=pandas.ArrowDtype)]
    tables.append({"when": table["when"], **columns})
    if zone is None:
        tables += [
            {"when": moments, **columns},
            {"when": moments.astype("M8[us]").tolist(), **columns},
        ]
    for given in tables:
        np.testing.assert_array_equal(dated.encode(given), expected)


def test_days(dated: Autoencoder, x: np.ndarray) -> None:
    days = np.datetime64("1969-12-30") + np.arange(ROWS)
    columns = {name: values for name, values in columns_of(dated, x).items() if name != "when"}
    expected = dated.encode(np.column_stack([np.arange(ROWS) * 86400.0 - 2 * 86400, x[:, 1:]]))
    for kind in (arrow.date32(), arrow.date64()):
        given = arrow.table({"when": arrow.array(days.tolist(), kind), **columns})
        np.testing.assert_array_equal(dated.encode(given), expected)
    for when in (days, days.tolist(), [str(day) for day in days]):
        np.testing.assert_array_equal(dated.encode({"when": when, **columns}), expected)


KINDS = {
    "integers with gaps": lambda v: pandas.array(v, "Int64"),
    "unsigned": lambda v: pandas.array(v, "UInt64"),
    "float32 with gaps": lambda v: pandas.array(v, "Float32"),
    "Arrow integers": lambda v: arrow.array(v, arrow.int64()),
    "Arrow unsigned": lambda v: arrow.array(v, arrow.uint64()),
    "Arrow decimals": lambda v: arrow.array(v).cast(arrow.decimal128(30, 3)),
    "numbers of Python": lambda v: v,
    "objects": lambda v: np.array(v, object),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_types_of_numbers(make: Any, ae: Autoencoder, x: np.ndarray) -> None:
    first = ae.manifest.column_names or []
    x = x.copy()
    x[:, 0] = np.arange(ROWS)
    x[3, 0] = np.nan
    values = [None if value != value else int(value) for value in x[:, 0]]
    table = {**columns_of(ae, x), first[0]: make(values)}
    np.testing.assert_array_equal(ae.encode(table), ae.encode(x))
    if "iloc" not in dir(table[first[0]]) and not hasattr(table[first[0]], "__arrow_c_array__"):
        np.testing.assert_array_equal(ae.encode(pandas.DataFrame(table)), ae.encode(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pandas.array(v, "Int64"),
        lambda v: arrow.array(v, arrow.int64()),
        lambda v: v,
    ],
)
def test_integers_that_lose_digits_are_refused(make: Any, ae: Autoencoder, x: np.ndarray) -> None:
    first = (ae.manifest.column_names or [])[0]
    values = [None, *[2**60 + 1] * (ROWS - 1)]
    with pytest.raises(DataError) as error:
        ae.encode({**columns_of(ae, x), first: make(values)})
    assert str(error.value) == (
        f"column {first!r} holds integers beyond {2**53}, which lose digits as float64; "
        "subtract an offset"
    )


def test_truth_values_are_0_and_1_among_numbers(ae: Autoencoder, x: np.ndarray) -> None:
    first = (ae.manifest.column_names or [])[0]
    bits = np.arange(ROWS) % 3 == 0
    expected = ae.encode(np.column_stack([bits, x[:, 1:]]))
    for values in (bits, bits.tolist(), arrow.array(bits), pandas.Series(bits)):
        given = {**columns_of(ae, x), first: values}
        np.testing.assert_array_equal(ae.encode(given), expected)


def vectors(x: np.ndarray) -> dict[str, Callable[[], Any]]:
    rows = [list(row) for row in x[:, :4]]
    frame = {"v": rows, "w": x[:, 4], "n": x[:, 5]}
    return {
        "lists": lambda: pandas.DataFrame(frame),
        "arrays": lambda: pandas.DataFrame(frame | {"v": [np.array(row) for row in rows]}),
        "held by Arrow": lambda: arrow.table(frame).to_pandas(types_mapper=pandas.ArrowDtype),
        "pyarrow": lambda: arrow.table(frame),
    }


@pytest.mark.parametrize("form", ["lists", "arrays", "held by Arrow", "pyarrow"])
def test_vectors_are_columns_as_in_files(
    form: str, table_bundle: Path, rewrite: Any, tmp_path: Path
) -> None:
    def named(manifest: dict[str, Any]) -> None:
        names = [*(f"v[{at}]" for at in range(4)), "w", "n"]
        for column, name in zip(manifest["columns"], names, strict=True):
            column["name"] = name

    ae = ae_runtime.load(rewrite(table_bundle, edit=named), threads=1)
    x = numbers(ae)
    x[3, 2] = np.nan
    table = vectors(x)[form]()
    np.testing.assert_array_equal(ae.encode(table), ae.encode(x))
    parquet.write_table(vectors(x)["pyarrow"](), tmp_path / "v.parquet")
    ae.encode_file(tmp_path / "v.parquet", tmp_path / "z.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), ae.encode(table))
    longer = {"v": [[*row, 1.0] for row in x[:, :4]], "w": x[:, 4], "n": x[:, 5]}
    with pytest.raises(DataError) as caught:
        ae.encode(pandas.DataFrame(longer))
    assert str(caught.value) == "column 'v' holds lists of 5, the bundle takes 4"
    ragged = {"v": [[1.0] * 4, [1.0] * 3], "w": [1.0, 2.0], "n": [1.0, 2.0]}
    with pytest.raises(DataError) as caught:
        ae.encode(pandas.DataFrame(ragged))
    assert str(caught.value) == "row 2, column 'v' holds a list of 3, where others hold 4"
    words = {"v": [["a"] * 4] * 2, "w": [1.0, 2.0], "n": [1.0, 2.0]}
    with pytest.raises(DataError) as caught:
        ae.encode(pandas.DataFrame(words))
    assert str(caught.value) == "column 'v' holds lists, and not all of numbers"


def test_columns_of_no_use_are_named(ae: Autoencoder, x: np.ndarray) -> None:
    first = (ae.manifest.column_names or [])[0]
    given = arrow.table({**columns_of(ae, x), first: [b"1"] * ROWS})
    with pytest.raises(DataError) as error:
        ae.encode(given)
    assert str(error.value) == (
        f"column {first!r} holds (binary), and neither numbers nor categories"
    )
    twice = pandas.DataFrame(np.zeros((2, 2)), columns=[first, first])
    with pytest.raises(DataError) as error:
        ae.encode(twice)
    assert str(error.value) == f"two columns are named {first!r}; rename one"


def test_one_column_is_no_table(ae: Autoencoder) -> None:
    with pytest.raises(DataError, match="shape"):
        ae.encode(pandas.Series([1.0, 2.0]))
    with pytest.raises(DtypeMismatch, match=r"^x is no table of Arrow: "):
        ae.encode(arrow.chunked_array([[1.0, 2.0]]))


def test_words_of_every_kind_of_text(mixed_bundle: Path) -> None:
    ae = ae_runtime.load(mixed_bundle, threads=1)
    words = ["clerk", None, "cook", "pilot", "", " "]
    expected = [1, -1, 0, 2, -1, -1]
    text = arrow.array(words)
    coded = [text.dictionary_encode(), arrow.array(words, arrow.large_string())]
    coded.append(arrow.array(words, arrow.string_view()))
    index = arrow.array([0, None, 1, 2, None, None], arrow.uint32())
    view = arrow.array(["clerk", "cook", "pilot"], arrow.string_view())
    coded.append(arrow.DictionaryArray.from_arrays(index, view))  # as polars hands categories over
    frames = [arrow.table({"job": array, "age": np.zeros(6)}) for array in coded]
    frames += [{"job": pandas.Series(words, dtype=kind)} for kind in ("str", "category", object)]
    for frame in frames:
        given = frame if not isinstance(frame, dict) else {**frame, "age": np.zeros(6)}
        np.testing.assert_array_equal(ae.encode(given)[:, 1], expected)


def test_words_that_are_not_known_are_said_once(mixed_bundle: Path) -> None:
    ae = ae_runtime.load(mixed_bundle, threads=1)
    given = {"age": [1, 2, 3], "job": ["pilot", "mason", "cook"]}
    with pytest.warns(DataWarning) as told:
        ae.encode(given)
    assert [str(one.message) for one in told] == [
        "column 'job': 2 of 3 values are not known to the model and are taken as 'other' ('pilot', "
        "'mason'); it knows 'cook', 'clerk'"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ae.encode(given)
        ae.encode({"age": [1], "job": ["smith"]})  # another line on the same column
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = ae_runtime.load(mixed_bundle, threads=1)
        fresh.encode({"age": [1, 2], "job": ["pilot", "cook"]})  # half are known


def test_a_word_that_is_not_known_is_explained_first(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle.parent / "scored_mixed", threads=1)
    column = next(column for column in ae.manifest.columns or [] if column.levels)
    rows = ae.sample(3, seed=0)
    assert column.name is not None
    rows[column.name][1] = "never seen"
    found = ae.explain(rows)
    has_other = column.type == "category" and "other" in (column.levels or [])
    assert found[1][0].where == column.name
    assert found[1][0].value == "never seen"
    assert found[1][0].off == np.inf
    assert all(part.value != "never seen" for row in (0, 2) for part in found[row])
    assert not has_other or found[1][0].value != "other"
