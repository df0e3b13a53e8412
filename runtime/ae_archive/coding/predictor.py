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

from ae_archive.coding.integers import Integers
from ae_archive.coding.lanes import swap
from ae_archive.coding.stretch import cached
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
LIMIT = 1 << 28  # of the numbers: 2^28 * 2^15 * 2^9 taps stays below 2^53
MAX_ORDER = 16
MAX_COLUMNS = 32  # of which each has weights of its own
_ABREAST = 32  # values of a row, or of several as one
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

    def residuals(self, q: Integers) -> Integers:
        """What is left of q (R, D), |q| < LIMIT, to be stored."""
        r = np.empty_like(q)
        rows, columns = q.shape
        if not q.size:
            return r
        # Some rows are one: few products of larger matrices take less time than many of small ones.
        abreast = max(1, _ABREAST // columns)
        before = -(-self.order // abreast)
        weights = self._weights(abreast, before)
        constant, scale = (np.tile(each, abreast) for each in (self.constant, self._scale))
        constant += 0.5 / scale
        for part in cached(-(-rows // abreast), abreast * columns):
            low, high = part.start * abreast, min(part.stop * abreast, rows)
            known = min(low, before * abreast)
            x = np.zeros((before + part.stop - part.start, abreast * columns))
            begin = before * abreast - known
            x.reshape(-1, columns)[begin : begin + known + high - low] = q[low - known : high]
            told = np.zeros((len(x) - before, abreast * columns))
            for at, each in enumerate(weights):
                told += x[at : at + len(told)] @ each
            told += constant
            told *= scale
            np.subtract(x[before:], np.floor(told, out=told), out=told)
            r[low:high] = told.reshape(-1, columns)[: high - low]
        first = np.arange(0, rows, self.lane)
        for at in range(1, self.order):
            start = first[first + at < rows] + at
            r[start] = q[start] - q[start - 1]
        r[first] = np.diff(q[first], axis=0, prepend=0)
        return r

    def _weights(self, abreast: int, before: int) -> Floats:
        """Of so many rows as one, and of as many before these, again and again, oldest first.

        (before + 1, abreast * D, abreast * D): rows are what tells, columns what is told.
        """
        columns = len(self.beside)
        weights = np.zeros((before + 1, abreast, columns, abreast, columns))
        lags = self.before.reshape(self.order, columns, columns)[::-1]
        for row in range(abreast):
            for lag, each in enumerate((self.beside, *lags)):
                block, at = divmod(before * abreast + row - lag, abreast)
                weights[block, at, :, row] = each
        return weights.reshape(before + 1, abreast * columns, -1)

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
        # Weights over their power of two: no sum loses a bit by that, nor by residuals beside it.
        before = np.ascontiguousarray((self.before * self._scale).T)
        constant = (self.constant * self._scale + 0.5)[:, None]
        flat = q.reshape(-1, lanes)
        sums, more = np.empty((columns, lanes)), np.empty(lanes)
        beside = self.beside * self._scale + np.eye(columns)
        weights = [
            (column, np.ascontiguousarray(beside[: column + 1, column]))
            for column in np.flatnonzero(self.beside.any(axis=0)).tolist()
        ]
        alone = [column for column in range(columns) if not self.beside[:, column].any()]
        for at in steps:
            np.matmul(before, flat[at * columns - width : at * columns], out=sums)
            sums += constant
            row = q[at]
            row += sums
            if not weights:
                np.floor(row, out=row)
                continue
            for column in alone:
                np.floor(row[column], out=row[column])
            for column, each in weights:
                np.floor(np.dot(each, row[: column + 1], out=more), out=row[column])
