"""Anomaly scores of the rows of a file: the columns that are written, and what is counted."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import SCORER, Manifest
from ae_runtime.files.readers.blocks import SeriesCut
from ae_runtime.files.writers.layout import Chunk, Kind, Layout
from ae_runtime.model.scoring import Scored, place_of, score_of, threshold_of
from ae_runtime.model.tails import tail_probability

Array = NDArray[Any]
SHOWN = 3  # parts of an anomalous row that are kept
COLUMNS = ("score", "probability", "anomaly")


@dataclass(frozen=True)
class ScoreOptions:
    """Which score is written of each row, and what counts as an anomaly.

    name: the score's, None for the bundle's default. threshold, false_alarm_rate: what a row must
    exceed to be an anomaly; one of them, or neither for the bundle's. parts: whether the part of
    each column is written, too.
    """

    name: str | None = None
    threshold: float | None = None
    false_alarm_rate: float | None = None
    parts: bool = False


DEFAULTS = ScoreOptions()  # those of the bundle


class TopRow(NamedTuple):
    """A row of the output that scores high: its score, its number from 0, and its id.

    parts: names and standard deviations of the columns, channels or pixels that are most off.
    """

    score: float
    row: int
    id: Any
    parts: list[tuple[str, float]]


class ScoreSummary:
    """The number of rows and of anomalies among them, and the rows that score highest.

    limit: the score that anomalies exceed. is_of_windows: whether time steps are judged by the
    scores of windows, as the bundle has no others.
    """

    def __init__(self, manifest: Manifest, options: ScoreOptions, top: int = 0) -> None:
        """top: how many of the highest rows are kept. Raises ScoreUnknown."""
        self.manifest, self.options, self._most = manifest, options, top
        self._place = place_of(manifest, options.name)
        self.judge_steps(False)
        self._parts = options.parts or bool(top)
        self.rows = self.anomalies = 0
        self._highest: list[tuple[float, int, TopRow]] = []

    def judge_steps(self, steps: bool) -> None:
        """Set the limit for the time steps of a series, or for rows."""
        options = self.options
        self.is_of_windows = steps and self.manifest.step_scores is None
        self._score = score_of(self.manifest, options.name, steps)
        self.limit = options.threshold
        if self.limit is None:
            rate = options.false_alarm_rate
            self.limit = threshold_of(self.manifest, options.name, rate, steps)

    @property
    def key(self) -> dict[str, Any]:
        """Settings that the output depends on: a model may get other scores later."""
        return {
            "score": self._place,
            "limit": self.limit,
            "parts": self.options.parts,
            "scorer": self.manifest.files[SCORER].sha256,
        }

    @property
    def top(self) -> list[TopRow]:
        """The rows that scored highest, the highest first."""
        return [row for _, _, row in sorted(self._highest, reverse=True)]

    def columns_of(self, scored: Scored, steps: bool) -> Array:
        """Score and parts side by side: of rows (B, M), of windows' time steps (B, T, M)."""
        score, parts = scored.scores[:, self._place], scored.parts
        if steps:
            score = np.repeat(score[:, None], parts.shape[1], axis=1)
        columns = [score[..., None]]
        if self._parts:
            columns.append(parts if steps else parts.reshape(len(parts), -1))
        return np.concatenate(columns, axis=-1)

    def counted(self, chunk: Chunk, first: int) -> Chunk:
        """Count the rows of a chunk of columns_of; add columns probability and anomaly to it.

        first: number of its first row in the output.
        """
        values = chunk.values
        assert isinstance(values, np.ndarray)
        score = values[:, :1]
        chance = tail_probability(self._score, score)
        flags = score > self.limit
        self.rows += len(values)
        self.anomalies += int(flags.sum())
        self._keep(values, chunk.ids, first)
        # A time step that no window covers is neither an anomaly nor ordinary.
        marks = np.where(np.isnan(score), np.float32(np.nan), flags)
        columns = [score, chance.astype(np.float32), marks.astype(np.float32)]
        if self.options.parts:
            columns.append(values[:, 1:])
        return chunk._replace(values=np.concatenate(columns, axis=1))

    def _keep(self, values: Array, ids: Array | None, first: int) -> None:
        for at in np.argsort(-values[:, 0], kind="stable")[: self._most]:
            score, row = float(values[at, 0]), first + int(at)
            if score == score:  # a time step that no window covers has none
                name = None if ids is None else ids[at]
                found = TopRow(score, row, name, self._most_off(values[at, 1:]))
                heapq.heappush(self._highest, (score, -row, found))
        while len(self._highest) > self._most:
            heapq.heappop(self._highest)

    def _most_off(self, parts: Array) -> list[tuple[str, float]]:
        names = part_names(self.manifest, len(parts))
        return [(names[at], float(parts[at])) for at in np.argsort(-parts, kind="stable")[:SHOWN]]


def layout_of_scores(summary: ScoreSummary, rows: int | None, series: SeriesCut | None) -> Layout:
    """Layout of the scores of rows, or of time steps where windows were cut from a series."""
    manifest, names = summary.manifest, list(COLUMNS)
    if summary.options.parts:
        shape = manifest.part_shape
        count = prod(shape if series is None else shape[1:])
        names += [f"part_{name}" for name in part_names(manifest, count)]
    kinds: list[Kind] = ["number"] * len(names)
    kinds[COLUMNS.index("anomaly")] = "whole"
    stamp = {"ae_toolkit": "score", "model_id": manifest.model_id}
    if series is not None:
        rows = series.steps
    return Layout(rows, (len(names),), np.dtype(np.float32), "score", names, kinds, stamp)


def part_names(manifest: Manifest, count: int) -> list[str]:
    """Names of `count` parts: columns of a table, channels of a time step, or places in a row."""
    if manifest.columns is not None:
        return [column.name or f"x{at}" for at, column in enumerate(manifest.columns)]
    shape = manifest.part_shape
    if count < prod(shape):  # of one time step
        channels = manifest.series.channels if manifest.series else None
        return channels or [f"x{at}" for at in range(count)]
    return ["_".join(map(str, place)) for place in np.ndindex(*shape)]
