"""Archives of format 1.0 as they were first written: they give the same rows for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_archive import Archive
from ae_archive.header import DICTIONARY

FOLDER = Path(__file__).parent.parent / "golden" / "archives"
NAMES = sorted(path.stem for path in FOLDER.glob("*.aez"))
REFER = {"model": "gru", "model_mean": "gru", "model_image": "image"}  # to bundles of v1


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_that_were_written(name: str) -> None:
    if name == "lossless":
        pytest.importorskip("pcodec", reason="environment has no pcodec")
    model = REFER.get(name)
    given = None if model is None else ae_runtime.load(FOLDER.parent / "v1" / model)
    expected = np.load(FOLDER / f"{name}.npy")
    with Archive(FOLDER / f"{name}.aez", given) as archive:
        assert not archive.notes
        found = archive[:]
        used = {chunk.mode for chunk in archive.chunks}
        allowed = 0.0 if archive.decoder_error is None else archive.decoder_error
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if not name.startswith("model"):
        bits = f"u{found.itemsize}"
        np.testing.assert_array_equal(found.view(bits), expected.view(bits))
        return
    assert used == {"model"}
    assert (np.abs(found.astype(float) - expected.astype(float)) <= allowed).all()


def test_each_way_of_storing_is_there() -> None:
    modes = set()
    for name in NAMES:
        with Archive(FOLDER / f"{name}.aez") as archive:
            modes |= {chunk.mode for chunk in archive.chunks}
    assert modes == {"raw", "lossless", "grid", "pca", "interpolation", "model"}
    assert len(NAMES) == 20


def test_the_page_of_the_format_has_the_dictionary_of_headers() -> None:
    page = (FOLDER.parents[2] / "docs" / "archive-format.md").read_text(encoding="utf-8")
    block = page.partition("```text\n")[2].partition("\n```")[0]
    assert block.replace("\n", "").encode() == DICTIONARY
