"""The transformer of scikit-learn: its rules, frames in and out, the run inside."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from ae_runtime.errors import DataError, RecipeError, ScoreUnknown
from ae_train.sklearn import AutoencoderDetector, AutoencoderTransformer
from ae_train.training import train

SMALL: dict[str, Any] = {"arch": {"width": 8, "depth": 1}, "score": {"centres": 16}}


# Validated on the training rows: few others could not tell the network from PCA.
WIDE: dict[str, Any] = {"arch": {"width": 32, "depth": 1}, "data": {"validation": "train"}}


def small(**fields: Any) -> AutoencoderTransformer:
    return AutoencoderTransformer(**{"latent_dim": 2, "epochs": 2, "recipe": SMALL, **fields})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """(200, 6): a number with a gap, whole ones, words twice, booleans, dates; of one number u."""
    u = np.random.default_rng(0).standard_normal(200)
    found = pd.DataFrame(
        {
            "job": np.where(u > 0, "x", "y"),
            "u": u,
            "count": (10 * u).round().astype(int),
            "ok": u > 0.5,
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta((100 * u).round(), unit="h"),
            "size": pd.Categorical(np.where(u > 1, "large", "small")),
        },
        index=np.arange(200) + 1000,
    )
    found.loc[1003, "u"] = np.nan
    return found


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> AutoencoderTransformer:
    return small(epochs=150).set_output(transform="pandas").fit(frame)


def detector(**fields: Any) -> AutoencoderDetector:
    """One that calls some rows of ordinary data outliers, as scikit-learn's checks want of it.

    At 1 % it finds none among their 300 rows, which hold none.
    """
    some: dict[str, Any] = {"latent_dim": 1, "epochs": 1, "width": 8, "depth": 1}
    return AutoencoderDetector(**some | {"false_alarm_rate": 0.05, "recipe": SMALL} | fields)


RULES = [
    pytest.param(make, check, id=f"{make.__name__}-{name}-{at}")
    for make in (small, detector)
    for at, (name, check) in enumerate(
        (check.func.__name__, check) for _, check in estimator_checks_generator(make())
    )
]


@pytest.mark.parametrize(("make", "check"), RULES)
def test_the_rules_of_scikit_learn(make: Callable[[], Any], check: Any) -> None:
    """All of check_estimator. The one of arrays that are not numpy's needs SCIPY_ARRAY_API=1."""
    check(make())


def test_frames_come_back_as_frames(fitted: AutoencoderTransformer, frame: pd.DataFrame) -> None:
    z = fitted.transform(frame)
    assert list(z.columns) == ["autoencodertransformer0", "autoencodertransformer1"]
    assert list(z.index) == list(frame.index)
    back = fitted.inverse_transform(z)
    assert list(back.columns) == list(frame.columns)
    assert list(back.index) == list(frame.index)
    assert (back["job"] == frame["job"]).mean() > 0.95
    assert (back["ok"] == frame["ok"]).mean() > 0.95
    assert back["count"].corr(frame["count"]) > 0.95
    assert back["when"].dtype.kind == "M"
    assert (back["when"] - frame["when"]).abs().mean() < pd.Timedelta("1D")
    array = fitted.inverse_transform(z.to_numpy())
    np.testing.assert_array_equal(array[:, 0], back["job"])
    assert (array.shape, array.dtype) == ((200, 6), np.dtype(object))


def test_strange_rows_score_lower(fitted: AutoencoderTransformer, frame: pd.DataFrame) -> None:
    scores = fitted.score_samples(frame)
    strange = frame.assign(job=frame["job"].to_numpy()[::-1], count=-frame["count"])
    assert scores.max() <= 0
    assert np.median(fitted.score_samples(strange)) < np.quantile(scores, 0.05)


def test_a_pickle_gives_the_same_latents(
    fitted: AutoencoderTransformer, frame: pd.DataFrame
) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(again.transform(frame), fitted.transform(frame))


