#!/usr/bin/env bash
# pyarrow 26.0.1's CSV reader turns a column of whole numbers into float64 if one of them is 2^63 or more.
# All of them lose digits, also those that fit in 64 bits, without a warning; there is no step from int64
# to uint64 or a decimal. pandas 3.1.1 gives uint64, polars 2.1.0 Int128, DuckDB 2.0.1 HUGEINT, all exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import os
import tempfile

import duckdb
import pandas
import polars
import pyarrow.csv

numbers = [9223372036854775807, 9223372036854775809]
text = "a\n" + "\n".join(map(str, numbers)) + "\n"
path = os.path.join(tempfile.mkdtemp(), "a.csv")
with open(path, "w") as file:
    file.write(text)
assert pandas.read_csv(path).a.tolist() == numbers
assert polars.read_csv(path)["a"].to_list() == numbers
assert [row[0] for row in duckdb.sql(f"select a from '{path}'").fetchall()] == numbers
column = pyarrow.csv.read_csv(io.BytesIO(text.encode()))["a"]
print(f"pyarrow: {column.type} {column.to_pylist()}; written: {numbers}")
assert str(column.type) == "double" and len(set(column.to_pylist())) == 1, "changed"
PYTHON
