#!/usr/bin/env bash
# IsolationForest of scikit-learn 1.9.1 gives every row of a column of times the same score.
# It converts rows to float32, whose numbers near 1.7e9 (seconds since 1970) are 128 apart: a column of
# float64 times within a few seconds, and one half a minute away, becomes one value. No warning.
# Seen: 1,000 of 1,000 scores equal; 1 of 1,000 as high as the outlier's without the offset.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from sklearn.ensemble import IsolationForest

warnings.simplefilter("error")
rows = np.random.default_rng(0).standard_normal((1000, 1))
rows[-1] += 30
for offset, most, least in ((0.0, 5, 1), (1.7e9, 1000, 1000)):
    scores = -IsolationForest(random_state=0).fit(rows + offset).score_samples(rows + offset)
    as_high = int((scores >= scores[-1]).sum())
    print(f"offset {offset:g}: {as_high} of 1,000 rows score as high as the outlier")
    assert least <= as_high <= most, "changed"
PYTHON
