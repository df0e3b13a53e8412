"""Scores of a series while it comes in: sample by sample, or in blocks of any length."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import DataError, ShapeMismatch
from ae_runtime.model.arrays import as_array, checked, is_table
from ae_runtime.model.scoring import place_of, score_arrays, threshold_of
from ae_runtime.tables.columns import arrays_of

Array = NDArray[Any]
_WINDOWS = 512  # windows that are scored at once


class Pushed(NamedTuple):
    """Scores that a block of n samples brought.

    latest: (n,) float32, for each sample the score of the window that ends with it: known at once.
    NaN for the first window - 1 samples of the stream. parts: (n, C) float32, by how many standard
    deviations each channel of the sample is off from what the rest of that window says. settled:
    (m,) float32, final scores of the next m samples: each the mean of all windows that cover it, as
    ae-run score gives it. first: number of the sample of settled[0], from 0.
    """

    latest: NDArray[np.float32]
    parts: NDArray[np.float32]
    settled: NDArray[np.float32]
    first: int


class Stream:
    """Anomaly scores of one live series. Only its last window is kept, whatever its length.

    bundle: an Autoencoder, or what `load` takes. name: of the score; None for the bundle's default.
    threshold: for `latest`, scores of windows; settled_threshold: for `settled`, those of steps.
    Not for several threads at once; one Autoencoder may serve many streams. Raises DataError for a
    bundle that is not of series, ScoreUnknown, and what load raises.
    """

    def __init__(
        self, bundle: Autoencoder | str | os.PathLike[str] | bytes, name: str | None = None
    ) -> None:
        self.ae = bundle if isinstance(bundle, Autoencoder) else load(bundle, threads=1)
        manifest = self.ae.manifest
        if manifest.kind != "series":
            raise DataError(
                f"a stream needs a bundle of series, this one is of kind {manifest.kind}; score "
                "its rows with ae.score"
            )
        self._place = place_of(manifest, name)
        self.threshold = threshold_of(manifest, name, None)
        self.settled_threshold = threshold_of(manifest, name, None, steps=True)
        self.window, self.channels = self.ae.input_shape
        self._sample = Port("samples", manifest.inputs[0].dtype, [None, self.channels])
        self.reset()

    @property
    def delay(self) -> int:
        """How many samples must follow a sample until its score is settled."""
        return self.window - 1

    def reset(self) -> None:
        """Forget all samples: the next one is the first of another series."""
        self.samples = 0
        self._kept = np.empty((0, self.channels), self._sample.dtype)
        self._scores = np.empty(0)  # of the last windows, window - 1 at most

    def push(self, samples: Any) -> Pushed:
        """Scores that one sample (C,), or a block of samples (n, C), brings.

        Or a table of channels by name, as encode takes one.
        Converted as `encode` does; NaN where missing. Raises ShapeMismatch for another number of
        channels, DtypeMismatch.
        """
        if is_table(samples):
            (samples,) = arrays_of(samples, self.ae.manifest, self.ae.say)
        block = as_array(samples, "samples")
        if block.shape[-1:] != (self.channels,) or block.ndim > 2:
            raise ShapeMismatch(
                f"samples have shape {block.shape}, the bundle wants {self.channels} channels: "
                f"({self.channels},) or (n, {self.channels})"
            )
        block = checked(block.reshape(-1, self.channels), self._sample, "samples")
        steps = np.concatenate([self._kept, block.astype(self._sample.dtype)])
        scores, newest = self._of_windows(steps)
        early = len(block) - len(scores)  # samples before the first whole window
        first = max(self.samples + len(block) - len(scores) - self.delay, 0)
        settled = self._settle(scores)
        self.samples += len(block)
        self._kept = steps[max(len(steps) - self.delay, 0) :].copy()
        latest = np.concatenate([np.full(early, np.nan, np.float32), scores])
        parts = np.concatenate([np.full((early, self.channels), np.nan, np.float32), newest])
        return Pushed(latest, parts, settled, first)

    def finish(self) -> Pushed:
        """The scores of the samples that are not settled, as the series ends here.

        Nothing is latest. Of a series shorter than a window all are NaN. The next push begins
        another series.
        """
        left = min(self.samples, self.delay)
        first = self.samples - left
        # The last windows reach these samples, one fewer each the next.
        counts = np.minimum(self.delay - np.arange(left), len(self._scores))
        means = [self._scores[-count:].mean() if count else np.nan for count in counts]
        settled = np.array(means, np.float32)
        self.reset()
        none = np.empty(0, np.float32)
        return Pushed(none, none.reshape(0, self.channels), settled, first)

    def _of_windows(self, steps: Array) -> tuple[Array, Array]:
        """(scores, parts of the newest sample) of every window of the steps."""
        count = max(len(steps) - self.window + 1, 0)
        scores = np.empty(count, np.float32)
        newest = np.empty((count, self.channels), np.float32)
        for start in range(0, count, _WINDOWS):
            end = min(start + _WINDOWS, count)
            windows = _windows_of(steps[start : end + self.window - 1], self.window)
            scored = score_arrays(self.ae.model, windows)
            scores[start:end] = scored.scores[:, self._place]
            newest[start:end] = scored.parts[:, -1]
        return scores, newest

    def _settle(self, scores: Array) -> NDArray[np.float32]:
        """Settled score of each new window's first sample: the mean of all windows over it."""
        known = np.concatenate([self._scores, scores.astype(np.float64)])
        missing = self.delay - len(self._scores)  # windows before the first one of the series
        self._scores = known[max(len(known) - self.delay, 0) :].copy()
        if not len(scores):
            return np.empty(0, np.float32)
        padded = np.concatenate([np.zeros(missing), known])
        sums = np.convolve(padded, np.ones(self.window), "valid")
        counts = np.minimum(np.arange(1, len(scores) + 1) + (self.delay - missing), self.window)
        return np.asarray(sums / counts, np.float32)


def _windows_of(steps: Array, window: int) -> Array:
    """All windows of time steps (n, C), (n - window + 1, window, C), contiguous."""
    if len(steps) == window:  # one sample came: what numpy's view costs would show
        return steps[None]
    view = np.lib.stride_tricks.sliding_window_view(steps, window, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1))
