#!/usr/bin/env bash
# PCA of scikit-learn 1.9.1 with its default solver loses the components of columns whose mean is large
# beside their spread, such as times in seconds since 1970.
# With at least ten rows a column "auto" takes "covariance_eigh", which subtracts the product of the
# means from the product of the rows: at a mean of 1.7e9 and a deviation of about 1 nothing is left of
# the digits. No warning. svd_solver="full" subtracts the means first and is right.
# Seen on x86-64: mean squared error of 2 components of 6 columns 0.0067 with "full", above 1 by default.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from sklearn.decomposition import PCA

warnings.simplefilter("error")
random = np.random.default_rng(0)
axes = random.standard_normal((2, 6))
rows = random.standard_normal((20_000, 2)) @ axes + 0.1 * random.standard_normal((20_000, 6))
rows += 1.7e9
found = {}
for solver in ("auto", "full"):
    pca = PCA(2, svd_solver=solver).fit(rows)
    found[solver] = float(((pca.inverse_transform(pca.transform(rows)) - rows) ** 2).mean())
    print(f"svd_solver={solver!r}: mean squared error {found[solver]:.4f}")
assert found["full"] < 0.01, "changed: the full solver is off"
assert found["auto"] > 0.5, "changed: the default solver keeps the components"
PYTHON
