"""A linear predictor of whole numbers, exact on every machine, and what it leaves to be stored.

Each column is predicted from the rows before and from columns to its left in the same row
(autoregressive and cross-channel), by weights that are whole numbers over a power of two. All sums
are of whole numbers below 2^53 in float64, where every order of addition gives the same bits.

Restoring goes row after row, so the rows are cut into lanes that are restored side by side. A lane
starts anew: its first row is the difference from the first row of the lane before, and the rows
until `order` the difference from the row before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ae_runtime.archive.integers import Integers
from ae_runtime.archive.lanes import swap
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
LIMIT = 1 << 28  # of the numbers: 2^28 * 2^15 * 2^9 taps stays below 2^53
MAX_ORDER = 16
MAX_COLUMNS = 32  # of which each has weights of its own
_TOGETHER = 4096  # rows
_LANE = 128  # rows of a lane for each of `order`: starting anew costs less than 1 % so


@dataclass(frozen=True)
class Predictor:
    """Weights for each of D columns.

    order: rows before that are looked at, 0..MAX_ORDER. before: (order * D, D) of those rows, the
    oldest first, column after column of what is predicted. beside: (D, D) of columns in the same
    row, above the diagonal. constant: (D,). All whole numbers, to be divided by 2^shift, shift
    (D,).
    """

    order: int
    before: Floats
    beside: Floats
    constant: Floats
    shift: NDArray[np.int64]
    _scale: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scale", np.ldexp(1.0, -self.shift))

    @property
    def lane(self) -> int:
        """Rows of a lane."""
        return _LANE * max(self.order, 1)

    def predict(self, sums: Floats) -> Floats:
        """Weighted sums without the constant, (..., D), as whole numbers."""
        whole: Floats = np.floor((sums + (self.constant + 0.5 / self._scale)) * self._scale)
        return whole

    def residuals(self, q: Integers) -> Integers:
        """What is left of q (R, D), |q| < LIMIT, to be stored."""
        r = q.copy()
        if not len(q):
            return r
        order, lane = self.order, self.lane
        # A stretch of rows at a time, which the processor's cache holds.
        for low in range(0, len(q), _TOGETHER):
            x = q[max(low - order, 0) : low + _TOGETHER].astype(np.float64)
            sums = x @ self.beside
            for lag in range(1, order + 1):
                sums[lag:] += x[:-lag] @ self._weights_of(lag)
            sums = sums[min(low, order) :]
            r[low : low + len(sums)] -= self.predict(sums).astype(np.int64)
        first = np.arange(0, len(q), lane)
        for at in range(1, order):
            start = first[first + at < len(q)] + at
            r[start] = q[start] - q[start - 1]
        r[first] = np.diff(q[first], axis=0, prepend=0)
        return r

    def _weights_of(self, lag: int) -> Floats:
        columns = self.before.shape[1]
        at = (self.order - lag) * columns
        return self.before[at : at + columns]

    def restore(self, r: Integers) -> Integers:
        """The rows q (R, D) of residuals. Raises ArchiveCorrupt where these lead beyond LIMIT."""
        rows, columns = r.shape
        if not rows:
            return r
        lane = self.lane
        full, rest = divmod(rows, lane)
        cut = full * lane
        # (steps, D, lanes): each step is a few sums of what lies together.
        q = np.zeros((min(lane, rows), columns, full + (rest > 0)))
        if full:
            swap(r[:cut].reshape(full, -1), q.reshape(-1, q.shape[2])[:, :full])
        if rest:
            q[:rest, :, full] = r[cut:]
        with np.errstate(over="ignore", invalid="ignore"):  # of hostile residuals: checked below
            np.cumsum(q[0], axis=1, out=q[0])
            for at in range(1, min(self.order, len(q))):
                q[at] += q[at - 1]
            self._restore_steps(q, range(max(self.order, 1), len(q)))
        # What follows the last row in its lane may be anything.
        for told in (q[:, :, :full], q[:rest, :, full:]):
            if not (np.abs(told) < LIMIT).all():  # NaN, too
                raise ArchiveCorrupt("residuals lead to numbers beyond 2^28")
        found = np.empty((rows, columns), np.int64)
        if full:
            swap(q.reshape(-1, q.shape[2])[:, :full], found[:cut].reshape(full, -1))
        if rest:
            found[cut:] = q[:rest, :, full]
        return found

    def _restore_steps(self, q: Floats, steps: range) -> None:
        columns, lanes = q.shape[1:]
        width = self.order * columns
        # Weights over their power of two: no sum loses a bit by that.
        before = np.ascontiguousarray((self.before * self._scale).T)
        constant = (self.constant * self._scale + 0.5)[:, None]
        flat = q.reshape(-1, lanes)
        sums, more = np.empty((columns, lanes)), np.empty(lanes)
        told_beside = self.beside.any(axis=0)
        alone = np.flatnonzero(~told_beside)
        beside = [
            (column, sums[column], self.beside[:column, column] * self._scale[column])
            for column in np.flatnonzero(told_beside).tolist()
        ]
        for at in steps:
            np.matmul(before, flat[at * columns - width : at * columns], out=sums)
            sums += constant
            if not beside:
                q[at] += np.floor(sums, out=sums)
                continue
            row = q[at]
            row[alone] += np.floor(sums[alone])
            columns_of_row = list(row)
            for column, sum_, weights in beside:
                sum_ += np.dot(weights, row[:column], out=more)
                told = columns_of_row[column]
                told += np.floor(sum_, out=sum_)
