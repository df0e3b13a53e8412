"""Of a CSV separator, header, missing values and integers are found, and numbers are exact."""

from __future__ import annotations

import ast
import gzip
import re
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Port
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.csv_pieces import Piece
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import open_rows

nan = np.nan


pytestmark = pytest.mark.usefixtures("in_tmp_path")


class CsvTable(NamedTuple):
    """What was found in a CSV. columns: None without a header."""

    values: NDArray[np.float64]
    columns: list[str] | None
    integer: list[bool]
    separator: str


def table(text: str | bytes, name: str = "t.csv") -> CsvTable:
    """A CSV as training reads it, known to be what the runtime reads."""
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read_table(path)
    values = np.stack(list(found.columns.values()), axis=1)
    assert_same_bits(streamed(path, values.shape[1]), values)
    (separator,) = re.findall(r"separator ('[^']*')", found.note)[:1]
    return CsvTable(
        values,
        list(found.columns) if found.named else None,
        [name in found.integer for name in found.columns],
        ast.literal_eval(separator),
    )


def streamed(path: Path, width: int) -> NDArray[np.float64]:
    """The numbers in a CSV as the runtime reads them."""
    wanted = Wanted(Port("x", "float64", [None, width]), "x", None, exact=True)
    with closing(open_rows(wanted, "table", path)) as stream:
        blocks = list(stream.blocks(1 << 20))
    assert not any(block.bad for block in blocks)
    return np.concatenate([block.arrays[0] for block in blocks])


