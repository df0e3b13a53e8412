"""The main job on real data: train on digits, export, and run the bundle without torch.

python demo/demo.py [RUNTIME]: the environment without torch, build/runtime if none is named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ae_export.reference import RunReference
from ae_train import Run
from ae_train.data.loading import load_digits

LATENT_DIM = 8
SHOWN = 14  # digits in the picture
ROOT = Path(__file__).parent.parent
OUT = Path("build/demo")
RUNTIME = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "build" / "runtime"
TRAINING_BIN = Path(sys.executable).parent


def main() -> None:
    os.chdir(ROOT)
    plt.switch_backend("Agg")  # a file is drawn, no window
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    started = time.monotonic()
    train = f"digits --latent {LATENT_DIM} --set data.test=0.2 --out {OUT}/run"
    command("ae-train", train, TRAINING_BIN, dict(os.environ))
    command("ae-export", f"{OUT}/run --out {OUT}/bundle", TRAINING_BIN, dict(os.environ))
    run = Run.load(OUT / "run")
    x = load_digits()[run.split.test]
    np.save(OUT / "test.npy", x)

    place = os.path.relpath(RUNTIME, ROOT)
    print(f"\nfrom here on without torch, in {place}, with an empty environment")
    bare: dict[str, str] = {}
    refused = subprocess.run(
        [RUNTIME / "bin/python", "-c", "import torch"], env=bare, stderr=subprocess.DEVNULL
    )
    if refused.returncode == 0:
        sys.exit("the runtime's environment holds torch: it proves nothing; make clean")
    command(
        "ae-run", f"encode {OUT}/bundle {OUT}/test.npy --out {OUT}/z.npy", RUNTIME / "bin", bare
    )
    reconstruct = f"reconstruct {OUT}/bundle {OUT}/test.npy --out {OUT}/x_hat.npy"
    command("ae-run", reconstruct, RUNTIME / "bin", bare)
    spoilt = with_a_wrong_patch(x[:SHOWN])
    np.save(OUT / "spoilt.npy", spoilt)
    score = f"score {OUT}/bundle {OUT}/spoilt.npy --parts --out {OUT}/scores.csv"
    command("ae-run", score, RUNTIME / "bin", bare)
    command("ae-run", f"doctor {OUT}/bundle", RUNTIME / "bin", bare)
    z, x_hat = np.load(OUT / "z.npy"), np.load(OUT / "x_hat.npy")
    parts = np.genfromtxt(OUT / "scores.csv", delimiter=",", skip_header=1)[:, -x[0].size :]
    picture(x[:SHOWN], x_hat[:SHOWN], spoilt, parts.reshape(spoilt.shape), OUT / "digits.png")
    table(run, x, z, x_hat)
    print(f"\noriginals, reconstructions and anomaly maps: {OUT}/digits.png")
    print(f"done in {time.monotonic() - started:.0f} s")


def command(name: str, words: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command as a user types it; end the demo if it fails."""
    print(f"\n$ {name} {words}", flush=True)
    if subprocess.run([folder / name, *words.split()], env=environment).returncode:
        sys.exit(1)


def table(run: Run, x: np.ndarray, z: np.ndarray, x_hat: np.ndarray) -> None:
    """What a user wants to know of the result, from what the runtime wrote."""
    quality = run.schema.quality
    encoder, decoder = differences(run, x, z, x_hat)
    smallest = np.min_scalar_type(int(x.max()))
    rates = rows_per_second()
    print(
        f"""
latent size                    {run.recipe.latent_dim} numbers for {x[0].size}
test MSE, scaled space         model {quality.test_mse:.4f}, PCA {quality.test_pca_mse:.4f} \
(ratio {quality.test_mse / quality.test_pca_mse:.3f}), mean {quality.test_mean_mse:.4f}
bytes a row                    {x[0].size * smallest.itemsize} ({smallest}) -> \
{z[0].nbytes} ({z.dtype})
largest torch/ONNX difference  latents {encoder:.1e}, reconstructions {decoder:.1e} of a std
{"rows a second, " + str(rates["threads"]) + " threads":<31}encode {rates["encode"]:,.0f}, \
reconstruct {rates["reconstruct"]:,.0f}
size of the runtime's install  {install_bytes() / 1e6:.0f} MB"""
    )


def differences(run: Run, x: np.ndarray, z: np.ndarray, x_hat: np.ndarray) -> tuple[float, float]:
    """Largest differences of the runtime's files to the torch model in float64, in std."""
    model = RunReference(run)
    expected_z = model.encode((x,))
    (expected,) = model.decode(z, model.distance_factor((x,)))
    return (
        float((np.abs(z - expected_z.expected) / expected_z.std).max()),
        float((np.abs(x_hat.astype(float) - expected.rounded) / expected.std).max()),
    )


def rows_per_second() -> dict[str, float]:
    """Speed of the runtime on 100,000 rows: best of three after a warm-up, in its own process."""
    script = f"""
import json, time
import numpy as np, ae_runtime
ae = ae_runtime.load({str(OUT / "bundle")!r})
x = np.resize(np.load({str(OUT / "test.npy")!r}), (100_000, 8, 8))
def rate(work):
    work(x)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work(x)
        seconds.append(time.perf_counter() - start)
    return len(x) / min(seconds)
rates = dict(encode=rate(ae.encode), reconstruct=rate(ae.reconstruct))
print(json.dumps(dict(threads=ae.threads, **rates)))
"""
    done = subprocess.run(
        [RUNTIME / "bin/python", "-c", script], env={}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def install_bytes() -> int:
    """Bytes of the files that the runtime brings, without pip, setuptools and bytecode."""
    packages = next((RUNTIME / "lib").glob("python*/site-packages"))
    tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
    return sum(
        path.stat().st_size
        for entry in packages.iterdir()
        if not entry.name.startswith(tools)
        for path in (entry.rglob("*") if entry.is_dir() else [entry])
        if path.is_file() and path.suffix != ".pyc"
    )


def with_a_wrong_patch(x: np.ndarray) -> np.ndarray:
    """A copy of these digits in each of which two by two pixels are inverted, one place each."""
    rng, spoilt = np.random.default_rng(0), x.copy()
    for image in spoilt:
        row, column = rng.integers(1, 6, 2)
        image[row : row + 2, column : column + 2] = 16 - image[row : row + 2, column : column + 2]
    return spoilt


def picture(
    x: np.ndarray, x_hat: np.ndarray, spoilt: np.ndarray, parts: np.ndarray, path: Path
) -> None:
    """Write digits, their reconstructions, spoilt digits, and how far each pixel is off."""
    titles = "original", f"from {LATENT_DIM} numbers", "wrong patch", "anomaly map"
    figure, axes = plt.subplots(4, len(x), figsize=(len(x) * 0.6 + 1.3, 2.6))
    off = np.abs(parts)
    for line, title, images in zip(axes, titles, (x, x_hat, spoilt, off), strict=True):
        line[0].text(-1.5, 3.5, title, ha="right", va="center", fontsize=9)
        look = {"cmap": "gray_r", "vmin": 0, "vmax": 16}
        if images is off:
            look = {"cmap": "inferno", "vmin": 0, "vmax": 8}  # standard deviations
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, **look)
            axis.axis("off")
    figure.tight_layout(pad=0.2)
    figure.subplots_adjust(left=0.13)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
