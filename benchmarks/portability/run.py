"""Run a bundle with ae_runtime, once ae-run doctor finds nothing wrong: raw arrays in and out.

python run.py BUNDLE ROWS OUT BATCH
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np

import ae_runtime
from ae_runtime.machine import doctor
from ae_runtime.model.scoring import score_arrays

SCORED = ("parts", "scores")


def main(bundle: Path, rows: Path, out: Path, batch: int) -> None:
    """ROWS/<input>.bin -> OUT/z.bin, OUT/<output>.bin, ...; the files are as those of run.mjs."""
    ae = ae_runtime.load(bundle, threads=1)  # more would cut a batch into smaller ones
    for check in doctor.examine(ae.model):
        if not check.ok:
            sys.exit(f"doctor: {check.name}: {check.found}")
    x = [
        np.fromfile(rows / f"{port.name}.bin", port.dtype).reshape(-1, *port.row_shape)
        for port in ae.manifest.inputs
    ]
    starts = range(0, len(x[0]), batch)
    z = [ae.model.encode(*(part[start : start + batch] for part in x)) for start in starts]
    np.concatenate(z).tofile(out / "z.bin")
    x_hat = [ae.model.decode(part) for part in z]
    for port, parts in zip(ae.manifest.outputs, zip(*x_hat, strict=True), strict=True):
        np.concatenate(parts).tofile(out / f"{port.name}.bin")
    for name in SCORED:
        parts = [
            getattr(score_arrays(ae.model, *(part[start : start + batch] for part in x)), name)
            for start in starts
        ]
        np.concatenate(parts).tofile(out / f"{name}.bin")
    noise = np.fromfile(rows / "noise.bin", np.float32)
    noise = noise.reshape(len(x[0]), -1)
    drawn = [ae.model.latents_of(noise[start : start + batch]) for start in starts]
    np.concatenate(drawn).tofile(out / "drawn.bin")
    import onnxruntime  # last, so that it is ae_runtime that imports it

    on = f"ae_runtime, Python {platform.python_version()}, numpy {np.__version__}"
    print(json.dumps({"onnxruntime": onnxruntime.__version__, "on": on}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
