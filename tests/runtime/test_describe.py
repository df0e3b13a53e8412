"""A bundle in words: the headline for every kind of rows, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ae_runtime.bundle.describe import describe, gain_over_pca, headline
from ae_runtime.bundle.manifest import Column, Gain, Golden, Latent, Manifest, Port, Quality, Series

QUALITY = Quality(0.011, 0.024, 0.074, range_error=0.0213, pca_range_error=0.1)


def manifest(**fields: Any) -> Manifest:
    known: dict[str, Any] = {
        "format": "1.0",
        "model_id": "0" * 64,
        "kind": "image",
        "latent": Latent(16),
        "inputs": [Port("x", "uint8", [None, 28, 28])],
        "outputs": [Port("x_hat", "uint8", [None, 28, 28])],
        "columns": None,
        "quality": QUALITY,
        "golden": Golden(32, 1e-5),
        "files": {},
    }
    return Manifest(**{**known, **fields})


def mixed(numbers: int, words: int, quality: Quality = QUALITY) -> Manifest:
    inputs = [Port("x_num", "float64", [None, numbers]), Port("x_cat", "int32", [None, words])]
    return manifest(kind="table", inputs=inputs, quality=quality)


WORDS = replace(QUALITY, accuracy=0.97461, pca_accuracy=0.6)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (manifest(), "784 numbers -> 16; mean error 2.1 % of range, PCA 10 %"),
        (
            mixed(5, 8, WORDS),
            "5 numbers and 8 words -> 16; mean error 2.1 % of range, PCA 10 %, words right 97.5 %, "
            "PCA 60 %",
        ),
        (mixed(1, 1), "1 number and 1 word -> 16; mean error 2.1 % of range, PCA 10 %"),
        (
            mixed(0, 3, replace(WORDS, range_error=None, pca_range_error=None)),
            "3 words -> 16; words right 97.5 %, PCA 60 %",
        ),
        (
            manifest(quality=Quality(0.011, 0.024, 0.074)),  # of an older version
            "784 numbers -> 16; validation MSE 0.011, PCA 0.024, mean 0.074 (in scaled space)",
        ),
        (
            manifest(quality=None),
            "784 numbers -> 16; errors on held-out rows are not known: its modules came without",
        ),
    ],
)
def test_the_headline(found: Manifest, words: str) -> None:
    assert headline(found) == words
    assert describe(found)[0] == words


@pytest.mark.parametrize(
    ("gain", "is_pca", "words"),
    [
        (None, False, ""),
        (None, True, "the saved model is PCA: training found nothing better on validation rows"),
        (
            Gain(-0.1, 0.2, 6, 6),
            True,
            "the saved model is PCA: training found nothing better on validation rows",
        ),
        (
            Gain(0.04, 0.071, 6, 6),
            True,
            "gain over PCA 4 % on 6 validation rows, not beyond the 7.1 % that chance reaches: the "
            "saved model is PCA",
        ),
        (
            Gain(0.57, 0.03, 1800, 32),
            False,
            "gain over PCA 57 % on 1,800 validation rows in 32 blocks, beyond the 3 % that chance "
            "reaches",
        ),
        (
            Gain(0.3, 0.12, 51, 32, folds=5),
            False,
            "gain over PCA 30 % on 51 rows held out in turn in 32 blocks, beyond the 12 % that "
            "chance reaches",
        ),
        (
            Gain(0.3, None, 1, 1),
            True,
            "gain over PCA 30 % on 1 validation row, too few to tell it from chance: the saved "
            "model is PCA",
        ),
    ],
)
def test_what_was_found_beside_pca(gain: Gain | None, is_pca: bool, words: str) -> None:
    assert gain_over_pca(replace(QUALITY, gain=gain, is_pca=is_pca)) == words


def test_all_lines() -> None:
    test = replace(QUALITY, test_mse=0.5, test_pca_mse=0.625, test_mean_mse=1.0, is_pca=True)
    found = manifest(
        kind="series",
        inputs=[Port("x", "float32", [None, 64, 2])],
        latent=Latent(4, "quantized", [8] * 4),
        quality=test,
        series=Series(["flow", "heat"], 32),
        precision="int8",
    )
    assert describe(found) == [
        "128 numbers -> 4; mean error 2.1 % of range, PCA 10 %",
        "the saved model is PCA: training found nothing better on validation rows",
        "errors      test MSE 0.5, PCA 0.625, mean 1 (in scaled space)",
        "kind        series, 64x2 float32",
        "latents     4 float32, bottleneck quantized, 8 levels",
        "precision   int8",
        f"model_id    {'0' * 64}",
        "format      1.0",
        "channels    flow, heat",
    ]
    timed = replace(found, series=Series(["flow"], time="when", step=60.0))
    assert describe(timed)[-1] == "time        when, 60 from row to row"
    varying = replace(found, series=Series(["flow"], time="when"))
    assert describe(varying)[-1] == "time        when, steps of time vary"


def test_columns_are_listed() -> None:
    columns = [Column("age"), Column("job", type="category", levels=["a"])]
    assert describe(replace(mixed(1, 1), columns=columns))[-1] == "columns     age, job"
