#!/usr/bin/env bash
# BitRound of numcodecs 0.16.6 turns a NaN whose bits are all ones into -0.0.
# It adds half of the last kept bit to the bits of a number and cuts the rest; of 0x7fffffff the sum runs
# over into the sign. That NaN is a usual fill for missing samples in binary formats. The NaN that numpy
# makes (0x7fc00000) and infinities stay as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numcodecs==0.16.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from numcodecs import BitRound

codec = BitRound(keepbits=10)
x = np.array([0x7FFFFFFF, 0x7FC00000, 0x7F800000], np.uint32).view(np.float32)
assert np.isnan(x[:2]).all()
found = codec.decode(codec.encode(x.copy()))
print(f"{x} (bits {[hex(v) for v in x.view(np.uint32)]}) -> {found}")
assert np.isnan(found[1]) and np.isinf(found[2])
assert found[0] == 0 and np.signbit(found[0]), "changed"
PYTHON