def test_columns_that_change_are_named(fitted: AutoencoderTransformer, frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing"):
        fitted.transform(frame.drop(columns="job"))
    with pytest.raises(ValueError, match="X has 3 latents, but AutoencoderTransformer gives 2"):
        fitted.inverse_transform(np.zeros((5, 3)))


def test_latents_are_those_of_the_run_and_the_same_in_any_batch() -> None:
    x = np.random.default_rng(0).standard_normal((300, 5)) @ np.diag([1.0, 2, 3, 4, 5])
    fitted = small().fit(x)
    run = train(x, fitted._recipe())
    z = fitted.transform(x)
    assert z.dtype == np.float32
    assert run.model_id == fitted.run_.model_id
    np.testing.assert_array_equal(z, np.concatenate([fitted.transform(row[None]) for row in x]))
    assert fitted.run_.schema.rows == {"train": 270, "validation": 30, "test": 0}


def test_in_a_search_over_sizes() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, 240)
    x = np.eye(4)[classes] @ random.standard_normal((4, 6)) + 0.1 * random.standard_normal((240, 6))
    pipeline = make_pipeline(small(), KNeighborsClassifier())
    grid = {
        "autoencodertransformer__latent_dim": [1, 3],
        "autoencodertransformer__width": [4, 8],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(x, classes)
    assert search.best_score_ > 0.95
    assert list(search.best_estimator_[:-1].get_feature_names_out()) == [
        f"autoencodertransformer{at}"
        for at in range(search.best_params_["autoencodertransformer__latent_dim"])
    ]


def test_in_searches_of_its_own_and_over_numbers_of_numpy() -> None:
    """Without `scoring`, by how well rows come back."""
    random = np.random.default_rng(0)
    x = random.standard_normal((120, 2)) @ random.standard_normal((2, 4))
    recipes = [SMALL, SMALL | {"fit": {"lr": np.float64(1e-4)}}]
    grid = {"latent_dim": np.array([1, 2]), "recipe": recipes}
    search = GridSearchCV(small(), grid, cv=2, error_score="raise")
    search.fit(x)
    assert search.best_params_["latent_dim"] == 2
    assert -1e-3 < search.best_score_ <= 0


def test_the_score_is_minus_the_error_of_rows_as_they_are_scaled() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 4)) * [1, 10, 100, 1]
    model = small().fit(x)
    back = model.inverse_transform(model.transform(x))
    scale = model.run_.model.preprocess.scale.numpy()
    expected = (((back - x) / scale) ** 2).mean()
    assert model.score(x) == pytest.approx(-expected, rel=1e-4)  # latents are rounded to float32
    holes = x.copy()
    holes[::3, 1] = np.nan
    assert np.isfinite(model.score(holes))


def test_the_recipe_is_one() -> None:
    found = clone(small(recipe=SMALL | {"fit": {"batch": 32}}, bottleneck="ordered"))._recipe()
    assert (found.fit.batch, found.fit.epochs, found.bottleneck.name) == (32, 2, "ordered")
    assert (found.data.test, found.arch.width, found.latent_dim, found.seed) == (0.0, 8, 2, 0)
    from_recipe = AutoencoderTransformer(recipe=found, random_state=7)._recipe()
    assert (from_recipe.seed, from_recipe.latent_dim) == (7, 2)
    flat = small(width=4, depth=0, dropout=0.3, lr=0.1, batch=16)._recipe()
    assert (flat.arch.width, flat.arch.depth, flat.arch.dropout) == (4, 0, 0.3)
    assert (flat.fit.lr, flat.fit.batch) == (0.1, 16)
    judged = detector(score_name="error", trim=0.1)._recipe().score
    assert (judged.name, judged.false_alarm_rate, judged.trim) == ("error", 0.05, 0.1)
    assert judged.centres == 16
    assert SMALL == {"arch": {"width": 8, "depth": 1}, "score": {"centres": 16}}


def test_seeds_are_drawn_as_in_scikit_learn() -> None:
    def seed(random_state: Any) -> int:
        return small(random_state=random_state)._recipe().seed

    assert seed(np.random.RandomState(0)) == seed(np.random.RandomState(0))
    assert seed(None) != seed(None)


