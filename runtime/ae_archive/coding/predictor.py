"""Linear predictor of integers, exact on every machine, and its residuals, which are stored.

Each column is predicted from the rows before and from columns to its left in the same row
(autoregressive and cross-channel), by integer weights over a power of two. All sums are of integers
below 2^53 in float64, where every order of addition gives the same bits.

Rows are restored one after another, so they are cut into segments that are restored side by side.
The first row of a segment is the difference from the first row of the one before, and the rows
until `order` the difference from the row before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding.blocks import cache_blocks
from ae_archive.coding.integers import Integers
from ae_archive.coding.interleaving import transpose
from ae_runtime.errors import ArchiveCorrupt

Floats = NDArray[np.float64]
LIMIT = 1 << 28  # of the numbers: 2^28 * 2^15 * 2^9 taps stays below 2^53
MAX_ORDER = 16
MAX_COLUMNS = 32  # columns that have weights of their own
_ABREAST = 32  # values of a row, or of several as one
_SEGMENT = 128  # rows of a segment for each of `order`: its first rows cost less than 1 % so


@dataclass(frozen=True)
class Predictor:
    """Weights for each of D columns.

    order: rows before that are used, 0..MAX_ORDER. before: (order * D, D) of those rows, the
    oldest first, column after column of what is predicted. beside: (D, D) of columns in the same
    row, above the diagonal. constant: (D,). All are integers, to be divided by 2^shift, shift (D,).
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
    def segment(self) -> int:
        """Rows of a segment."""
        return _SEGMENT * max(self.order, 1)

    def residuals(self, q: Integers) -> Integers:
        """Differences of q (R, D), |q| < LIMIT, from what is predicted."""
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
        for part in cache_blocks(-(-rows // abreast), abreast * columns):
            low, high = part.start * abreast, min(part.stop * abreast, rows)
            known = min(low, before * abreast)
            x = np.zeros((before + part.stop - part.start, abreast * columns))
            begin = before * abreast - known
            x.reshape(-1, columns)[begin : begin + known + high - low] = q[low - known : high]
            predicted = np.zeros((len(x) - before, abreast * columns))
            for at, each in enumerate(weights):
                predicted += x[at : at + len(predicted)] @ each
            predicted += constant
            predicted *= scale
            np.subtract(x[before:], np.floor(predicted, out=predicted), out=predicted)
            r[low:high] = predicted.reshape(-1, columns)[: high - low]
        first = np.arange(0, rows, self.segment)
        for at in range(1, self.order):
            start = first[first + at < rows] + at
            r[start] = q[start] - q[start - 1]
        r[first] = np.diff(q[first], axis=0, prepend=0)
        return r

    def _weights(self, abreast: int, before: int) -> Floats:
        """Weights where `abreast` rows are one, and `before` such rows are used, oldest first.

        (before + 1, abreast * D, abreast * D): rows of a matrix predict, columns are predicted.
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
        """Rows q (R, D) of residuals. Raises ArchiveCorrupt where these lead beyond LIMIT."""
        rows, columns = r.shape
        if not rows:
            return r
        full, rest = divmod(rows, self.segment)
        cut = full * self.segment
        # (steps, D, segments): each step is a few sums of what lies together.
        q = np.zeros((min(self.segment, rows), columns, full + (rest > 0)))
        if full:
            transpose(r[:cut].reshape(full, -1), q.reshape(-1, q.shape[2])[:, :full])
        if rest:
            q[:rest, :, full] = r[cut:]
        with np.errstate(over="ignore", invalid="ignore"):  # of hostile residuals: checked below
            np.cumsum(q[0], axis=1, out=q[0])
            for at in range(1, min(self.order, len(q))):
                q[at] += q[at - 1]
            self._restore_steps(q, range(max(self.order, 1), len(q)))
        # What follows the last row in its segment may be anything.
        for part in (q[:, :, :full], q[:rest, :, full:]):
            if not (np.abs(part) < LIMIT).all():  # NaN, too
                raise ArchiveCorrupt("residuals lead to numbers beyond 2^28")
        restored = np.empty((rows, columns), np.int64)
        if full:
            transpose(q.reshape(-1, q.shape[2])[:, :full], restored[:cut].reshape(full, -1))
        if rest:
            restored[cut:] = q[:rest, :, full]
        return restored

    def _restore_steps(self, q: Floats, steps: range) -> None:
        columns, segments = q.shape[1:]
        width = self.order * columns
        # Weights over their power of two: no sum loses a bit by that, nor by residuals beside it.
        before = np.ascontiguousarray((self.before * self._scale).T)
        constant = (self.constant * self._scale + 0.5)[:, None]
        flat = q.reshape(-1, segments)
        sums, more = np.empty((columns, segments)), np.empty(segments)
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
