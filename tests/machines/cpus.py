"""The suites of train and export as other processors compute.

python tests/machines/cpus.py [PATH]...

Which kernels torch and numpy take decides the last bits of their sums. Each setting keeps both from
the newer instructions of this processor; tests that hold on all of them hang on no last bit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SUITES = ("tests/train", "tests/export")
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def numpy_features() -> list[str]:
    """What NPY_DISABLE_CPU_FEATURES can name here: numpy asks for it, and this processor has it.

    The names are numpy's own, which change with its version.
    """
    import numpy._core._multiarray_umath as numpy_core

    return [name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]]


def settings() -> dict[str, dict[str, str] | str]:
    """Names of settings with their environment, or with why this processor has no such setting."""
    features = numpy_features()
    return {
        "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
        "AVX2 in torch, oneDNN, MKL": AVX2,
        "numpy's baseline": {"NPY_DISABLE_CPU_FEATURES": " ".join(features)}
        if features
        else "numpy finds nothing here beyond its baseline",
    }


def run(environment: dict[str, str], paths: list[str]) -> tuple[int, int, int, float, str]:
    """(exit code, tests passed, failed, seconds, output) of one run of pytest."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak"]
    done = subprocess.run(
        [*command, *paths], cwd=ROOT, env={**os.environ, **environment}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    passed, failed = (
        sum(int(n) for n in re.findall(rf"(\d+) (?:{words})\b", done.stdout.splitlines()[-1]))
        if done.stdout
        else 0
        for words in ("passed", "failed|errors?")
    )
    return done.returncode, passed, failed, time.monotonic() - started, done.stdout + done.stderr


def main() -> int:
    """Run all settings, and print a line for each; 1 if a test failed."""
    paths, code = sys.argv[1:] or list(SUITES), 0
    print(f"{'setting':<28}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for name, environment in settings().items():
        if isinstance(environment, str):
            print(f"{name:<28}  not run: {environment}", flush=True)
            continue
        status, passed, failed, seconds, output = run(environment, paths)
        words = " ".join(f"{key}={value!r}" for key, value in environment.items())
        print(f"{name:<28}{passed:>8}{failed:>8}{seconds:>9.0f}  {words}", flush=True)
        if status:
            print(output, flush=True)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
