"""Frames of pandas as columns by name, and columns back as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column
from ae_runtime.extras import need
from ae_runtime.tables.categories import BOOLEANS

Array = NDArray[Any]


def is_frame(x: Any) -> bool:
    """Whether x is a frame of pandas, or is used like one."""
    return hasattr(x, "iloc") and hasattr(x, "columns")


def is_polars(x: Any) -> bool:
    """Whether x is a frame of polars."""
    return type(x).__module__.startswith("polars.") and hasattr(x, "columns")


def has_words(x: Any) -> bool:
    """Whether a frame of pandas or polars has columns of anything but numbers."""
    kinds = getattr(x, "dtypes", None) if is_frame(x) or hasattr(x, "__arrow_c_stream__") else None
    return kinds is not None and any(getattr(kind, "kind", "O") not in "iuf" for kind in kinds)


def columns_of(frame: Any) -> list[tuple[str, Any]]:
    """(name, column) of each column of a frame of pandas, in its order, without its index.

    Its Arrow stream is not used: that needs pyarrow, and holds the index as a column.
    """
    return [(str(name), frame.iloc[:, at]) for at, name in enumerate(frame.columns)]


def restored(table: Mapping[str, Array], columns: Sequence[Column]) -> dict[str, Array]:
    """Columns that a model gave back as pandas holds them: dates as such, booleans as bool.

    table: as table.from_blocks gives it, in the order of `columns`.
    """
    restored = {}
    for (name, values), column in zip(table.items(), columns, strict=True):
        if column.type == "date":
            known = ~np.isnan(values)
            moments = np.full(len(values), np.datetime64("NaT"), "datetime64[us]")
            moments[known] = np.rint(values[known] * 1e6).astype(np.int64).view("datetime64[us]")
            values = moments
        elif column.levels and tuple(column.levels) == BOOLEANS[0]:
            truth = [None if text is None else text == BOOLEANS[0][1] for text in values]
            values = np.array(truth, object)
        restored[name] = values
    return restored


def frame_like(like: Any, columns: Mapping[str, Array]) -> Any:
    """Columns as a frame of the same library, with like's index where it has one.

    Where like is no frame, an array (N, D), which is one of objects for numbers and categories.
    """
    if is_frame(like):
        return need("pandas", "sklearn").DataFrame(dict(columns), index=like.index)
    if is_polars(like):
        # Lists: of an array of objects polars makes a column that only holds them.
        return type(like)({n: v.tolist() if v.dtype == object else v for n, v in columns.items()})
    return np.stack(list(columns.values()), axis=1)
