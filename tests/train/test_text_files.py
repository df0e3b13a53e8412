"""What a text file leaves open is said in training, or refused with the setting that reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from ae_runtime.bundle.manifest import Reading
from ae_runtime.errors import DataError, RecipeError
from ae_runtime.tables.dates import date_kind
from ae_train.data.dataset import Dataset
from ae_train.data.format_hints import format_hint
from ae_train.data.loading import load
from ae_train.data.sentinels import sentinels
from ae_train.recipe import make_recipe

KEEP = "; --set data.types.v=category keeps it as categories"


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def loaded(text: str, **data: object) -> Dataset:
    Path("t.csv").write_text(text)
    return load(["t.csv"], make_recipe({"data": data}))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            {"1,210", "1,215"},
            "numbers ('1,210'): --set data.thousands=',' reads 1210, --set data.decimal=, reads "
            "1.210",
        ),
        (
            {"1,5", "12,25"},
            "numbers ('1,5'), written another way than the rest: --set data.decimal=, reads them",
        ),
        (
            {"1 210", "12 215"},
            "numbers ('1 210'), written another way than the rest: --set data.thousands=' ' reads "
            "them",
        ),
        (
            {"1.210.000"},
            "numbers ('1.210.000'), written another way than the rest: --set data.thousands='.' "
            "--set data.decimal=, reads them",
        ),
        (
            {"5%", "7.5 %"},
            "numbers with a sign ('5%'): write them without it, to be read as numbers",
        ),
        ({"$5", "$1,000"}, "numbers with a sign ('$1,000'): write them without it, to be read as "
         "numbers"),
        ({"1,5", "1,210,000"}, "numbers ('1,210,000') written in several ways: write them in one"),
        (
            {"01/02/2026", "2026-02-01"},
            "dates in two forms ('01/02/2026' and '2026-02-01'): write them as ISO 8601 "
            "(2026-03-31)",
        ),
        ({"1.2.2026"}, "dates ('1.2.2026'): write them as ISO 8601 (2026-03-31)"),
    ],
)  # fmt: skip
def test_what_looks_like_numbers_or_dates_is_no_category(words: set[str], line: str) -> None:
    assert format_hint("v", words) == f"column 'v' looks like {line}{KEEP}"
    cells = sorted(words) * 20
    text = "v,w\n" + "".join(f'"{cell}",{at % 7}\n' for at, cell in enumerate(cells))
    assert loaded(text, types={"v": "category"}).form.levels == (len(words),)


@pytest.mark.parametrize(
    "words",
    [{"a", "b"}, {"1.2.3", "1.2.4"}, {"10.0.0.1"}, {"02116", "2116"}, {"5 kg"}, {"1,5", "x"}],
)
def test_other_words_are_categories(words: set[str]) -> None:
    assert format_hint("v", words) == ""


def test_a_column_of_another_way_stops_training() -> None:
    text = "v,w\n" + "".join(f'"1,{210 + at % 9}",{at}\n' for at in range(40))
    with pytest.raises(DataError) as caught:
        loaded(text)
    assert str(caught.value).startswith("t.csv: column 'v' looks like numbers ('1,210'): --set")
    assert loaded(text, thousands=",").take(slice(1))[0].tolist() == [[1210, 0]]
    assert loaded(text, decimal=",").take(slice(1))[0].tolist() == [[1.21, 0]]


@pytest.mark.parametrize("kind", ["table", "series"])
def test_a_sentinel_is_named_and_taken_as_missing_when_said(kind: str) -> None:
    text = "x,y\n" + "".join(
        f"{-9999 if at % 9 == 4 else at % 5},{at % 3}\n" for at in range(90)
    )  # fmt: skip
    line = (
        "-9999 stands 10 times in 'x', far from all other values; if it means missing: "
        "--missing -9999"
    )
    assert line in loaded(text, kind=kind).note.splitlines()
    for missing in (["-9999"], [-9999.0]):
        data = loaded(text, kind=kind, missing=missing)
        assert "far from all" not in data.note
        (x,) = data.take(slice(None))
        assert np.isnan(x).any()
        assert np.nanmin(x) == 0


@pytest.mark.parametrize("end", [999.0, -99.0, 88888.0, 1e30, -32768.0])
def test_numbers_that_look_like_sentinels(end: float) -> None:
    values = np.array([1.0, 2, 3, np.nan, 5] * 4 + [end] * 3)
    assert len(sentinels([("x", values)])) == 1
    assert not sentinels([("x", values[:-1])])  # twice may be chance
    assert not sentinels(
        [("x", np.append(values, [-1.5 * abs(end), 1.5 * abs(end)]))]
    )  # among others
    assert not sentinels([("x", np.full(9, end)), ("y", np.full(9, np.nan))])


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"thousands = '.' is the sign before decimals, too"):
        make_recipe({"data": {"thousands": ".", "decimal": "."}})
    data = make_recipe({"data": {"thousands": "."}}).data
    assert data.reading == Reading(None, ".", [])
    assert make_recipe({}).data.reading_said is None


def dates(lines: list[str]) -> str:
    """What the dates of a column are told apart by."""
    data = loaded("when,v\n" + "".join(f"{line},{at % 5}\n" for at, line in enumerate(lines)))
    column = next(column for column in data.columns or [] if column.type == "date")
    (x, *_) = data.take(slice(None))
    at = [c.name for c in data.columns or []].index("when")
    ends = {"min": float(x[:, at].min()), "max": float(x[:, at].max())}
    return date_kind(msgspec.structs.replace(column, **ends))


def test_hours_that_begin_and_end_at_midnight_are_no_days() -> None:
    hours = [f"2026-01-01T{hour:02d}:00" for hour in range(24)] + ["2026-01-02T00:00"]
    assert dates(hours) == "second"
    assert dates([f"2026-01-{day:02d}" for day in range(1, 25)]) == "day"


def test_digits_that_are_said_to_be_dates_are_read_by_their_form() -> None:
    text = "when,v\n" + "".join(f"202601{day:02d},{day % 5}\n" for day in range(1, 25))
    data = loaded(text, types={"when": "date"})
    assert data.take(slice(1))[0].tolist() == [[1767225600.0, 1.0]]
    with pytest.raises(DataError, match="row 1, column 'when': '2001' is not an ISO 8601 date"):
        loaded(text.replace("202601", "20"), types={"when": "date"})


def test_large_whole_numbers_stop_training_unless_they_are_left_out() -> None:
    text = "id,v\n" + "".join(f"{2**60 + at},{at % 7}\n" for at in range(40))
    with pytest.raises(DataError) as caught:
        loaded(text)
    assert str(caught.value) == (
        f"t.csv: row 2, column 'id': {2**60 + 1} is a whole number beyond 9007199254740992, which "
        "loses digits as float64; subtract an offset, or leave the column out"
    )
    with pytest.raises(DataError, match=f"row 2, column 'id': {2**60 + 1} is a whole number"):
        loaded(text, kind="series")
    assert len(loaded(text, id=["id"]).columns or []) == 1
