"""Load a bundle and run the first row in a fresh process, against two bare sessions, in turn."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / "build" / "runtime" / "bin" / "python"
BUNDLE = ROOT / "models" / "digits"
RUNS = 41

OURS = f"""
import numpy as np
import ae_runtime
ae_runtime.load({str(BUNDLE)!r}).reconstruct(np.zeros((1, 8, 8), np.uint8))
"""
BARE = f"""
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
encoder, decoder = (
    onnxruntime.InferenceSession(
        {str(BUNDLE)!r} + "/" + name, options, providers=["CPUExecutionProvider"]
    )
    for name in ("encoder.onnx", "decoder.onnx")
)
z = encoder.run(["z"], {{"x": np.zeros((1, 8, 8), np.uint8)}})[0]
decoder.run(["x_hat"], {{"z": z}})
"""


def seconds(script: str) -> float:
    start = time.perf_counter()
    subprocess.run([PYTHON, "-c", script], env={}, check=True)
    return time.perf_counter() - start


def main() -> None:
    for script in (OURS, BARE) * 2:  # the files are in memory and the bytecode is written
        seconds(script)
    pairs = [(seconds(OURS), seconds(BARE)) for _ in range(RUNS)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"load + first row, fresh process, median of {RUNS} in turn")
    print(f"ae_runtime          {ours * 1e3:6.0f} ms")
    print(f"two bare sessions   {bare * 1e3:6.0f} ms")
    print(f"ratio of medians    {ours / bare:6.2f}")
    print(f"median of ratios    {statistics.median(a / b for a, b in pairs):6.2f}")


if __name__ == "__main__":
    main()
