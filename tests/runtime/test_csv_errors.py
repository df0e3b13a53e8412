"""What is wrong with a CSV file is said in one line that names the file, the row and the column."""

from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path

import pytest

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import DataError
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.formats import read_table
from ae_runtime.files.readers.opening import open_rows

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def complaint(content: str | bytes, name: str = "t.csv") -> str:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_table(path)
    return str(error.value)


def wrong_rows(content: str, width: int) -> list[str]:
    """What the runtime says of rows of so many numbers that it cannot use."""
    Path("t.csv").write_text(content)
    wanted = Wanted(Port("x", "float64", [None, width]), "x", None)
    with closing(open_rows(wanted, "table", "t.csv")) as stream:
        return [why for block in stream.blocks(100) for why in block.bad.values()]


NOT_A_NUMBER = (
    "is not a number; tables of numbers are taken: leave the column out, or write it as numbers "
    "with a point before decimals"
)


@pytest.mark.parametrize("content", ["", "\n\n", "  \r\n", b"\xef\xbb\xbf"])
def test_empty(content: str | bytes) -> None:
    assert complaint(content) == "t.csv is empty; it holds no rows"


@pytest.mark.parametrize("content", ["a,b", "a,b\n\n  \n", '"a\n1",b\n'])
def test_header_only(content: str) -> None:
    assert complaint(content) == "t.csv holds a header and no rows"


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_text_in_a_numeric_column(quote: str) -> None:
    assert wrong_rows(f"a,{quote}b{quote}\n1,2\n\n3,red\n5,blue\n", 2) == [
        f"row 2, column 'b': 'red' {NOT_A_NUMBER}",
        f"row 3, column 'b': 'blue' {NOT_A_NUMBER}",
    ]


def test_text_in_a_column_without_a_name() -> None:
    (found,) = wrong_rows("1,2\n3,4\n5,red\n", 2)
    assert found == f"row 3, column 2: 'red' {NOT_A_NUMBER}"


@pytest.mark.parametrize("other", ["2", "NA", '"2"'])
@pytest.mark.parametrize("cell", ["1_000", "0x10", "1 000", "1,000", "--1", "1e", "2024-01-01"])
def test_what_only_looks_like_a_number_is_text(cell: str, other: str) -> None:
    # `other` sends the file through the fast reader first, or straight through the slow one.
    assert wrong_rows(f"a;b;c\n1;2;3\n4;{cell};{other}\n", 3) == [
        f"row 2, column 'b': {cell!r} {NOT_A_NUMBER}"
    ]


def test_a_separator_in_a_quoted_cell_does_not_cut_it() -> None:
    assert wrong_rows('a,b\n1,2\n"3,5,",4\n', 2) == [f"row 2, column 'a': '3,5,' {NOT_A_NUMBER}"]


@pytest.mark.parametrize("row", ["3", "3,4,5", "3,4,"])
def test_ragged_rows(row: str) -> None:
    cells = row.count(",") + 1
    assert complaint(f"a,b\n1,2\n{row}\n") == (
        f"t.csv: row 2 has {cells} cells, the header has 2; the separator found is ','"
    )
    assert complaint(f"0,0\n1,2\n{row}\n") == (
        f"t.csv: row 3 has {cells} cells, row 1 has 2; the separator found is ','"
    )


def test_all_rows_wider_than_the_header() -> None:
    assert complaint("a,b\n1,2,3\n4,5,6\n") == (
        "t.csv: row 1 has 3 cells, the header has 2; the separator found is ','"
    )


def test_repeated_names() -> None:
    assert complaint("a,b,c,b\n1,2,3,4\n") == (
        "t.csv: the header names 'b' more than once; rename one"
    )


def test_other_encodings() -> None:
    assert complaint("a,größe\n1,2\n".encode("latin-1")) == (
        "t.csv is not UTF-8 text: byte 4; save it as UTF-8"
    )
    assert complaint("a,b\n1,2\n".encode("utf-16")) == (
        "t.csv is not UTF-8 text: byte 0; save it as UTF-8"
    )


def test_a_quote_that_is_never_closed() -> None:
    assert complaint('a,b\n1,2\n"3,4\n' + "5,6\n" * 50_000) == (
        "t.csv: a cell is longer than 131072 characters; look for a quote that is not closed"
    )


def test_not_gzip() -> None:
    assert complaint("a,b\n1,2\n", "t.csv.gz") == (
        "t.csv.gz is not a complete gzip file: Not a gzipped file (b'a,')"
    )


def test_every_cut_of_a_gzip_file_is_refused() -> None:
    whole = gzip.compress(b"a,b\n1,2\n", mtime=0)
    for length in range(1, len(whole)):
        assert complaint(whole[:length], "t.csv.gz").startswith("t.csv.gz is not a complete gzip")


def test_a_gzip_file_with_a_changed_byte() -> None:
    raw = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 500, mtime=0))
    raw[20] ^= 255
    found = complaint(bytes(raw), "t.csv.gz")
    assert found.startswith("t.csv.gz is not a complete gzip file: Error -3 while decompressing")
