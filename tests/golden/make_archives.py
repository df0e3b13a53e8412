"""Write the archives of tests/golden/archives, and the rows that they must give for ever.

python tests/golden/make_archives.py FOLDER

Those of the repository were written once, with format 1.0. They are never written again: a change
that cannot read them breaks the archives that people have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import ae_runtime
from ae_archive import Archive, compress

BUNDLES = Path(__file__).parent / "v1"


def main(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((700, 3)), axis=0)
    walk += walk[:, :1]
    gaps = walk.copy()
    gaps[100:110, 1], gaps[5, 0], gaps[6, 0] = np.nan, np.inf, -0.0
    coarse = np.stack([np.round(walk[:, 0]) * 7, rng.integers(0, 4, 700) * 100.0], axis=1)
    low_rank = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 40))
    codes = np.stack([walk[:, 0], rng.integers(0, 3, 700)], axis=1)
    codes[::9, 1] = np.nan
    bits = np.frombuffer(rng.bytes(4800)).reshape(300, 2)
    time, place = np.linspace(0, 20, 700)[:, None], np.linspace(0, 3, 33)
    smooth = np.sin(time * [1, 1.7]) + 0.002 * rng.standard_normal((700, 2))
    smooth[300:320, 1] = np.nan
    faces = np.sin(np.arange(5)[:, None, None] + 2 * place[:, None]) * np.cos(place)
    windows = wave(700)
    gru, image = (ae_runtime.load(BUNDLES / name) for name in ("gru", "image"))
    pictures = image.decode(rng.standard_normal((200, 2)))
    words = [None, ["low", "middle", "high"]]
    bound = [0.05, 0.5, 0.01]
    for name, x, options in (
        ("grid_float64", gaps, {"max_error": bound, "names": ["a", "b", "c"], "chunk_rows": 300}),
        ("grid_float32", gaps.astype(np.float32), {"max_error": 0.02}),
        ("grid_int16", (50 * walk).astype(np.int16), {"max_error": 3}),
        ("grid_uint8", rng.integers(0, 255, (90, 2, 2), np.uint8), {"max_error": 4}),
        ("grid_points", coarse, {"max_error": 0.3}),
        ("grid_mean", gaps, {"rmse": bound}),
        ("pca", low_rank, {"max_error": 0.05}),
        ("pca_mean", low_rank.astype(np.float32), {"rmse": 0.05}),
        ("interpolated", smooth, {"max_error": [0.02, 0.05]}),
        ("interpolated_image", (1000 * faces).astype(np.int16), {"max_error": 20}),
        ("interpolated_mean", faces.astype(np.float32), {"rmse": 0.02}),
        ("words", codes, {"max_error": 0.1, "levels": words, "names": ["x", "size"]}),
        ("exact_column", gaps, {"max_error": [0.05, 0.0, 0.01]}),
        ("lossless", np.round(walk, 2), {}),
        ("raw", bits, {}),
        ("empty", walk[:0], {"max_error": 1}),
        ("model", windows, {"max_error": 0.02, "model": gru, "chunk_rows": 240}),
        ("model_inside", windows, {"max_error": 0.02, "model": gru, "include_model": True}),
        ("model_mean", windows, {"rmse": 0.2, "model": gru}),
        ("model_image", pictures, {"max_error": 6, "model": image}),
    ):
        path = folder / f"{name}.aez"
        compress(x, path, **options)
        with Archive(path, options.get("model")) as archive:
            np.save(folder / f"{name}.npy", archive[:])
            print(name, path.stat().st_size, {chunk.mode for chunk in archive.chunks})


def wave(rows: int) -> np.ndarray:
    """(N, 2) float32 as the bundle gru gives it for latents that drift."""
    z = np.cumsum(np.random.default_rng(1).standard_normal((rows // 12 + 1, 3)), axis=0) / 3
    x = ae_runtime.load(BUNDLES / "gru").decode(z)
    found: np.ndarray = x.reshape(-1, 2)[:rows]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