def assert_same_bits(found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Equal to the sign of a zero; any NaN equals any NaN."""
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_each_separator_is_found(separator: str) -> None:
    found = table(f"a{separator}b\n1.5{separator}2\n3{separator}4\n")
    assert found.separator == separator
    assert found.columns == ["a", "b"]
    np.testing.assert_array_equal(found.values, [[1.5, 2], [3, 4]])


def test_the_separator_is_one_that_cuts_every_row() -> None:
    # Another one cuts the header into more pieces, and cuts nothing else.
    found = table("length, in m, at noon;width\n1;2\n")
    assert (found.separator, found.columns) == (";", ["length, in m, at noon", "width"])
    found = table("length|m|noon,width\n1,2\n")
    assert (found.separator, found.columns) == (",", ["length|m|noon", "width"])


def test_one_column_needs_no_separator() -> None:
    np.testing.assert_array_equal(table("a\n1\n2\n").values, [[1], [2]])


def test_a_tsv_is_cut_at_tabs_only() -> None:
    found = table("a,b\tc,d\te,f\n1\t2\t3\n", "t.tsv")
    assert found.columns == ["a,b", "c,d", "e,f"]
    assert table("a;b\n1;2\n", "old.tsv.csv").columns == ["a", "b"]  # a CSV, for all its name


def test_quoted_headers_hold_separators_quotes_and_newlines() -> None:
    found = table('"a,\nb","say ""c""", d \n1,2,3\n4,5,6\n')
    assert found.columns == ["a,\nb", 'say "c"', "d"]
    np.testing.assert_array_equal(found.values, [[1, 2, 3], [4, 5, 6]])
    found = table('"a\n1\n2","b"\n3,4\n')
    assert found.columns == ["a\n1\n2", "b"]
    np.testing.assert_array_equal(found.values, [[3, 4]])


def test_quoted_cells_are_numbers_too() -> None:
    found = table('a;b\n"1";"2.5\n"\n"";4\n')
    np.testing.assert_array_equal(found.values, [[1, 2.5], [nan, 4]])


@pytest.mark.parametrize(
    ("first", "columns"),
    [
        ("a,b", ["a", "b"]),
        ("a,2", ["a", "2"]),
        ("1_000,2_000", ["1_000", "2_000"]),  # float() takes these for numbers
        ("1,2", None),
        ("NA,", None),
        ("-1e-3,+.5", None),
        ("nan,inf", None),
    ],
)
def test_the_first_row_is_a_header_unless_all_of_it_is_numbers(
    first: str, columns: list[str] | None
) -> None:
    found = table(f"{first}\n3,4\n5,6\n")
    assert found.columns == columns
    np.testing.assert_array_equal(found.values[-2:], [[3, 4], [5, 6]])
    assert len(found.values) == 2 + (columns is None)


@pytest.mark.parametrize(
    "spelling",
    ["", "NA", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", "-", "<NA>", '""', "  "],
)
def test_each_spelling_of_missing(spelling: str) -> None:
    np.testing.assert_array_equal(
        table(f"a,b\n1,{spelling}\n{spelling},4\n").values, [[1, nan], [nan, 4]]
    )


def test_a_quoted_nothing_in_the_only_column_is_a_missing_value() -> None:
    # pandas writes it so, since a blank line would be no row.
    np.testing.assert_array_equal(table('a\n1\n""\n\n3\n').values, [[1], [nan], [3]])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("cell", ["4", "NA"], ids=["fast", "slow"])
def test_line_ends_blank_lines_and_a_missing_last_line_end(end: str, cell: str) -> None:
    lines = ["", "  ", "a,b", "", "1,2", " \t", f"3,{cell}"]
    found = table(end.join(lines))
    assert found.columns == ["a", "b"]
    np.testing.assert_array_equal(found.values, [[1, 2], [3, nan if cell == "NA" else 4]])


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert table(b"\xef\xbb\xbfa,b\n1,2\n").columns == ["a", "b"]
    np.testing.assert_array_equal(table(b"\xef\xbb\xbf1,2\n3,4\n").values, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("name", "separator"), [("t.csv.gz", ","), ("T.CSV.GZ", ","), ("t.tsv.gz", "\t")]
)
def test_gzip(name: str, separator: str) -> None:
    found = table(gzip.compress(f"a{separator}b\n1{separator}2\n".encode()), name)
    assert (found.columns, found.separator) == (["a", "b"], separator)
    np.testing.assert_array_equal(found.values, [[1, 2]])


def test_white_space_around_names_and_numbers_is_left_out() -> None:
    found = table(" a , b\n 1 ,\t2\n3, NA \n")
    assert found.columns == ["a", "b"]
    np.testing.assert_array_equal(found.values, [[1, 2], [3, nan]])


@pytest.mark.parametrize(
    ("cells", "integer"),
    [
        (["1", "-3", "+4"], True),
        (["1", "", "NA"], True),
        (["1", "2.0", "3"], False),
        (["1", "1e3", "3"], False),
        (["1", "2", "2.5"], False),
        (["", "NA", "?"], False),  # nothing says that they are whole
        (["9007199254740992", "1", "2"], True),  # 2^53
    ],
)
def test_integer_columns_are_written_without_fraction_or_exponent(
    cells: list[str], integer: bool
) -> None:
    found = table("".join(f"{cell},0.5\n" for cell in cells))
    assert found.integer == [integer, False]


def test_a_fraction_far_down_makes_a_column_no_integer() -> None:
    assert not table("a\n" + "1\n" * 5000 + "1.5\n").integer[0]
    assert table("a\n" + "1\n" * 5000).integer[0]


def random_cells(random: np.random.Generator, rows: int, width: int) -> list[list[str]]:
    """Numbers of all sizes in every way people write them."""
    styles = ["{!r}", "{:.3g}", "{:+.6e}", "{:.2f}", " {:.17g} ", "{:.25f}", "{:E}", "{:.0f}"]
    sizes = 10.0 ** random.integers(-320, 308, (rows, width))
    with np.errstate(under="ignore"):
        numbers = random.standard_normal((rows, width)) * sizes
    numbers[random.random(numbers.shape) < 0.05] = -0.0
    numbers[random.random(numbers.shape) < 0.02] = -np.inf
    numbers[random.random(numbers.shape) < 0.02] = nan
    return [
        [styles[random.integers(len(styles))].format(v) for v in row] for row in numbers.tolist()
    ]


@pytest.mark.parametrize("seed", range(8))
def test_the_fast_and_the_slow_reader_give_the_numbers_that_python_reads(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    cells = random_cells(random, int(random.integers(1, 200)), int(random.integers(1, 12)))
    separator = ",;\t|"[random.integers(4)]
    text = "\n".join(separator.join(row) for row in cells) + "\n"
    if random.random() < 0.5:
        text = separator.join(f"name{at}" for at in range(len(cells[0]))) + "\n" + text
    expected = np.array([[float(cell) for cell in row] for row in cells])
    fast_results = []

    def spied_fast(piece: Piece, *options: object) -> object:
        fast_results.append(read_fast(piece, *options))  # type: ignore[arg-type]
        return fast_results[-1]

    read_fast = Piece.numbers
    monkeypatch.setattr(Piece, "numbers", spied_fast)
    assert_same_bits(table(text).values, expected)
    assert None not in [
        result and 1 for result in fast_results
    ]  # else the slow reader was compared with itself
    monkeypatch.setattr(Piece, "numbers", lambda *_: None)
    assert_same_bits(table(text).values, expected)


@pytest.mark.parametrize("seed", range(20))
def test_missing_values_are_the_same_to_the_fast_and_the_slow_reader(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    width = int(random.integers(1, 5))
    separator, end = ",;\t|"[random.integers(4)], ["\n", "\r\n", "\r"][random.integers(3)]
    words = ["", "NA", "n/a", "#N/A", "-", "?", "<NA>", "null", "None", "-1", "inf", "nan", "2.5"]
    if random.random() < 0.3:
        words += [" NA ", " ", "na "]  # white space is for the slow reader
    cells = random.choice(words, (int(random.integers(1, 40)), width))
    lines = [separator.join(row) for row in cells.tolist()]
    for at in random.integers(0, len(lines), 2):
        lines.insert(int(at), "")
    text = end.join([separator.join("abcd"[:width]), *lines, "1" + f"{separator}1" * (width - 1)])
    found = table(text).values
    columns = read_table(Path("t.csv")).columns
    monkeypatch.setattr(Piece, "numbers", lambda *_: None)
    assert_same_bits(table(text).values, found)
    assert_same_bits(np.stack(list(columns.values()), 1), found)


def test_a_missing_value_far_down_changes_no_other_value() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((100_000, 4))
    lines = [f"{a!r},{b!r},{c!r},{d!r}" for a, b, c, d in values.tolist()]
    lines[-1] = "NA" + lines[-1][lines[-1].index(",") :]
    values[-1, 0] = nan
    found = table("a,b,c,d\n" + "\n".join(lines))
    np.testing.assert_array_equal(found.values, values)


def test_a_table_of_50_000_columns_is_read() -> None:
    # One row is longer in one piece than Python's csv takes as a cell; a separator that is only
    # in a name would leave it in one piece.
    names = ",".join(["a;b", *(f"x{at}" for at in range(1, 50_000))])
    row = ",".join(["12.25"] * 50_000)
    found = table(f"{names}\n{row}\n{row}\n")
    assert (found.separator, found.values.shape) == (",", (2, 50_000))
    assert (found.values == 12.25).all()
