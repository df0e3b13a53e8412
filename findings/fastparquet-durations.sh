#!/usr/bin/env bash
# A column of durations that fastparquet 2026.9.0 writes is read in three ways, none of them right.
# It is stored as a time of day. Of 1 second, 25 hours and -5 seconds pyarrow 26.0.1 gives 00:00:01,
# 01:00:00 and 23:59:55 (wrapped), polars 2.1.0 gives 00:00:01 and two missing values, and DuckDB 2.0.1
# refuses the file. pyarrow writes the same frame so that durations come back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastparquet==2026.9.0 pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import os
import tempfile

import duckdb
import fastparquet
import pandas
import polars
import pyarrow.parquet

path = os.path.join(tempfile.mkdtemp(), "d.parquet")
durations = pandas.to_timedelta([1, 90_000, -5], unit="s")
fastparquet.write(path, pandas.DataFrame({"d": durations}))
column = pyarrow.parquet.read_table(path)["d"]
print("pyarrow:", column.type, [str(value) for value in column.to_pylist()])
assert [str(v) for v in column.to_pylist()] == ["00:00:01", "01:00:00", "23:59:55"], "changed"
column = polars.read_parquet(path)["d"]
print("polars:", column.dtype, [str(value) for value in column.to_list()])
assert [str(v) for v in column.to_list()] == ["00:00:01", "None", "None"], "changed"
try:
    duckdb.sql(f"select * from '{path}'").fetchall()
except duckdb.Error as error:
    print("DuckDB:", error)
else:
    raise SystemExit("changed: DuckDB reads the file")
pandas.DataFrame({"d": durations}).to_parquet(path, engine="pyarrow")
assert (pandas.read_parquet(path).d == durations).all()
PYTHON
