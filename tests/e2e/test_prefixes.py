"""Ordered latents cut short: the same numbers by every way, errors as they were said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ae_export import export
from ae_runtime import Autoencoder, load
from ae_runtime.cli import ae_run
from ae_runtime.errors import DataError, OutputExists, ShapeMismatch
from ae_runtime.files.jobs.pipe import process_to_pipe
from ae_runtime.files.jobs.task import Encode
from ae_runtime.shards import encode_shard
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

K = 5
NOT_ORDERED = (
    "keep = 2 cuts latents, and those of this bundle are not ordered (bottleneck plain): the first "
    "ones are no code; train with --bottleneck ordered"
)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """(400, 8) float64: numbers of falling size mixed into eight columns of other scales."""
    random = np.random.default_rng(0)
    found = random.standard_normal((400, 8)) * 0.7 ** np.arange(8) @ random.standard_normal((8, 8))
    return found * np.arange(1, 9) + 10


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture(scope="module")
def run(x: np.ndarray, run_folder: Path) -> Run:
    fields = {
        "latent_dim": K,
        "bottleneck": {"name": "ordered"},
        "arch": {"width": 16, "depth": 1},
        "fit": {"epochs": 30},
        "score": {"name": "none"},
    }
    return train(x, make_recipe(fields), out=run_folder)


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("bundle") / "bundle").location


@pytest.fixture(scope="module")
def ae(folder: Path) -> Autoencoder:
    return load(folder)


def ae_run_of(*words: Any) -> str:
    """What a command that must succeed writes."""
    done = CliRunner().invoke(ae_run, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("keep", range(1, K + 1))
def test_a_prefix_is_a_code(ae: Autoencoder, x: np.ndarray, keep: int) -> None:
    z = ae.encode(x, keep=keep)
    assert z.flags.c_contiguous
    np.testing.assert_array_equal(z, ae.encode(x)[:, :keep])
    (first,) = ae.encode_iter([x[:7]], keep=keep)
    np.testing.assert_array_equal(first, z[:7])
    zeros = np.zeros((len(x), K - keep), np.float32)
    np.testing.assert_array_equal(ae.decode(z), ae.decode(np.concatenate([z, zeros], axis=1)))
    np.testing.assert_array_equal(ae.decode(z), ae.reconstruct(x, keep=keep))
    assert ae.decode(z[:0]).shape == (0, 8)


def test_the_curve_is_what_the_bundle_does(run: Run, ae: Autoencoder, x: np.ndarray) -> None:
    curve = ae.manifest.latent.curve
    assert curve is not None
    assert [point.keep for point in curve] == list(range(1, K + 1))
    test, known = x[run.split.test], x[run.split.train]
    scale, mean = known.std(0), known.mean(0)
    axes = np.linalg.svd((known - mean) / scale, full_matrices=False)[2]
    for point in curve:
        error = (ae.reconstruct(test, keep=point.keep) - test) / scale
        assert point.mse == pytest.approx((error**2).mean(), rel=1e-4)
        s = (test - mean) / scale
        off = s - s @ axes[: point.keep].T @ axes[: point.keep]
        assert point.pca_mse == pytest.approx((off**2).mean(), rel=1e-3)
    assert ae.manifest.quality is not None
    assert curve[-1].mse == pytest.approx(ae.manifest.quality.test_mse)
    errors = [point.mse for point in curve]
    assert errors == sorted(errors, reverse=True)


def test_report_and_info_show_the_curve(folder: Path, run_folder: Path) -> None:
    assert "Keeping the first latents alone" in (run_folder / "report.html").read_text()
    assert "prefixes    MSE of the first latents alone 1: " in ae_run_of("info", folder)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_files_of_prefixes(folder: Path, x: np.ndarray, tmp_path: Path, suffix: str) -> None:
    rows, z, back = tmp_path / "x.npy", tmp_path / f"z{suffix}", tmp_path / "x_hat.npy"
    np.save(rows, x)
    ae_run_of("encode", folder, rows, "--out", z, "--keep", 3)
    ae_run_of("reconstruct", folder, rows, "--out", tmp_path / "r.npy", "--keep", 3)
    ae_run_of("decode", folder, z, "--out", back)  # its stamp says how many there are
    np.testing.assert_array_equal(np.load(back), np.load(tmp_path / "r.npy"))
    ae_run_of("decode", folder, z, "--out", back, "--keep", 2, "--overwrite")
    np.testing.assert_array_equal(np.load(back), load(folder).reconstruct(x, keep=2))


def test_pipes_and_shards_of_prefixes(ae: Autoencoder, x: np.ndarray, tmp_path: Path) -> None:
    rows, shard, out = tmp_path / "x.npy", tmp_path / "z.npy", io.BytesIO()
    np.save(rows, x)
    process_to_pipe(Encode(ae.model, keep=2), rows, out, "npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(out.getvalue())), ae.encode(x, keep=2))
    assert not encode_shard(ae, rows, shard, keep=2).was_done
    assert encode_shard(ae, rows, shard, keep=2).was_done
    np.testing.assert_array_equal(np.load(shard), ae.encode(x, keep=2))
    with pytest.raises(OutputExists):  # another job
        encode_shard(ae, rows, shard, keep=3)


def test_latents_without_a_stamp(folder: Path, x: np.ndarray, tmp_path: Path) -> None:
    z = load(folder).encode(x, keep=2)
    np.save(tmp_path / "z.npy", z)
    words = "decode", folder, tmp_path / "z.npy", "--out", tmp_path / "x_hat.npy"
    with pytest.raises(ShapeMismatch, match=r"z has shape \(400, 2\), the bundle wants \(B, 5\)"):
        load(folder).decode_file(words[2], words[4])
    ae_run_of(*words, "--keep", 2)
    np.testing.assert_array_equal(np.load(tmp_path / "x_hat.npy"), load(folder).decode(z))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("encode", "x.npy", "--keep", "6"), "keep is 6, the bundle has 5 latents; keep 1 to all"),
        (("decode", "z.npy", "--keep", "4"), "z.npy holds the first 3 latents, and keep is 4"),
    ],
)
def test_what_cannot_be_kept(
    folder: Path,
    x: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    ae_run_of("encode", folder, "x.npy", "--out", "z.npy", "--keep", 3)
    done = CliRunner().invoke(ae_run, [words[0], str(folder), *words[1:], "--out", "out.npy"])
    assert isinstance(done.exception, DataError)
    assert (str(done.exception), done.exception.exit_code) == (message, 2)
    assert not Path("out.npy").exists()


def test_errors(ae: Autoencoder, table_bundle: Path, x: np.ndarray, tmp_path: Path) -> None:
    for keep in (0, -1, K + 1):
        with pytest.raises(DataError, match=f"keep is {keep}, the bundle has 5 latents"):
            ae.encode(x, keep=keep)
    with pytest.raises(ShapeMismatch, match=r"z has shape \(400, 6\), the bundle wants \(B, 5\)"):
        ae.decode(np.zeros((400, 6)))
    with pytest.raises(ShapeMismatch, match=r"z has shape \(400, 0\)"):
        ae.decode(np.zeros((400, 0)))
    with pytest.raises(DataError, match="z is a masked array"):
        ae.decode(np.ma.masked_less(np.zeros((3, 2)), 1))
    with pytest.raises(DataError, match="z is not one array"):
        ae.decode([[1.0], [1.0, 2.0]])
    plain = load(table_bundle)
    rows = np.zeros((3, *plain.input_shape))
    with pytest.raises(DataError) as error:
        plain.encode(rows, keep=2)
    assert str(error.value) == NOT_ORDERED
    with pytest.raises(ShapeMismatch):
        plain.decode(np.zeros((3, plain.latent_dim - 1)))
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'keep'"):  # of whole codes
        load(table_bundle.parent / "scored").score_file(  # type: ignore[call-arg]
            tmp_path / "x.npy", tmp_path / "s.npy", keep=2
        )
