"""The ways in which a coder may be given rows (N, D): as they lie, turned, and cut apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Layout(NamedTuple):
    """arrays: those that a coder packs one by one. join: the rows (N, D) of them."""

    name: str
    arrays: list[Array]
    join: Callable[[list[Array]], Array]


def layouts(x: Array, height: int | None) -> list[Layout]:
    """Of x (N, D), whose rows are images of `height` lines where that is given."""
    turned = x.T.shape
    found = [
        Layout("rows", [x], lambda arrays: arrays[0]),
        Layout("columns", [x.T], lambda arrays: arrays[0].T),
        Layout("each column", list(x.T), lambda arrays: np.stack(arrays, axis=1)),
        Layout(
            "column after column", [x.T.reshape(-1)], lambda arrays: arrays[0].reshape(turned).T
        ),
    ]
    if height is not None:
        images = x.reshape(len(x), height, -1)
        found.append(Layout("images", [images], lambda arrays: arrays[0].reshape(x.shape)))
    return found