@pytest.mark.parametrize(
    ("fields", "x", "error", "message"),
    [
        (
            {"recipe": {"arch": {"widht": 8}}},
            np.eye(12),
            RecipeError,
            'recipe: [arch] widht: unknown key. Did you mean "width"?',
        ),
        (
            {"recipe": {"data": {"kind": "image"}}},
            np.eye(12),
            RecipeError,
            "recipe: [data] kind = 'image'; rows of X are a table's",
        ),
        ({}, np.ones((20, 3)), DataError, "all rows are the same; there is nothing to learn from"),
        (
            {},
            np.eye(12)[:9],
            ValueError,
            "Found array with 9 sample(s) (shape=(9, 12)) while a minimum of 10 is required by "
            "AutoencoderTransformer.",
        ),
    ],
)
def test_what_cannot_be_learned(
    fields: dict[str, Any], x: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as found:
        small(**fields).fit(x)
    assert str(found.value) == message


def test_without_scores() -> None:
    fitted = small(recipe=SMALL | {"score": {"name": "none"}}).fit(np.eye(12))
    with pytest.raises(ScoreUnknown, match=r"the recipe has no scores"):
        fitted.score_samples(np.eye(12))


def test_a_detector_in_a_search_and_in_a_pickle() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((150, 2)) @ random.standard_normal((2, 4))
    odd = 3 * random.standard_normal((20, 4))
    rows, labels = np.concatenate([x, odd]), np.repeat([1, -1], [150, 20])
    grid = {"latent_dim": [1, 2], "score_name": ["error"]}
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(detector(trim=0.2), grid, cv=folds, scoring="roc_auc")
    found = search.fit(rows, labels)
    assert found.best_score_ > 0.95
    best = found.best_estimator_
    assert (best.predict(odd) == -1).mean() > 0.7
    assert (best.predict(x) == 1).mean() > 0.85
    again, anew = pickle.loads(pickle.dumps(best)), clone(best).fit(rows)
    for other in (again, anew):
        np.testing.assert_array_equal(other.score_samples(rows), best.score_samples(rows))
        assert other.offset_ == best.offset_


def test_a_detector_needs_a_score() -> None:
    with pytest.raises(RecipeError) as found:
        detector(score_name="none").fit(np.eye(12))
    assert str(found.value) == 'recipe: [score] name = "none"; a detector needs one'
    with pytest.raises(NotFittedError):
        detector().predict(np.eye(12))


def test_warm_start_goes_on(frame: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    x = np.sin(random.uniform(0, 6, (200, 1)) * [1, 2, 3])
    warm = small(latent_dim=1, warm_start=True, recipe=WIDE, lr=0.01, batch=32, epochs=40)
    first = warm.fit(x).score(x)
    cold = clone(warm).set_params(warm_start=False)
    assert warm.fit(x).score(x) > first
    assert cold.fit(x).score(x) == cold.fit(x).score(x) == first
    with pytest.raises(ValueError, match="X has 2 features, but AutoencoderTransformer is expect"):
        warm.fit(x[:, :2])
    with pytest.raises(RecipeError) as found:
        warm.set_params(width=9).fit(x)
    assert str(found.value) == (
        "the run to go on from has another arch.width; leave them as they were, or train anew, "
        "with warm_start=False"
    )
    sized = small(latent_dim="auto", warm_start=True).fit(frame)
    assert sized.fit(frame[::-1]).run_.recipe.latent_dim == len(sized.transform(frame).T)


def test_polars_frames_come_back_as_such() -> None:
    polars = pytest.importorskip("polars")
    u = np.random.default_rng(0).standard_normal(60)
    frame = polars.DataFrame({"u": u, "job": np.where(u > 0, "x", "y").tolist(), "ok": u > 1})
    fitted = small(latent_dim=1).set_output(transform="polars").fit(frame)
    z = fitted.transform(frame)
    assert z.columns == ["autoencodertransformer0"]
    back = fitted.inverse_transform(z)
    assert back.schema == frame.schema
    assert (back["job"] == frame["job"]).mean() > 0.9
