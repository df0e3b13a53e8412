"""Anomaly scores of rows: those of scorer.onnx, their thresholds, and what contributes to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Manifest, Score
from ae_runtime.errors import ScoreUnknown
from ae_runtime.model.model import Model
from ae_runtime.model.tails import exceeded_by

Array = NDArray[Any]
_BLOCK_ROWS = 4096  # rows that are scored at once, at least


class Scored(NamedTuple):
    """Scores of rows, and their reconstructions.

    score: (B,) float32, the bundle's default one. parts: (B, columns) or (B, *input_shape)
    float32, by how many standard deviations each number is off from what the others say. scores:
    (B, S) float32, one column for each score of the manifest. x_hat: what the decoder gave.
    """

    score: NDArray[np.float32]
    parts: NDArray[np.float32]
    scores: NDArray[np.float32]
    x_hat: tuple[Array, ...]


class Contribution(NamedTuple):
    """A value of a row that is far from what the rest of the row lets expect.

    where: a column's name, or the place of a pixel or of a time step. off: standard deviations from
    what the rest of the row says; infinite for a category that the model does not know. value: what
    was given, None where missing. expected: what the model gives back for it.
    """

    where: str | tuple[int, ...]
    off: float
    value: Any
    expected: Any


def place_of(manifest: Manifest, name: str | None) -> int:
    """Index of a score in the manifest's list; None for the default score.

    Raises ScoreUnknown.
    """
    if not manifest.scores or manifest.threshold is None:
        raise ScoreUnknown(
            "the bundle has no scores; train with this version of ae-toolkit and a [score] name "
            'other than "none", and export again'
        )
    names = [score.name for score in manifest.scores]
    wanted = manifest.threshold.score if name is None else name
    if wanted not in names:
        raise ScoreUnknown(f"the bundle has no score {wanted!r}; it has {', '.join(names)}")
    return names.index(wanted)


def score_of(manifest: Manifest, name: str | None, steps: bool = False) -> Score:
    """The distribution of a score over ordinary rows; with `steps`, over time steps of a series.

    A bundle without one for time steps gives that of windows. Raises ScoreUnknown.
    """
    place = place_of(manifest, name)
    scores = (manifest.step_scores if steps else None) or manifest.scores
    assert scores is not None
    return scores[place]


def threshold_of(
    manifest: Manifest, name: str | None, rate: float | None, steps: bool = False
) -> float:
    """The score that a share `rate` of rows like the held-out ones exceeds.

    name: None for the default score. rate: None for the manifest's false alarm rate. steps: for
    time steps of a series, where the bundle has that. Raises ScoreUnknown, or ValueError for a rate
    that is not between 0 and 1.
    """
    score = score_of(manifest, name, steps)
    known = (manifest.step_threshold if steps else None) or manifest.threshold
    assert known is not None
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"false_alarm_rate is {rate}; it must be between 0 and 1")
    if score.name == known.score and rate in (None, known.false_alarm_rate):
        return known.value
    return exceeded_by(score, rate or known.false_alarm_rate)


def limit_of(
    manifest: Manifest, name: str | None, threshold: float | None, rate: float | None
) -> float:
    """The score above which a row is an anomaly: `threshold`, or threshold_of where it is None.

    Raises ScoreUnknown, or ValueError where both are given.
    """
    if threshold is None:
        return threshold_of(manifest, name, rate)
    if rate is not None:
        raise ValueError("threshold and false_alarm_rate say the same; give one of them")
    return threshold


def score_arrays(model: Model, *arrays: ArrayLike, alone: bool = False) -> Scored:
    """All scores of rows, and their reconstructions. arrays: as the encoder takes them.

    alone: in the calling thread only. Raises ScoreUnknown, ShapeMismatch or DtypeMismatch.
    """
    place_of(model.manifest, None)
    rows = model.rows(arrays)
    z = model.encode(*rows, alone=alone)
    x_hat = model.decode(z, alone=alone)
    return Scored(**model.score_rows([*rows, z, *x_hat], alone=alone), x_hat=x_hat)


def score(model: Model, arrays: Sequence[Array], name: str | None) -> NDArray[np.float32]:
    """One score of each row, (B,). arrays: as the encoder takes them.

    In blocks, so that latents and reconstructions are never in memory for all rows.
    """
    place = place_of(model.manifest, name)
    found = np.empty(len(arrays[0]), np.float32)
    tiles = model.plan.threads * model.plan.tile
    step = tiles * -(-_BLOCK_ROWS // tiles)
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        found[part] = score_arrays(model, *(rows[part] for rows in arrays)).scores[:, place]
    return found


def explain(
    model: Model,
    arrays: Sequence[Array],
    top: int,
    unknown: Sequence[Array | None] = (),
) -> list[list[Contribution]]:
    """The `top` values of each row that are most off. arrays: as the encoder takes them.

    unknown: for each column an array (B,) of the words that the model does not know, else None.
    """
    if top < 1:
        raise ValueError(f"top is {top}; it must be at least 1")
    scored = score_arrays(model, *arrays)
    off = scored.parts.reshape(len(scored.parts), -1).copy()
    for at, words in enumerate(unknown):
        if words is not None:
            off[words != None, at] = np.inf  # noqa: E711  # for each word
    # Stable, so that equal parts come in the order of columns.
    order = np.argsort(-off, axis=1, kind="stable")[:, :top]
    return [
        [_part(model.manifest, arrays, scored, off, unknown, row, int(at)) for at in places]
        for row, places in enumerate(order)
    ]


def _part(
    manifest: Manifest,
    arrays: Sequence[Array],
    scored: Scored,
    off: Array,
    unknown: Sequence[Array | None],
    row: int,
    at: int,
) -> Contribution:
    columns = manifest.columns
    where: str | tuple[int, ...] = tuple(map(int, np.unravel_index(at, manifest.part_shape)))
    if columns is not None:
        where = columns[at].name or f"x{at}"
        numbers = manifest.inputs[0].row_shape[0]
        levels = columns[at].levels
        if levels:
            codes = (int(part[row, at - numbers]) for part in (arrays[1], scored.x_hat[1]))
            value, expected = (levels[c] if 0 <= c < len(levels) else None for c in codes)
            words = unknown[at] if unknown else None
            if words is not None and words[row] is not None:
                value = words[row]
            return Contribution(where, float(off[row, at]), value, expected)
    value = arrays[0][row].reshape(-1)[at].item()
    return Contribution(
        where,
        float(off[row, at]),
        None if value != value else value,
        scored.x_hat[0][row].reshape(-1)[at].item(),
    )
