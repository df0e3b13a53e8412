"""Bundles as steps of scikit-learn's pipelines."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import ae_runtime
from ae_runtime.errors import BundleNotFound, DataError, DataWarning, MissingExtra, ShapeMismatch
from ae_runtime.sklearn import BundleTransformer


@pytest.fixture
def mixed(table_bundle: Path) -> Path:
    return table_bundle.parent / "scored_mixed"


@pytest.fixture
def frame(mixed: Path) -> pd.DataFrame:
    """Rows that the bundle of a mixed table takes, with a column that it does not know."""
    rows = ae_runtime.load(mixed).sample(40, seed=0)
    return pd.DataFrame(rows | {"other": range(40)}, index=np.arange(40) + 7)


def test_digits_in_a_pipeline(digits_bundle: Path) -> None:
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.uint8)  # (1797, 64): flat, as scikit-learn has them
    pipeline = make_pipeline(BundleTransformer(digits_bundle), LogisticRegression(max_iter=5000))
    assert pipeline.fit(x[:1000], y[:1000]).score(x[1000:], y[1000:]) > 0.85
    ae = ae_runtime.load(digits_bundle)
    step = pipeline[0]
    np.testing.assert_array_equal(step.transform(x), ae.encode(x.reshape(-1, 8, 8)))
    np.testing.assert_array_equal(step.transform(x.reshape(-1, 8, 8)), step.transform(x))
    back = step.inverse_transform(step.transform(x[:50]))
    np.testing.assert_array_equal(back, ae.reconstruct(x[:50].reshape(-1, 8, 8)).reshape(50, 64))


def test_clones_and_pickles(digits_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(digits_bundle, copy)
    x = load_digits().data[:100].astype(np.uint8)
    used = BundleTransformer(copy, threads=1).set_output(transform="pandas").fit(x)
    z = used.transform(x)
    assert list(z.columns) == [f"bundletransformer{at}" for at in range(8)]
    again = clone(used)
    assert again.get_params() == {"bundle": copy, "keep": None, "device": "auto", "threads": 1}
    stored = pickle.dumps(used)
    shutil.rmtree(copy)
    pd.testing.assert_frame_equal(pickle.loads(stored).transform(x), z)  # the bundle is in it
    with pytest.raises(BundleNotFound):
        again.fit(x)


@pytest.mark.parametrize("form", ["path", "bytes", "Autoencoder"])
def test_what_names_a_bundle(table_bundle: Path, form: str, tmp_path: Path) -> None:
    path = table_bundle.parent / "scored"
    given: Any = path
    if form == "Autoencoder":
        given = ae_runtime.load(path)
    if form == "bytes":
        given = Path(shutil.make_archive(str(tmp_path / "bundle"), "zip", path)).read_bytes()
    x = ae_runtime.load(path).sample(20, seed=0)
    found = clone(BundleTransformer(given)).transform(x)  # nothing to fit
    np.testing.assert_array_equal(found, ae_runtime.load(path).encode(x))


def test_frames_of_words(mixed: Path, frame: pd.DataFrame) -> None:
    step = BundleTransformer(mixed).set_output(transform="pandas")
    with pytest.warns(DataWarning, match="^columns not in the model are left out: other$"):
        z = step.fit_transform(frame[frame.columns[::-1]])
    ae = ae_runtime.load(mixed)
    columns = {n: frame[n].to_numpy() for n in frame if n != "other"}
    np.testing.assert_array_equal(z, ae.encode(columns))
    back = step.inverse_transform(z)
    assert list(back.index) == list(frame.index)
    assert list(back.columns) == [name for name in frame.columns if name != "other"]
    np.testing.assert_array_equal(step.score_samples(frame), -ae.score(columns))


def test_columns_are_taken_by_name(table_bundle: Path) -> None:
    path = table_bundle
    ae = ae_runtime.load(path)
    names = ae.manifest.column_names
    assert names is not None
    x = np.random.default_rng(0).standard_normal((5, len(names)))
    frame = pd.DataFrame(x, columns=names).assign(more=1.0)
    step = BundleTransformer(path)
    with pytest.warns(DataWarning, match="^columns not in the model are left out: more$"):
        z = step.transform(frame[["more", *names[::-1]]])
    np.testing.assert_array_equal(z, ae.encode(x))
    named = step.inverse_transform(step.set_output(transform="pandas").transform(frame))
    np.testing.assert_array_equal(named[names].to_numpy(), ae.reconstruct(x))
    with pytest.raises(DataError) as error:
        step.fit(frame.drop(columns=names[:2]))
    assert str(error.value) == f"2 columns are missing: {names[0]}, {names[1]}"


def test_set_params_opens_another_bundle(table_bundle: Path, digits_bundle: Path) -> None:
    step = BundleTransformer(table_bundle)
    step.fit(np.zeros((2, *ae_runtime.load(table_bundle).input_shape)))
    step.set_params(bundle=digits_bundle)
    assert step.transform(np.zeros((2, 64), np.uint8)).shape == (2, 8)


def test_errors(digits_bundle: Path) -> None:
    step = BundleTransformer(digits_bundle)
    with pytest.raises(ShapeMismatch, match=r"x has shape \(3, 63\), the bundle wants \(B, 8, 8\)"):
        step.fit(np.zeros((3, 63), np.uint8))
    with pytest.raises(ShapeMismatch, match=r"z has shape \(3, 7\), the bundle wants \(B, 8\)"):
        step.inverse_transform(np.zeros((3, 7)))
    with pytest.raises(DataError, match="keep = 2 cuts latents"):
        BundleTransformer(digits_bundle, keep=2).fit(np.zeros((3, 64), np.uint8))


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ae_runtime.sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(MissingExtra, match=r'pip install "ae-toolkit\[sklearn\]"'):
        import ae_runtime.sklearn  # noqa: F401
