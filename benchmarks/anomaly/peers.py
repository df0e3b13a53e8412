"""Scores of PyOD's detectors, in the environment that holds it: run by tables.py.

python benchmarks/anomaly/peers.py ROWS SEED OUT

ROWS is a .npz with `train` and `test`, in deviations of the training columns. Detectors are as
they come, but for the seed. OUT becomes a .npz with the scores of the test rows by detector.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.iforest import IForest
from pyod.models.knn import KNN


def main() -> None:
    rows, seed, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    warnings.simplefilter("ignore")
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    with np.load(rows) as file:
        train, test = file["train"], file["test"]
    detectors = {
        "PyOD AutoEncoder": AutoEncoder(random_state=seed, verbose=0),
        "PyOD KNN": KNN(),
        "PyOD IForest": IForest(random_state=seed),
    }
    found = {}
    for name, detector in detectors.items():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            detector.fit(train)
            found[name] = detector.decision_function(test)
    np.savez(out, **found)


if __name__ == "__main__":
    main()
