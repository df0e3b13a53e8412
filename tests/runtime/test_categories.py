"""Words as codes: what counts as one word, and what as another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Column
from ae_runtime.tables.categories import UnknownCategories, to_codes, to_text


def codes(values: Any, *levels: str, kind: Any = "category") -> list[int]:
    array = np.array(values, float if isinstance(values[0], float) else object)
    return to_codes(array, Column("c", type=kind, levels=list(levels)))[0].tolist()


@pytest.mark.parametrize("pair", [("false", "true"), ("No", "Yes"), ("F", "T"), ("n", "y")])
@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0],
        ["0", "1"],
        ["0.0", "1.0"],
        ["false", "TRUE"],
        ["no", "Yes"],
        ["F", "t"],
        ["n", " Y "],
    ],
)
def test_every_way_to_write_a_boolean(pair: tuple[str, str], values: list[Any]) -> None:
    assert codes(values, *pair, kind="boolean") == [0, 1]


def test_no_other_word_is_a_boolean() -> None:
    column = Column("c", type="boolean", levels=["false", "true"])
    words = np.array(["maybe", "2", None, "true"], object)
    found, unknown = to_codes(words, column)
    assert (found.tolist(), unknown.tolist()) == ([-1, -1, -1, 1], [True, True, False, False])
    assert to_codes(np.array([2.0, np.nan, 1.0]), column)[0].tolist() == [-1, -1, 1]


def test_writings_of_a_number_are_one_word_only_where_a_program_wrote_them() -> None:
    assert codes(["02116", "2116"], "02116", "2116") == [0, 1]
    assert codes(["02116"], "2116") == [-1]
    assert codes(["1.10", "1.1"], "1.10", "1.1") == [0, 1]
    assert codes(["1.10"], "1.1") == [-1]
    assert codes(["3.0", "3"], "3") == [0, 0]
    assert codes(["3"], "3.0") == [0]
    assert codes(["1.1"], "1.1000000000000001") == [0]  # as older bundles wrote it
    assert codes(["nan", "inf"], "nan", "inf") == [0, 1]


def test_numbers_are_known_by_their_value() -> None:
    assert codes([2116.0, 501.0, 7.0, np.nan], "02116", "2116", "00501") == [1, 2, -1, -1]
    assert codes([1.1, 3.0], "1.1000000000000001", "3.0") == [0, 1]
    assert codes([1.0], "01", "001") == [-1]  # which of them, nobody can tell
    assert to_text(np.array([1.1, 3.0, np.nan, 2.0**52])).tolist() == [
        "1.1",
        "3",
        None,
        "4503599627370496",
    ]


def test_spaces_around_a_word_tell_words_apart_only_where_both_are_known() -> None:
    assert codes(["ab", "ab  ", " ab"], "ab  ") == [0, 0, 0]
    assert codes(["ab", "ab  "], "ab", "ab  ") == [0, 1]


def test_unknown_words_are_counted_over_blocks() -> None:
    column = Column("region", type="category", levels=["n", "s", "e", "w", "a", "b"])
    unknown = UnknownCategories([Column("v"), column])
    unknown.add(0, 10, ["x"] * 4)
    assert unknown.lines() == {}
    unknown.add(0, 2, ["y", "z"])
    unknown.add(0, 1000, ["u"] * 999)
    assert list(unknown.lines().values()) == [
        "column 'region': 1,005 of 1,012 values are not known to the model and are taken as "
        "missing ('x', 'y', 'z'); it knows 'n', 's', 'e', 'w', 'a', ..."
    ]
