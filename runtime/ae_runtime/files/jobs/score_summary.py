"""Scores of the rows of a file: what is computed, written and counted of each."""

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
from ae_runtime.model.model import Model
from ae_runtime.model.scoring import place_of, score_arrays, score_of, threshold_of
from ae_runtime.model.tails import tail_probability

Array = NDArray[Any]
SHOWN = 3  # parts of a strange row that are kept
COLUMNS = ("score", "probability", "anomaly")


@dataclass(frozen=True)
class Asked:
    """What is wanted of each row.

    name: of the score, None for the bundle's default. threshold, false_alarm_rate: from where on a
    row is an anomaly; one of them, or neither for the bundle's. parts: whether the part of each
    column is written, too.
    """

    name: str | None = None
    threshold: float | None = None
    false_alarm_rate: float | None = None
    parts: bool = False


class Strange(NamedTuple):
    """A row of the output that scores high: its score, its number from 0, and its id.

    parts: names and deviations of the columns, channels or pixels that are most off.
    """

    score: float
    row: int
    id: Any
    parts: list[tuple[str, float]]


class Judge:
    """Scores rows as they were asked for, counts the anomalies, and keeps the strangest.

    top: how many of these. is_of_windows: time steps are judged, and by what windows score, as the
    bundle knows no more. Raises ScoreUnknown.
    """

    def __init__(self, manifest: Manifest, asked: Asked, top: int = 0) -> None:
        self.manifest, self.asked, self._most = manifest, asked, top
        self._place = place_of(manifest, asked.name)
        self.look_at(steps=False)
        self._parts = asked.parts or bool(top)
        self.rows = self.anomalies = 0
        self._strangest: list[tuple[float, int, Strange]] = []

    def look_at(self, steps: bool) -> None:
        """Judge by what rows score, or by what the time steps of a series do."""
        asked = self.asked
        self.is_of_windows = steps and self.manifest.step_scores is None
        self._score = score_of(self.manifest, asked.name, steps)
        self.limit = asked.threshold
        if self.limit is None:
            self.limit = threshold_of(self.manifest, asked.name, asked.false_alarm_rate, steps)

    @property
    def words(self) -> dict[str, Any]:
        """What the output depends on: one model may have been given other scores since."""
        scorer = self.manifest.files[SCORER].sha256
        return {
            "score": self._place,
            "limit": self.limit,
            "parts": self.asked.parts,
            "scorer": scorer,
        }

    @property
    def top(self) -> list[Strange]:
        """The strangest rows that this judge saw, the strangest first."""
        return [strange for _, _, strange in sorted(self._strangest, reverse=True)]

    def compute(self, model: Model, arrays: tuple[Array, ...], steps: bool) -> Array:
        """(B, M) of score and parts, in the calling thread; (B, T, M) of windows' time steps."""
        scored = score_arrays(model, *arrays, alone=True)
        score = scored.scores[:, self._place]
        parts = scored.parts
        if steps:
            score = np.repeat(score[:, None], parts.shape[1], axis=1)
        columns = [score[..., None]]
        if self._parts:
            columns.append(parts if steps else parts.reshape(len(parts), -1))
        return np.concatenate(columns, axis=-1)

    def judged(self, chunk: Chunk, first: int) -> Chunk:
        """A chunk with probability and anomaly beside the score. first: its first row's number."""
        values = chunk.values
        assert isinstance(values, np.ndarray)
        score = values[:, :1]
        chance = tail_probability(self._score, score)
        flags = score > self.limit
        self.rows += len(values)
        self.anomalies += int(flags.sum())
        self._keep(values, chunk.ids, first)
        # Of a time step that no window covers nothing is known: neither is it ordinary.
        marks = np.where(np.isnan(score), np.float32(np.nan), flags)
        columns = [score, chance.astype(np.float32), marks.astype(np.float32)]
        if self.asked.parts:
            columns.append(values[:, 1:])
        return chunk._replace(values=np.concatenate(columns, axis=1))

    def _keep(self, values: Array, ids: Array | None, first: int) -> None:
        for at in np.argsort(-values[:, 0], kind="stable")[: self._most]:
            score, row = float(values[at, 0]), first + int(at)
            if score == score:  # a time step that no window covers has none
                name = None if ids is None else ids[at]
                found = Strange(score, row, name, self._most_off(values[at, 1:]))
                heapq.heappush(self._strangest, (score, -row, found))
        while len(self._strangest) > self._most:
            heapq.heappop(self._strangest)

    def _most_off(self, parts: Array) -> list[tuple[str, float]]:
        names = part_names(self.manifest, len(parts))
        return [(names[at], float(parts[at])) for at in np.argsort(-parts, kind="stable")[:SHOWN]]


def layout_of_scores(judge: Judge, rows: int | None, series: SeriesCut | None) -> Layout:
    """What is written of rows; of windows that were cut from a series, of its time steps."""
    manifest, names = judge.manifest, list(COLUMNS)
    if judge.asked.parts:
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
    """Names of so many parts: columns of a table, channels of a time step, or places in a row."""
    if manifest.columns is not None:
        return [column.name or f"x{at}" for at, column in enumerate(manifest.columns)]
    shape = manifest.part_shape
    if count < prod(shape):  # of one time step
        channels = manifest.series.channels if manifest.series else None
        return channels or [f"x{at}" for at in range(count)]
    return ["_".join(map(str, place)) for place in np.ndindex(*shape)]
