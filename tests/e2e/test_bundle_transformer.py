"""Bundles as transformers and detectors of scikit-learn."""

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
from ae_export import export
from ae_runtime.errors import (
    BundleNotFound,
    DataError,
    DataWarning,
    MissingExtra,
    ScoreUnknown,
    ShapeMismatch,
)
from ae_runtime.sklearn import BundleDetector, BundleTransformer
from ae_train import AutoencoderDetector


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


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"false_alarm_rate": 0.2},
        {"score_name": "error", "false_alarm_rate": 0.2},
        {"threshold": 0.7},
    ],
    ids=str,
)
def test_a_detector_says_what_is_anomaly_says(mixed: Path, asked: dict[str, Any]) -> None:
    ae = ae_runtime.load(mixed)
    rows = pd.DataFrame(ae.sample(60, seed=0))
    rows.loc[:9, ae.manifest.columns[0].name] *= 50
    detector = BundleDetector(mixed, **asked)
    names = {"name" if key == "score_name" else key: value for key, value in asked.items()}
    expected = ae.is_anomaly(rows, **names)
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(detector.predict(rows), np.where(expected, -1, 1))
    np.testing.assert_array_equal(detector.fit_predict(rows), detector.predict(rows))
    np.testing.assert_array_equal(
        detector.decision_function(rows), detector.score_samples(rows) - detector.offset_
    )
    again = pickle.loads(pickle.dumps(clone(detector).fit(rows)))
    np.testing.assert_array_equal(again.predict(rows), detector.predict(rows))


def test_errors_of_detectors(mixed: Path) -> None:
    rows = pd.DataFrame(ae_runtime.load(mixed).sample(3, seed=0))
    with pytest.raises(ScoreUnknown, match=r"^the bundle has no score 'far'; it has nearest, "):
        BundleDetector(mixed, score_name="far").fit(rows)
    with pytest.raises(ValueError, match="say the same; give one of them"):
        BundleDetector(mixed, threshold=1.0, false_alarm_rate=0.1).predict(rows)


def test_a_detector_that_trained_finds_what_its_bundle_finds(tmp_path: Path) -> None:
    u = np.random.default_rng(0).standard_normal(120)
    rows = pd.DataFrame({"u": u, "v": 2 * u, "job": np.where(u > 0, "x", "y")})
    trained = AutoencoderDetector(1, width=8, depth=1, epochs=1, false_alarm_rate=0.05).fit(rows)
    export(trained.run_, tmp_path / "bundle")
    more = pd.concat([rows, rows.assign(v=-rows["v"])])
    found = trained.predict(more)
    assert 60 < (found == -1).sum() < 180
    ae = ae_runtime.load(tmp_path / "bundle")
    np.testing.assert_array_equal(found == -1, ae.is_anomaly(more))
    np.testing.assert_array_equal(found, BundleDetector(ae).predict(more))
    assert BundleDetector(ae).offset_ == trained.offset_
