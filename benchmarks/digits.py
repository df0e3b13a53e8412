"""Test error on digits as a ratio to PCA's: default settings, one random 80/20 split a seed."""

from __future__ import annotations

import time

from ae_train import train
from ae_train.data.loading import load_digits
from ae_train.recipe import make_recipe

LATENT_DIMS, SEEDS = (8, 16, 32), (0, 1, 2)


def main() -> None:
    x = load_digits()
    print("digits, 20 % of the rows held out, MSE in scaled space, PCA fitted on the same rows")
    print("latent  seed  model test MSE  PCA test MSE  ratio  seconds")
    for latent_dim in LATENT_DIMS:
        for seed in SEEDS:
            fields = {"latent_dim": latent_dim, "seed": seed, "data": {"test": 0.2}}
            start = time.perf_counter()
            quality = train(x, make_recipe(fields)).schema.quality
            print(
                f"{latent_dim:6}  {seed:4}  {quality.test_mse:14.5f}  {quality.test_pca_mse:12.5f}"
                f"  {quality.test_mse / quality.test_pca_mse:5.3f}"
                f"  {time.perf_counter() - start:7.1f}"
            )


if __name__ == "__main__":
    main()
