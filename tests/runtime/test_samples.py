"""New rows: the same for a seed, valid ones, and written to any file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ae_runtime import Autoencoder, load
from ae_runtime.cli import ae_run
from ae_runtime.commands.sample import grid
from ae_runtime.errors import DataError, ShapeMismatch

NONE = "the bundle draws no samples; train with this version of ae-toolkit and export again"
SCORED = ("scored", "scored_mixed", "scored_series", "scored_image")


@pytest.fixture(params=SCORED)
def ae(request: pytest.FixtureRequest, table_bundle: Path, sampling: None) -> Autoencoder:
    return load(table_bundle.parent / request.param)


@pytest.fixture
def table(table_bundle: Path, sampling: None) -> Autoencoder:
    return load(table_bundle.parent / "scored")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def arrays(found: Any) -> dict[str, np.ndarray]:
    return found if isinstance(found, dict) else {"x": found}


def run(*words: Any) -> Result:
    return CliRunner().invoke(ae_run, [str(word) for word in words])


def test_a_seed_gives_the_same_rows(ae: Autoencoder) -> None:
    first, again, other = (arrays(ae.sample(300, seed=seed)) for seed in (5, 5, 6))
    part = arrays(ae.sample(10, seed=5))
    for name, column in first.items():
        np.testing.assert_array_equal(column, again[name])
        np.testing.assert_array_equal(column[:10], part[name])
        assert len(column) == 300
    assert any((column != other[name]).any() for name, column in first.items())
    unseeded = [arrays(ae.sample(50)) for _ in range(2)]
    assert any((unseeded[0][name] != unseeded[1][name]).any() for name in first)
    assert all(len(column) == 0 for column in arrays(ae.sample(0)).values())


def test_samples_are_like_the_rows(ae: Autoencoder) -> None:
    rows, threshold = ae.sample(500, seed=0), ae.manifest.threshold
    assert threshold is not None
    assert np.median(ae.score(rows)) < threshold.value


def test_a_table_has_valid_rows(table: Autoencoder) -> None:
    rows = table.sample(5000, seed=1)
    assert rows.dtype == np.float64
    for column, values in zip(table.manifest.columns or [], rows.T, strict=True):
        if column.min is None:
            continue  # never had a value
        assert column.min <= values.min()
        assert values.max() <= column.max
        if column.integer:
            np.testing.assert_array_equal(values, np.rint(values))
    assert np.std(rows[:, 0]) > 0.5  # and they are not one row


def test_a_mixed_table_has_words_of_its_columns(table_bundle: Path, sampling: None) -> None:
    rows = load(table_bundle.parent / "scored_mixed").sample(2000, seed=1)
    assert set(rows["job"]) <= {"admin", "tech", "other"}
    assert set(rows["open"]) <= {"no", "yes"}
    assert len(set(rows["job"])) > 1


def test_between_two_rows(ae: Autoencoder) -> None:
    rows = arrays(ae.sample(2, seed=3))
    if ae.manifest.is_mixed:
        ends: list[Any] = [{name: column[[at]] for name, column in rows.items()} for at in (0, 1)]
        back = ae.reconstruct(rows)
    else:
        ends, back = [rows["x"][0], rows["x"][1]], {"x": ae.reconstruct(rows["x"])}
    way = arrays(ae.interpolate(*ends, steps=7))
    z = ae.encode(rows if ae.manifest.is_mixed else rows["x"])
    middle = arrays(ae.decode((z[:1] + z[1:]) / 2))
    for name, column in way.items():
        assert len(column) == 7
        np.testing.assert_array_equal(column[[0, -1]], back[name])
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column[3], middle[name][0], rtol=1e-4, atol=1e-5)


def test_what_lies_between_levels_goes_to_the_nearest(table: Autoencoder) -> None:
    from msgspec.structs import replace

    from ae_runtime.model.sampling import between

    latent = replace(table.manifest.latent, levels=[4, 4])
    ends = np.array([[-0.75, 0.75], [0.75, 0.25]], np.float32)  # of -0.75, -0.25, 0.25, 0.75
    z = between(replace(table.manifest, latent=latent), list(ends), 4)
    np.testing.assert_allclose(z[:, 0], [-0.75, -0.25, 0.25, 0.75])
    assert set(z[:, 1].tolist()) <= {0.75, 0.25}


def test_what_cannot_be_drawn(table: Autoencoder, table_bundle: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(table_bundle).sample(1)
    assert str(caught.value) == NONE
    row = np.zeros(6)
    with pytest.raises(ValueError, match=r"^n is -1; it must be at least 0$"):
        table.sample(-1)
    with pytest.raises(ValueError, match=r"^steps is 1; it must be at least 2, the two ends$"):
        table.interpolate(row, row, 1)
    with pytest.raises(ShapeMismatch):
        table.interpolate(np.zeros(5), row, 3)


@pytest.mark.parametrize("suffix", ["npy", "csv", "npz"])
def test_the_command_writes_what_python_draws(table: Autoencoder, suffix: str) -> None:
    out = f"new.{suffix}"
    done = run("sample", table.bundle.location, "--rows", 40, "--seed", 3, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"out": out, "rows": 40}
    if suffix == "csv":
        found = np.genfromtxt(out, delimiter=",", skip_header=1)
    elif suffix == "npy":
        found = np.load(out)
    else:
        with np.load(out) as stored:
            found = stored["x_hat"]
    np.testing.assert_array_equal(found, table.sample(40, seed=3))
    again = run("sample", table.bundle.location, "--out", out)
    assert again.exit_code != 0
    done = run("sample", table.bundle.location, "--rows", 2, "--out", out, "--overwrite")
    assert (done.exit_code, done.stdout) == (0, f"2 rows -> {out}\n")


def test_a_mixed_table_goes_to_csv(table_bundle: Path, sampling: None) -> None:
    bundle = table_bundle.parent / "scored_mixed"
    assert run("sample", bundle, "--rows", 20, "--out", "new.csv").exit_code == 0
    assert Path("new.csv").read_text().splitlines()[0] == "far,count,job,open"


def test_a_picture_of_images(table_bundle: Path, sampling: None) -> None:
    pil = pytest.importorskip("PIL.Image", reason="the runtime's own environment has no Pillow")
    bundle = table_bundle.parent / "scored_image"
    done = run("sample", bundle, "--rows", 7, "--seed", 0, "--out", "new.png")
    assert (done.exit_code, done.stdout) == (0, "7 rows -> new.png\n")
    with pil.open("new.png") as picture:
        found = np.asarray(picture)
    images = load(bundle).sample(7, seed=0)
    assert found.shape == (3 * 4, 3 * 5, 3)
    bright = np.rint(images.astype(float) * (255 / images.max()))
    np.testing.assert_array_equal(found[4:8, 0:5], bright[3])
    np.testing.assert_array_equal(found[8:, 5:], 0)


def test_a_picture_is_of_images(table: Autoencoder) -> None:
    done = run("sample", table.bundle.location, "--out", "new.png")
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == ("new.png: a picture is of images, this bundle is of kind table")
    assert not Path("new.png").exists()


def test_grids() -> None:
    images = np.arange(5 * 6).reshape(5, 2, 3).astype(np.uint8)
    page = grid(images)
    assert page.shape == (2 * 2, 3 * 3)
    assert page.max() == 255
    assert grid(images[:1, ..., None]).shape == (2, 3)
