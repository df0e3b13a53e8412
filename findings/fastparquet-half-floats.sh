#!/usr/bin/env bash
# fastparquet 2026.9.0 gives half floats of Parquet as byte strings.
# A float16 column, as pyarrow 26.0.1 writes embeddings, comes back as objects b"\x00>", without a
# warning; pyarrow, polars and DuckDB give the numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastparquet==2026.9.0 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import os
import tempfile
import warnings

import fastparquet
import numpy as np
import pyarrow
import pyarrow.parquet

warnings.simplefilter("error")
path = os.path.join(tempfile.mkdtemp(), "half.parquet")
pyarrow.parquet.write_table(pyarrow.table({"h": np.array([1.5, -2.0], np.float16)}), path)
assert pyarrow.parquet.read_table(path)["h"].to_pylist() == [1.5, -2.0]
found = fastparquet.ParquetFile(path).to_pandas().h.tolist()
print("fastparquet:", found)
assert found == [b"\x00>", b"\x00\xc0"], "changed"
PYTHON
