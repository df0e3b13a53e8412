"""Text as instruments and spreadsheets write it is read rightly, or refused in one line."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ae_runtime.bundle.manifest import FORMAT, Column, Golden, Latent, Manifest, Port, Reading
from ae_runtime.errors import DataError
from ae_runtime.files.readers.columns import row_columns
from ae_runtime.files.readers.csv_form import Told
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import open_stream
from ae_runtime.tables.columns import arrays_of
from ae_runtime.tables.digits import parse_moment

nan = np.nan


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def manifest(columns: list[Column], reading: Reading | None = None) -> Manifest:
    """Of a bundle that takes these columns."""
    numbers = sum(not column.levels for column in columns)
    levels = [len(column.levels) for column in columns if column.levels]
    port = Port("x", "float64", [None, numbers])
    inputs, outputs = [port], [Port("x_hat", "float64", [None, numbers])]
    if levels:
        inputs = [Port("x_num", "float64", [None, numbers]), Port("x_cat", "int32", [None, 1])]
        outputs = [
            Port("x_hat_num", "float64", [None, numbers]),
            Port("x_hat_cat", "int32", [None, len(levels)]),
            Port("x_hat_prob", "float32", [None, sum(levels)]),
        ]
    return Manifest(
        format=FORMAT,
        model_id="0" * 64,
        kind="table",
        latent=Latent(1),
        inputs=inputs,
        outputs=outputs,
        columns=columns,
        quality=None,
        golden=Golden(1, 0.0),
        files={},
        reading=reading or Reading(),
    )


def streamed(
    text: str, columns: list[Column], reading: Reading | None = None
) -> tuple[list[list[float]], dict[int, str], list[str]]:
    """(numbers, bad rows, notes) of the text, as a bundle of these columns takes it."""
    source = io.BytesIO(text.encode())
    with closing(open_stream(row_columns(manifest(columns, reading)), source)) as stream:
        blocks = list(stream.blocks(1 << 20))
        bad = {} if not blocks else blocks[0].bad
        rows = np.concatenate([np.hstack(block.arrays) for block in blocks])
        return rows.tolist(), bad, stream.notes


def both(text: str, names: list[str], told: Told | None = None) -> tuple[list[list[float]], str]:
    """(numbers, note) as training reads them, known to be what the runtime reads."""
    Path("t.csv").write_text(text)
    table = read_table("t.csv", told)
    assert (table.named, list(table.columns)) == (True, names)
    reading = told.reading if told else None
    rows, bad, notes = streamed(text, [Column(name) for name in names], reading)
    assert not bad
    values = np.stack(list(table.columns.values()), axis=1)
    np.testing.assert_array_equal(rows, values)
    assert notes[0] == table.note.splitlines()[0].replace("t.csv", "-")
    return values.tolist(), table.note


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas(separator: str) -> None:
    text = f"a{separator}b\n1,5{separator}2\n-,25{separator}1,5e3\n{separator}4\n"
    rows, note = both(text, ["a", "b"])
    np.testing.assert_array_equal(rows, [[1.5, 2], [-0.25, 1500], [nan, 4]])
    assert note == f"t.csv: separator {separator!r}, decimal comma, with a header"


def test_decimal_commas_in_quotes_and_without_a_header() -> None:
    assert both('a,b\n"1,5",2\n"2,25","3,5"\n', ["a", "b"])[0] == [[1.5, 2], [2.25, 3.5]]
    Path("t.csv").write_text("20,5;3,1\n21,5;4,1\n22,5;5,1\n")
    table = read_table("t.csv")
    assert (table.named, table.note) == (
        False,
        "t.csv: separator ';', decimal comma, without a header",
    )
    assert [column.tolist() for column in table.columns.values()] == [
        [20.5, 21.5, 22.5],
        [3.1, 4.1, 5.1],
    ]


def test_true_and_false_among_numbers_are_1_and_0_as_in_frames() -> None:
    text = "a,b\ntrue,1\nFalse,2.5\n,3\n"
    columns = [Column("a"), Column("b")]
    rows, bad, _ = streamed(text, columns)
    assert not bad
    np.testing.assert_array_equal(rows, [[1, 1], [0, 2.5], [nan, 3]])
    beside = [*columns, Column("c", "category", levels=["x"])]  # read column by column
    wide = text.replace("\n", ",x\n").replace("b,x", "b,c")
    np.testing.assert_array_equal(np.array(streamed(wide, beside)[0])[:, :2], rows)
    frame = {"a": np.array([True, False, None], object), "b": np.array([1, 2.5, 3])}
    (x,) = arrays_of(frame, manifest(columns, None), print)
    np.testing.assert_array_equal(x, rows)
    assert streamed("a,b\nyes,1\n", columns)[1]  # no other word is a number


def test_decimal_commas_and_points_in_one_file_are_no_numbers_of_one_way() -> None:
    _, bad, _ = streamed("a;b\n1,5;2.5\n2,5;3.5\n3,5;1.5\n", [Column("a"), Column("b")])
    assert bad[0].startswith("row 1, column 'a': '1,5' is not a number")
    text = "a;b\n" + "1,5;2,5\n" * 200 + "1.5;2,5\n"
    _, bad, _ = streamed(text, [Column("a"), Column("b")])
    assert bad == {
        200: "row 201, column 'a': '1.5' is not a number; tables of numbers are taken: leave the "
        "column out, or write it as numbers with a comma before decimals, as other numbers of "
        "this file"
    }


def test_thousands_are_read_where_they_show_themselves_or_are_said() -> None:
    sure = 'a,b\n"1,234,567",2\n"1,210",3\n12,4\n'
    assert both(sure, ["a", "b"])[0] == [[1234567, 2], [1210, 3], [12, 4]]
    german = "a;b\n1.234,5;2\n12,5;3\n1.000,0;4\n"
    assert both(german, ["a", "b"])[0] == [[1234.5, 2], [12.5, 3], [1000, 4]]
    open_to_both = 'a,b\n"1,210",2\n"1,215",3\n'
    thousands, comma = (Told(Reading(thousands=",")), Told(Reading(decimal=",")))
    assert both(open_to_both, ["a", "b"], thousands)[0] == [[1210, 2], [1215, 3]]
    assert both(open_to_both, ["a", "b"], comma)[0] == [[1.21, 2], [1.215, 3]]
    Path("t.csv").write_text(open_to_both)
    assert read_table(Path("t.csv")).columns["a"].tolist() == ["1,210", "1,215"]  # words, yet


def test_a_file_of_points_is_read_as_it_is_beside_a_model_of_decimal_commas() -> None:
    # What a bundle writes itself has points, however its training data were written.
    rows, _, _ = streamed("a,b\n1.5,2\n2.25,3\n", [Column("a"), Column("b")], Reading(","))
    assert rows == [[1.5, 2], [2.25, 3]]


@pytest.mark.parametrize(
    "text", ["temp (C, avg);flow (m/s, min)\n1.5;2\n3;4\n", '"x;y";"z, u"\n1;2\n3;4\n']
)
def test_the_separator_is_found_in_the_data_not_in_the_names(text: str) -> None:
    Path("t.csv").write_text(text)
    table = read_table("t.csv")
    assert table.note == "t.csv: separator ';', with a header"
    assert [column.shape for column in table.columns.values()] == [(2,), (2,)]


@pytest.mark.parametrize("names", ["a,b,", "a,b"])
def test_an_empty_last_column_is_left_out_and_said(names: str) -> None:
    rows, note = both(f"{names}\n1,2,\n3,NA,\n5,6,\n", ["a", "b"])
    np.testing.assert_array_equal(rows, [[1, 2], [3, nan], [5, 6]])
    assert note == "t.csv: separator ',', with a header; the empty last column is left out"
    two = both("a,b,,\n1,2,,\n3,4,,\n", ["a", "b"])
    assert two[1].endswith("the empty last 2 columns are left out")


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_value_far_down_in_an_empty_last_column_is_refused(quote: str) -> None:
    text = "a,b,\n" + "1,2,\n" * 300 + f"1,{quote}2{quote},7\n"
    _, bad, _ = streamed(text, [Column("a"), Column("b")])
    assert bad == {
        300: "row 301 holds ['7'] in a last column that has no name and is empty before; give the "
        "column a name, or correct the row"
    }


LOGGER = [
    '"TOA5","station","7","1","program"',
    '"time","n","t","p","s"',
    '"TS","RN","degC","mb",""',
    '"","","Avg","Smp",""',
]


def test_a_preamble_and_rows_of_units_are_read_past_and_said() -> None:
    rows = [f'"2026-01-01 00:{at:02d}:00",{at},{at}.5,{at % 3},"NAN"' for at in range(30)]
    text = "\n".join([*LOGGER, *rows])
    columns = [
        Column(name, "date" if name == "time" else "number") for name in ["time", "n", "t", "p"]
    ]
    found, bad, notes = streamed(text, columns)
    assert not bad
    assert found[3] == [1767225780.0, 3, 3.5, 0]
    assert len(found) == 30
    assert notes[0] == (
        "-: separator ',', with a header in row 2; read past: row 1 (TOA5, station, 7, 1, ...), "
        "row 3 (TS, RN, degC, mb, ...), row 4 (, , Avg, Smp, ...)"
    )
    text = "\n".join(["Station;Kiel", "height 12 m", "a;b", *(f"{at};{at},5" for at in range(9))])
    assert both(text, ["a", "b"])[0][2] == [2, 2.5]


def test_a_row_with_a_number_in_it_is_no_row_of_units() -> None:
    text = "a,b\nfault,1\n" + "3,4\n" * 20
    _, bad, _ = streamed(text, [Column("a"), Column("b")])
    assert list(bad) == [0]


def test_a_heading_that_stands_again_is_no_row() -> None:
    text = "\n".join(["a,b", "m,s", *["1,2"] * 300, "a,b", "m,s", *["3,4"] * 20])
    rows, bad, notes = streamed(text, [Column("a"), Column("b")])
    assert (len(rows), bad, rows[300]) == (320, {}, [3, 4])
    assert notes[1:] == ["-: the heading stands among the rows 2 times more, and is read past"]
    Path("t.csv").write_text(text)
    assert read_table(Path("t.csv")).note.endswith("2 times more, and is read past")


@pytest.mark.parametrize("header", [None, "yes", "no"])
def test_a_first_row_of_numbers_is_data_unless_it_is_said_to_be_names(header: str | None) -> None:
    text = "400,410,420,430\n" + "0.5,0.25,0.1,0.7\n" * 5
    Path("t.csv").write_text(text)
    table = read_table(Path("t.csv"), Told(header=header))
    assert (table.rows, table.named) == ((5, True) if header == "yes" else (6, False))
    assert ("--header yes" in table.note) == (header is None)
    # A bundle knows its names.
    columns = [Column(name) for name in ("400", "410", "420", "430")]
    assert len(streamed(text, columns)[0]) == 5


def test_a_first_row_whose_words_come_again_is_data() -> None:
    rows = ["5.1,0.2,setosa", "4.9,0.3,setosa", "6.4,1.5,virginica", "6.5,1.2,setosa"]
    Path("t.csv").write_text("\n".join(rows))
    assert (read_table(Path("t.csv")).rows, read_table(Path("t.csv")).named) == (4, False)
    Path("t.csv").write_text("country,2019,2020\nde,1.5,2\nfr,2.5,3\n")
    table = read_table(Path("t.csv"))
    assert list(table.columns) == ["country", "2019", "2020"]
    assert table.note.endswith("2019, 2020 among them; if it is data: --header no")


def test_the_row_of_names_may_be_said() -> None:
    Path("t.csv").write_text("1,2\na,b\n3,4\n5,6\n")
    table = read_table(Path("t.csv"), Told(header=2))
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        "a": [3, 5],
        "b": [4, 6],
    }
    with pytest.raises(DataError, match=r"t.csv: there is no row 9 of names among the first 4"):
        read_table(Path("t.csv"), Told(header=9))


@pytest.mark.parametrize(
    "cell", ["9007199254740993", "-1152921504606846977", "123456789012345678901"]
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_whole_numbers_that_float64_cannot_hold_are_refused(cell: str, quote: str) -> None:
    text = f"a,b\n1,2\n3,{quote}{cell}{quote}\n"
    why = f"{cell} is a whole number beyond 9007199254740992, which loses digits as float64"
    columns = [Column("a"), Column("b")]
    for more in ([], [Column("c", "category", levels=["x"])]):  # numbers alone, and beside words
        given = text if not more else text.replace("\n", ",x\n").replace("b,x", "b,c")
        _, bad, _ = streamed(given, columns + more)
        assert bad[1].startswith(f"row 2, column 'b': {why}")
    Path("t.csv").write_text(text)
    table = read_table(Path("t.csv"))
    assert (table.columns["b"].tolist(), table.types) == (["2", cell], {"b": "number"})


def test_large_numbers_that_float64_holds_are_kept() -> None:
    cells = ["9007199254740992", "1e300", "12345678901234567890.5", str(2**70)]
    Path("t.csv").write_text("\n".join(["a,b", *(f"{cell},1" for cell in cells)]))
    assert read_table("t.csv").columns["a"].tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize("quote", ["", '"'])
def test_what_stands_for_missing_is_missing(quote: str) -> None:
    reading = Reading(missing=[-9999.0, "bad"])
    text = f"a,b\n1,{quote}-9999{quote}\n-9999.0,bad\n3,4\n"
    expected = [[1, nan], [nan, nan], [3, 4]]
    rows, bad, _ = streamed(text, [Column("a"), Column("b")], reading)
    assert not bad
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(both(text, ["a", "b"], Told(reading))[0], expected)
    table = {"a": np.array([1.0, -9999, 3]), "b": np.array([np.nan, np.nan, 4])}
    (x,) = arrays_of(table, manifest([Column("a"), Column("b")], reading), print)
    np.testing.assert_array_equal(x, expected)


MOMENT = 1767225600  # 2026-01-01


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20260101", MOMENT),
        ("20260101000001", MOMENT + 1),
        (str(MOMENT), MOMENT),
        (f"{MOMENT}.5", MOMENT + 0.5),
        (f"{MOMENT}250", MOMENT + 0.25),
        (f"{MOMENT}250000", MOMENT + 0.25),
        (f"{MOMENT}250000000", MOMENT + 0.25),
        ("2026", None),
        ("46023", None),  # a spreadsheet's day, or the 46,023rd second of 1970
        ("46023.5", None),
        ("20261301", None),
        ("0", None),
        ("soon", None),
    ],
)
def test_dates_of_digits_are_read_by_their_form_or_refused(
    text: str, seconds: float | None
) -> None:
    assert parse_moment(text) == seconds
    rows, bad, _ = streamed(f"when,v\n{text},1\n{text},2\n", [Column("when", "date"), Column("v")])
    if seconds is None:
        assert bad[0] == (
            f"row 1, column 'when': {text!r} is not an ISO 8601 date (2026-03-31 or "
            "2026-03-31T08:15)"
        )
    else:
        assert rows[0] == [seconds, 1]


WORDS = ["02116", "2116", "1.10", "1.1", "NA", "ab  ", "ab", "?"]


def test_a_word_that_the_model_knows_is_that_word_however_it_looks() -> None:
    columns = [Column("v"), Column("c", "category", levels=WORDS)]
    text = "\n".join(["v,c", *(f'{at},"{word}"' for at, word in enumerate(WORDS))])
    rows, bad, _ = streamed(text, columns)
    assert not bad
    assert [row[1] for row in rows] == list(range(len(WORDS)))
    known = [Column("v"), Column("c", "category", levels=["2116", "1.1", "ab"])]
    rows, _, _ = streamed("v,c\n1,02116\n2,2116.0\n3, ab \n4,NA\n", known)
    assert [row[1] for row in rows] == [-1, 0, 2, -1]


def test_text_is_kept_where_a_column_is_said_to_be_words() -> None:
    Path("t.csv").write_text("zip,v\n02116,1\n2116,2\nNA,3\n")
    assert read_table(Path("t.csv"), None, ["zip"]).columns["zip"].tolist() == [
        "02116",
        "2116",
        None,
    ]
    assert read_table(Path("t.csv")).columns["zip"].tolist()[:2] == [2116, 2116]
