"""Scores of arrays: the same bits however rows come, and what is strange is named."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ae_runtime import Autoencoder, load
from ae_runtime.bundle.manifest import Score
from ae_runtime.errors import AeError, BundleCorrupt, ScoreUnknown, ShapeMismatch
from ae_runtime.model import scoring, tails
from ae_runtime.model.scoring import score_arrays

Rewrite = Callable[..., Path]
SCORED = ("scored", "scored_mixed", "scored_series", "scored_image")
NAMES = ("nearest", "error", "whitened", "latent", "combined")
NONE = (
    "the bundle has no scores; train with this version of ae-toolkit and a [score] name other "
    'than "none", and export again'
)


@pytest.fixture(params=SCORED)
def bundle(request: pytest.FixtureRequest, table_bundle: Path) -> Path:
    return table_bundle.parent / request.param


@pytest.fixture
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle.parent / "scored")


@pytest.fixture
def mixed(table_bundle: Path) -> Autoencoder:
    return load(table_bundle.parent / "scored_mixed")


def arrays(ae: Autoencoder, rows: int) -> tuple[NDArray[Any], ...]:
    """Rows like and unlike the golden ones, as the encoder takes them."""
    with np.load(Path(ae.bundle.location) / "golden.npz") as stored:
        golden = [stored[port.name] for port in ae.manifest.inputs]
        spread = stored[f"{ae.manifest.outputs[0].name}_deviation"]
    random = np.random.default_rng(0)
    drawn = [part[random.integers(0, len(part), rows)] for part in golden]
    if drawn[0].dtype.kind == "f":
        drawn[0] = drawn[0] + random.standard_normal(drawn[0].shape) * spread
        drawn[0] = drawn[0].astype(golden[0].dtype)
        drawn[0][random.random(drawn[0].shape) < 0.05] = np.nan
    return tuple(drawn)


def test_the_same_bits_for_any_batch_tile_and_threads(bundle: Path) -> None:
    ae = load(bundle)
    rows = arrays(ae, 301)
    whole = score_arrays(ae.model, *rows)
    for other in (load(bundle, threads=1, tile=7), load(bundle, threads=4, tile=64)):
        found = score_arrays(other.model, *rows)
        for ours, theirs in zip(whole[:3], found[:3], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    singles = [score_arrays(ae.model, *(part[at : at + 1] for part in rows)) for at in range(301)]
    for at in range(3):
        np.testing.assert_array_equal(whole[at], np.concatenate([one[at] for one in singles]))


def test_bare_onnxruntime_gives_the_same(bundle: Path) -> None:
    ae = load(bundle)
    rows = arrays(ae, 60)
    found = score_arrays(ae.model, *rows)
    feeds: dict[str, Any] = {}
    for name, inputs in (("encoder", ae.manifest.inputs), ("decoder", [ae.manifest.latent.port])):
        feeds |= dict(zip([port.name for port in ae.manifest.inputs], rows, strict=True))
        session = onnxruntime.InferenceSession(bundle / f"{name}.onnx")
        fetches = [out.name for out in session.get_outputs()]
        given = {port.name: feeds[port.name] for port in inputs}
        feeds |= dict(zip(fetches, session.run(fetches, given), strict=True))
    session = onnxruntime.InferenceSession(bundle / "scorer.onnx")
    names = [given.name for given in session.get_inputs()]
    assert names == [port.name for port in ae.manifest.scorer_feeds]
    bare = session.run(["score", "parts", "scores"], {name: feeds[name] for name in names})
    for ours, theirs in zip(found[:3], bare, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_named_scores(ae: Autoencoder) -> None:
    rows = arrays(ae, 5000)  # more than are scored at once
    scores = score_arrays(ae.model, *rows).scores
    for at, name in enumerate(NAMES):
        np.testing.assert_array_equal(ae.score(rows[0], name), scores[:, at])
    np.testing.assert_array_equal(ae.score(rows[0]), ae.score(rows[0], "nearest"))
    assert ae.score(rows[0][:0]).shape == (0,)
    copy = pickle.loads(pickle.dumps(ae))
    np.testing.assert_array_equal(copy.score(rows[0]), ae.score(rows[0]))


def test_the_default_is_that_of_the_bundle(table_bundle: Path) -> None:
    ae = load(table_bundle.parent / "scored_series")
    (rows,) = arrays(ae, 20)
    np.testing.assert_array_equal(ae.score(rows), ae.score(rows, "whitened"))


def test_further_out_is_stranger(ae: Autoencoder) -> None:
    (rows,) = arrays(ae, 1)
    steps = np.repeat(np.nan_to_num(rows), 5, axis=0)
    steps[:, 0] += [0, 10, 100, 1000, 1e9]  # its deviation is 1
    for name in ("nearest", "error", "whitened"):
        assert (np.diff(ae.score(steps, name)) > 0).all(), name


def test_what_is_missing_does_not_count(ae: Autoencoder) -> None:
    (rows,) = arrays(ae, 40)
    rows[:, 2] = np.nan
    scored = score_arrays(ae.model, rows)
    np.testing.assert_array_equal(scored.parts[:, 2], 0)
    nothing = score_arrays(ae.model, np.full((1, 6), np.nan))
    np.testing.assert_array_equal(nothing.parts, np.zeros((1, 6)))
    np.testing.assert_array_equal(nothing.scores[:, NAMES.index("error")], [0])


def test_anomalies_are_what_scores_above_the_threshold(ae: Autoencoder) -> None:
    (rows,) = arrays(ae, 200)
    scores, threshold = ae.score(rows), ae.manifest.threshold
    assert threshold is not None
    np.testing.assert_array_equal(ae.is_anomaly(rows), scores > threshold.value)
    np.testing.assert_array_equal(ae.is_anomaly(rows, threshold=1.5), scores > 1.5)
    assert ae.is_anomaly(rows, threshold=float(scores.max())).sum() == 0
    counts = [ae.is_anomaly(rows, false_alarm_rate=rate).sum() for rate in (1e-6, 0.01, 0.5, 0.99)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    same = ae.is_anomaly(rows, false_alarm_rate=threshold.false_alarm_rate)
    np.testing.assert_array_equal(same, ae.is_anomaly(rows))


def test_probabilities_fall_and_lead_back_to_thresholds(ae: Autoencoder) -> None:
    for name in NAMES:
        score = (ae.manifest.scores or [])[NAMES.index(name)]
        values = np.linspace(
            score.quantiles[0] - 1, score.quantiles[-1] + 10 * score.tail_mean, 500
        )
        found = ae.tail_probability(values, name)
        assert (np.diff(found) <= 0).all()
        assert found[0] == 1.0
        np.testing.assert_allclose(
            ae.tail_probability(score.quantiles, name), 1 - np.array(score.levels), rtol=1e-9
        )
        for rate in (0.5, 0.1, 1e-3, 1e-9):
            limit = scoring.threshold_of(ae.manifest, name, rate * 0.999)
            assert ae.tail_probability(limit, name) == pytest.approx(rate * 0.999)


def test_a_tail_without_rows_ends() -> None:
    score = Score("error", [0.0, 0.5], [1.0, 2.0], 0.0)
    found = tails.tail_probability(score, [0.5, 1.0, 2.0, 2.1])
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5, 0.0])


def test_the_strange_column_is_named_with_what_was_expected(ae: Autoencoder) -> None:
    with np.load(Path(ae.bundle.location) / "golden.npz") as stored:
        rows = stored["x_hat"][:3]  # without gaps
    rows[1, 1] += 1e-3  # "tiny", whose deviation is 1e-6, and which follows from no other
    rows[2, 2] = np.nan
    found = ae.explain(rows, top=6)
    assert [len(parts) for parts in found] == [6, 6, 6]
    assert found[1][0].where == "tiny"
    assert found[1][0].value == rows[1, 1]
    assert found[1][0].expected == ae.reconstruct(rows[1:2])[0, 1]
    for parts, row in zip(found, score_arrays(ae.model, rows).parts, strict=True):
        np.testing.assert_array_equal([part.off for part in parts], np.sort(row)[::-1])
    gap = next(part for part in found[2] if part.where == "gaps")
    assert (gap.value, gap.off) == (None, 0.0)


def test_words_are_named_as_words(mixed: Autoencoder) -> None:
    table = {
        "far": [1e6, 1e6],
        "count": [0.0, np.nan],
        "job": ["admin", None],
        "open": ["yes", "no"],
    }
    for parts, row in zip(mixed.explain(table, top=4), range(2), strict=True):
        found = {part.where: part for part in parts}
        assert sorted(map(str, found)) == sorted(table)
        assert found["job"].value == table["job"][row]
        assert found["job"].expected in ("admin", "tech", "other")
        assert found["open"].expected in ("no", "yes")
    np.testing.assert_array_equal(
        mixed.score(table), score_arrays(mixed.model, *mixed.arrays_of(table)).score
    )


def test_pixels_and_time_steps_are_named_by_their_place(table_bundle: Path) -> None:
    image = load(table_bundle.parent / "scored_image")
    (rows,) = arrays(image, 2)
    parts = score_arrays(image.model, rows).parts
    assert parts.shape == (2, 4, 5, 3)
    where = image.explain(rows, top=1)[0][0].where
    assert where == tuple(np.unravel_index(parts[0].argmax(), (4, 5, 3)))


@pytest.mark.parametrize("call", ["score", "is_anomaly", "explain"])
def test_a_bundle_without_scores(table_bundle: Path, call: str) -> None:
    ae = load(table_bundle)
    with pytest.raises(ScoreUnknown) as caught:
        getattr(ae, call)(np.zeros((1, 6)))
    assert str(caught.value) == NONE
    with pytest.raises(ScoreUnknown, match="no scores"):
        ae.tail_probability([1.0])
    with pytest.raises(ScoreUnknown, match="no scores"):
        score_arrays(ae.model, np.zeros((1, 6)))


def test_an_unknown_score(ae: Autoencoder) -> None:
    known = "the bundle has no score 'recon'; it has nearest, error, whitened, latent, combined"
    x = np.zeros((1, 6))
    for call in (
        lambda: ae.score(x, "recon"),
        lambda: ae.is_anomaly(x, name="recon", threshold=1.0),
        lambda: ae.is_anomaly(x, name="recon"),
        lambda: ae.tail_probability([1.0], "recon"),
    ):
        with pytest.raises(ScoreUnknown) as caught:
            call()
        assert str(caught.value) == known


def test_wrong_numbers(ae: Autoencoder) -> None:
    x = np.zeros((1, 6))
    for call, message in (
        (
            lambda: ae.is_anomaly(x, threshold=1.0, false_alarm_rate=0.1),
            "threshold and false_alarm_rate say the same; give one of them",
        ),
        (
            lambda: ae.is_anomaly(x, false_alarm_rate=1.0),
            "false_alarm_rate is 1.0; it must be between 0 and 1",
        ),
        (lambda: ae.explain(x, top=0), "top is 0; it must be at least 1"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()
    with pytest.raises(ShapeMismatch):
        ae.score(np.zeros((1, 5)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.update(threshold=None),
        lambda fields: fields["threshold"].update(score="other"),
        lambda fields: fields["scores"][0]["levels"].pop(),
        lambda fields: fields["scores"][0]["quantiles"].reverse(),
        lambda fields: fields["scores"][0]["levels"].reverse(),
        lambda fields: fields["scores"][1].update(name="nearest"),
        lambda fields: fields["scores"].clear(),
    ],
)
def test_a_manifest_whose_scores_do_not_fit(
    table_bundle: Path, rewrite: Rewrite, edit: Callable[[dict[str, Any]], object]
) -> None:
    changed = rewrite(table_bundle.parent / "scored", edit=edit)
    with pytest.raises(BundleCorrupt) as caught:
        load(changed)
    assert str(caught.value) == (
        f"{changed}: manifest.json: scores and threshold do not go together; export again"
    )


def test_a_scorer_of_another_shape_is_refused(table_bundle: Path, rewrite: Rewrite) -> None:
    other = (table_bundle.parent / "scored_series" / "scorer.onnx").read_bytes()
    changed = rewrite(table_bundle.parent / "scored", {"scorer.onnx": other})
    with pytest.raises(AeError, match=r"scorer\.onnx"):
        load(changed)


def test_a_scorer_that_is_not_there(table_bundle: Path, rewrite: Rewrite) -> None:
    changed = rewrite(table_bundle.parent / "scored")
    (changed / "scorer.onnx").unlink()
    with pytest.raises(BundleCorrupt) as caught:
        load(changed)
    assert str(caught.value) == (
        f"{changed}: scorer.onnx is missing; fetch or export the bundle again"
    )
