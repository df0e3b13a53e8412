"""Counters that show whether rows still resemble the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.autoencoder import Autoencoder
from ae_runtime.model.scoring import score_of
from ae_runtime.model.tails import same_as

_COUNTERS = ("rows", "scored", "_outside", "_missing", "_gaps", "_numbers_seen", "_above")


class Drift:
    """Counts of the rows that an application encodes, to compare with the training rows.

    Give it each batch that goes to `encode`, and the batch's scores where there are some. Counters
    only: no row is kept, and those of two workers are put together with `merge`. Not for several
    threads at once. name: of the score; None for the bundle's default.
    """

    def __init__(self, ae: Autoencoder, name: str | None = None) -> None:
        manifest = ae.manifest
        self._ae = ae
        self._columns = manifest.columns or []
        self._numbers = ae.input_shape[0] if manifest.columns is not None else 0
        ends = [(c.min, c.max) for c in self._columns[: self._numbers]]
        table = np.array([[np.nan if end is None else end for end in pair] for pair in ends])
        self._low, self._high = table.reshape(-1, 2).T
        self._quantiles = np.empty(0)
        self._levels: list[float] = []
        self._expected: list[float] = []
        if manifest.scores:
            score = score_of(manifest, name)
            self._levels, self._quantiles = score.levels, np.array(score.quantiles)
            self._expected = score.above or [1 - level for level in score.levels]
            if score.above is not None:  # what ties with a quantile is not above it
                self._quantiles += same_as(self._quantiles)
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.rows = self.scored = 0
        self._outside = np.zeros(len(self._columns), np.int64)
        self._missing = np.zeros(len(self._columns), np.int64)
        self._gaps = self._numbers_seen = 0
        self._above = np.zeros(len(self._levels), np.int64)

    def add(self, x: Any, scores: ArrayLike | None = None) -> None:
        """Count a batch. x: as `encode` takes it. scores: of `ae.score` for these rows.

        Raises what encode raises.
        """
        first, *words = self._ae.arrays_of(x)
        missing = np.isnan(first) if first.dtype.kind == "f" else np.zeros(first.shape, bool)
        self.rows += len(first)
        self._numbers_seen += first.size
        self._gaps += int(missing.sum())
        if self._columns:
            outside = (first < self._low) | (first > self._high)
            self._outside[: self._numbers] += outside.sum(0)
            self._missing[: self._numbers] += missing.sum(0)
            for codes in words:  # missing and unknown categories have the same code
                self._missing[self._numbers :] += (codes < 0).sum(0)
        if scores is not None:
            found = np.asarray(scores)
            self.scored += len(found)
            self._above += (found[:, None] > self._quantiles).sum(0)

    def merge(self, other: Drift) -> None:
        """Add the counts of another worker, for the same bundle and score."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def report(self) -> dict[str, Any]:
        """The counts as shares, for a log or a monitor; null where nothing was counted.

        outside: of each column of numbers, the share of rows beyond the range of the training rows.
        missing: of each column, the share of rows without a value, or with a category that is
        not known; "all" together. scores: for each level of the manifest's quantiles, the share of
        rows that score above it, beside the share expected of ordinary rows that are new.
        """
        names = [column.name or f"x{at}" for at, column in enumerate(self._columns)]
        share = _shares(self._outside[: self._numbers], self.rows)
        missing = dict(zip(names, _shares(self._missing, self.rows), strict=True))
        all_missing = self._gaps / self._numbers_seen if self._numbers_seen else None
        above = _shares(self._above, self.scored)
        return {
            "rows": self.rows,
            "outside": dict(zip(names, share, strict=False)),
            "missing": {"all": all_missing, "columns": missing},
            "scores": [
                {"level": level, "expected": expected, "found": found}
                for level, expected, found in zip(self._levels, self._expected, above, strict=True)
            ],
        }


def _shares(counts: NDArray[np.int64], rows: int) -> list[float | None]:
    return [count / rows if rows else None for count in counts.tolist()]
