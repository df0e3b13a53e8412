"""Make the two models and the rows that bench-runtime measures with; they are kept in build/bench.

python benchmarks/runtime/models.py
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build"
FOLDER = BUILD / "bench"
PEERS = BUILD / "runtime-peers" / "bin" / "python"
TITLES = {
    "dense": "dense 784-512-256-32, float32 rows",
    "conv": "conv for 28x28 images by our default recipe, K = 16, uint8 rows",
}
WIDTHS = 784, 512, 256, 32
SIDE = 28
ROWS, TRAINED_ON = 100_000, 12_000
PART = 5_000  # images made at a time
PEER_TILE = 256  # rows in a call of LiteRT, whose models have fixed shapes


def images(count: int, seed: int) -> Array:
    """(count, SIDE, SIDE) uint8: three soft strokes on black, each of its own place and turn."""
    random = np.random.default_rng(seed)
    at = np.arange(SIDE, dtype=np.float32)
    parts = []
    for rows in (min(PART, count - start) for start in range(0, count, PART)):
        x = np.zeros((rows, SIDE, SIDE), np.float32)
        for _ in range(3):
            v, u = random.uniform(8, SIDE - 8, (2, rows, 1, 1)).astype(np.float32)
            turn = random.uniform(0, np.pi, (rows, 1, 1)).astype(np.float32)
            down, right = at[:, None] - v, at - u
            along = np.cos(turn) * right + np.sin(turn) * down
            across = np.cos(turn) * down - np.sin(turn) * right
            x += np.exp(-((along / 5) ** 2) - (across / 1.3) ** 2)
        parts.append(np.rint(255 * np.minimum(x, 1)).astype(np.uint8))
    return np.concatenate(parts)


def rows_of(model: str, count: int, seed: int) -> Array:
    """Rows as the model takes them; the pixels of the dense one carry noise, as a sensor's do."""
    x = images(count, seed)
    if model == "conv":
        return x
    noise = np.random.default_rng(seed).standard_normal((count, SIDE * SIDE), np.float32)
    return x.reshape(count, -1) / np.float32(255) + np.float32(0.01) * noise


def make_dense(folder: Path) -> Any:
    """Write the dense bundle, weights as they are drawn. Returns its encoder in torch."""
    import torch
    from torch import nn

    from ae_export import export_modules

    def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
        pairs = itertools.pairwise(widths)
        layers = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    torch.manual_seed(0)
    encoder = perceptron(WIDTHS)
    export_modules(encoder, perceptron(WIDTHS[::-1]), rows_of("dense", 256, 1), folder)
    weights = {f"{at}": each.detach().numpy() for at, each in enumerate(encoder.parameters())}
    np.savez(folder.with_name("dense-weights.npz"), **weights)
    return encoder


def make_conv(folder: Path) -> Any:
    """Write the bundle of what images get by default, after one epoch. Returns its encoder."""
    from torch import Tensor, nn

    from ae_export import export
    from ae_train import train
    from ae_train.data.dataset import make_dataset
    from ae_train.recipe import make_recipe

    class Encoder(nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model.encode(x)

    recipe = make_recipe({"latent_dim": 16, "fit": {"epochs": 1, "batch": 32, "lr": 3e-3}})
    run = train(make_dataset(images(TRAINED_ON, 1)), recipe)
    if run.schema.quality.is_pca:
        raise SystemExit("training found nothing better than PCA, which is no conv model")
    export(run, folder)
    return Encoder(run.model).eval()


def make() -> None:
    """Everything that is not there yet: bundles, rows, the encoders as torch programs."""
    import torch

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, maker in (("dense", make_dense), ("conv", make_conv)):
        done = FOLDER / f"{name}-rows.npy"
        if done.exists():
            continue
        encoder = maker(FOLDER / name)
        x = rows_of(name, ROWS, 2)
        batch = {0: torch.export.Dim("batch", min=2)}
        example = (torch.from_numpy(x[:PEER_TILE]),)
        program = torch.export.export(encoder, example, dynamic_shapes=(batch,))
        torch.export.save(program, FOLDER / f"{name}.pt2")
        np.save(done, x)


def convert() -> None:
    """The models for LiteRT, made in the environment that holds the peers."""
    script = (
        "import sys, numpy, torch, litert_torch\n"
        "program, rows, tile, out = sys.argv[1:]\n"
        "x = torch.from_numpy(numpy.load(rows, mmap_mode='c')[:int(tile)])\n"
        "litert_torch.convert(torch.export.load(program).module(), (x,)).export(out)\n"
    )
    for name in TITLES:
        out = FOLDER / f"{name}.tflite"
        if PEERS.exists() and not out.exists():
            words = PEERS, "-c", script, FOLDER / f"{name}.pt2", FOLDER / f"{name}-rows.npy"
            done = subprocess.run([*words, str(PEER_TILE), out], capture_output=True, text=True)
            if done.returncode:
                print(f"NOT CONVERTED for LiteRT: {name}: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    make()
    convert()
