#!/usr/bin/env bash
# The Delta filter of numcodecs 0.16.6 does not give floats back.
# It stores differences in the dtype of the values and adds them up again, so that each rounding stays
# in all values that follow: after one value of 1e6 in a float32 row of standard normal numbers, all
# later ones are off by up to 0.0085. There is no warning, and the filter is used as if it were lossless.
# Of integers it is exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numcodecs==0.16.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from numcodecs import Delta

warnings.simplefilter("error")
x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
x[5] = 1e6
delta = Delta(dtype="f4")
off = float(np.abs(delta.decode(delta.encode(x)) - x)[6:].max())
print(f"largest difference after there and back: {off:.4f}")
assert off > 1e-3, "changed"
whole = np.arange(1000, dtype="i4") ** 2
assert (Delta(dtype="i4").decode(Delta(dtype="i4").encode(whole)) == whole).all()
PYTHON
