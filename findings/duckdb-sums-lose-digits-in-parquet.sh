#!/usr/bin/env bash
# DuckDB 2.0.1 writes the sum of a BIGINT column to Parquet as DOUBLE, and whole numbers lose digits.
# sum() gives a HUGEINT, for which Parquet has no type; COPY ... TO stores it as DOUBLE without a word:
# 9007199254740993 (2^53 + 1) comes back as 9007199254740992. max() of the same column is exact. A
# UHUGEINT goes the same way, a BIGNUM becomes text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import os
import tempfile

import duckdb
import pyarrow.parquet

path = os.path.join(tempfile.mkdtemp(), "sum.parquet")
value = 2**53 + 1
duckdb.sql(f"""copy (select sum(x) as s, max(x) as m, max(x)::uhugeint as u
               from (values ({value}::bigint), (0)) t(x)) to '{path}'""")
table = pyarrow.parquet.read_table(path)
row = table.to_pylist()[0]
print({field.name: str(field.type) for field in table.schema}, row)
assert [str(table.schema.field(name).type) for name in "smu"] == ["double", "int64", "double"], "changed"
assert row["m"] == value and row["s"] == row["u"] == 2.0**53, "changed"
PYTHON
