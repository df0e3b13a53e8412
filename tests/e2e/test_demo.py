"""The demo trains, exports, runs without torch, and says how it went."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.usefixtures("one_processor")
def test_the_demo_prints_its_table_and_draws_its_picture(runtime_bin: Path) -> None:
    demo = [sys.executable, ROOT / "demo" / "demo.py"]
    done = subprocess.run(demo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = {
        name: line.split(name, 1)[1].strip()
        for name in ("latent size", "test MSE, scaled space", "bytes a row", "largest torch/ONNX")
        for line in done.stdout.splitlines()
        if line.startswith(name)
    }
    assert table["latent size"] == "8 numbers for 64"
    assert table["bytes a row"] == "64 (uint8) -> 32 (float32)"
    model, pca, ratio, mean = (
        float(n) for n in re.findall(r"\d\.\d+", table["test MSE, scaled space"])
    )
    assert model < pca < mean
    assert ratio <= 0.48  # what the project promises for digits at latent 8
    latents, reconstructions = (
        float(n) for n in re.findall(r"\d\.\de[-+]\d+", table["largest torch/ONNX"])
    )
    # 1e-5 of a deviation, float32 with three layers. Grey values are whole: a value that lies on a
    # half may be rounded to its neighbour, one of about 6 to a deviation, and no further.
    assert 0 < latents <= 1e-5
    assert reconstructions <= 0.2
    picture = ROOT / "build" / "demo" / "digits.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "originals, reconstructions and anomaly maps: build/demo/digits.png" in done.stdout
