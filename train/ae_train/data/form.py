"""The shape and dtype of rows: all that a model must know of them before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from ae_runtime.bundle.manifest import Dtype

Kind = Literal["table", "image", "series"]


@dataclass(frozen=True)
class Form:
    """The shape of a row in data units and in scaled space.

    row_shape: (D,) of a table's numbers, (H, W) or (H, W, C) of an image, (T, C) of a series
    window. levels: categories of each categorical column of a mixed table; () for all else.
    """

    kind: Kind
    dtype: Dtype
    row_shape: tuple[int, ...]
    levels: tuple[int, ...] = ()

    @property
    def is_mixed(self) -> bool:
        return bool(self.levels)

    @property
    def scaled_shape(self) -> tuple[int, ...]:
        """Shape of a row s in scaled space: a mixed table's numbers, then one-hot categories."""
        return (self.row_shape[0] + sum(self.levels),) if self.levels else self.row_shape

    @property
    def numbers(self) -> int:
        """Numbers in a row in scaled space."""
        return prod(self.scaled_shape)
