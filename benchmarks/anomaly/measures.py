"""How well scores of time steps find labelled ranges: the volume under the range-aware PR surface.

Paparrizos, Boniol, Palpanas, Tsay, Elmore & Franklin 2022, Volume Under the Surface: A New Accuracy
Evaluation Measure for Time-Series Anomaly Detection (PVLDB 15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

BUFFER, BUFFERS, THRESHOLDS = 100, 11, 250
Array = np.ndarray[Any, Any]


def ranges(labels: Array) -> list[tuple[int, int]]:
    """(first, last) step of each range of labels above 0."""
    edges = np.diff(np.concatenate([[0], (labels > 0).astype(int), [0]]))
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True))


def softened(labels: Array, buffer: int) -> Array:
    """Labels of 1 that fall off around each range, over half a buffer on either side."""
    soft = labels.astype(float)
    steps = np.arange(1, buffer // 2 + 1)
    values = np.sqrt(1 - steps / max(buffer, 1))
    for first, last in ranges(labels):
        for places in (last + steps, first - steps):
            inside = (places >= 0) & (places < len(soft))
            soft[places[inside]] = np.maximum(soft[places[inside]], values[inside])
    return soft


def range_auc_pr(labels: Array, scores: Array, buffer: int) -> float:
    """Area under precision against recall, both by softened labels; recall counts ranges, too."""
    soft = softened(labels, buffer)
    parts = ranges(soft)
    positives = (labels.sum() + soft.sum()) / 2
    places = np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int)
    recalls, precisions = [0.0], [1.0]
    for threshold in np.sort(scores)[::-1][places]:
        said = scores >= threshold
        hits = float(soft[said].sum())
        found = sum(bool(said[first : last + 1].any()) for first, last in parts) / len(parts)
        recalls.append(min(hits / positives, 1.0) * found)
        precisions.append(hits / said.sum())
    return float(np.sum(np.diff(recalls) * np.array(precisions[1:])))


def vus_pr(labels: Array, scores: Array) -> float:
    """Mean of range_auc_pr over buffers from 0 to 100 steps."""
    buffers = np.linspace(0, BUFFER, BUFFERS).astype(int)
    return float(np.mean([range_auc_pr(labels, scores, buffer) for buffer in buffers]))
