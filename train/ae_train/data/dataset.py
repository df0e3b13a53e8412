"""The rows to train on, checked; read in blocks, in memory or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Column, Dtype
from ae_runtime.errors import DataError
from ae_runtime.model.arrays import EXACT_INTEGERS, check_mask
from ae_runtime.tables.windows import Windows
from ae_train.data.form import Form, Kind

Array = NDArray[Any]
MIN_ROWS = 10
# Bytes: a larger array stays where it is, and is read in blocks.
IN_MEMORY_BYTES = 1 << 29
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Split:
    """Row numbers of each part; validation is train where the recipe says so."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Rows ready for training, checked.

    parts: what goes into the encoder: one array (N, ...), or (N, P) numbers and (N, Q) int32
    codes of a mixed table. raw: the arrays behind the parts; for windows, the series. columns:
    those of a table, numbers first. channels, stride: for series cut into windows, the names of
    their columns and the time steps from one window to the next; time, step: the column of their
    times, and the usual difference from row to row. note: lines on how the files were read. split:
    fixed by the caller; None: made by the recipe. groups: (N,) values of the column split_by.
    """

    parts: tuple[Any, ...]
    form: Form
    raw: tuple[Any, ...]
    columns: list[Column] | None = None
    channels: list[str] | None = None
    stride: int | None = None
    time: str | None = None
    step: float | None = None
    note: str = ""
    split: Split | None = None
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, rows: NDArray[np.int64] | slice) -> tuple[Array, ...]:
        """The parts of these rows, in the dtypes that the graphs take."""
        dtypes = [self.form.dtype, "int32"]
        return tuple(
            np.ascontiguousarray(_read(part, rows), np.dtype(dtype))
            for part, dtype in zip(self.parts, dtypes, strict=False)
        )

    @property
    def integer(self) -> NDArray[np.bool_]:
        """Whether numbers are integers: (P,) for a table, (1,) for all others."""
        if self.columns is None:
            return np.array([self.form.kind == "image"])
        return np.array([c.integer for c in self.columns if not c.levels], bool)

    @property
    def bytes_scaled(self) -> int:
        """Size of all rows in scaled space."""
        return len(self) * self.form.numbers * 4


def _read(part: Any, rows: NDArray[np.int64] | slice) -> Array:
    """part[rows], by slices where that is all that the part understands."""
    if isinstance(rows, slice) or isinstance(part, np.ndarray | Windows):
        return np.asarray(part[rows])
    if not len(rows):
        return np.asarray(part[0:0])
    low, high = int(rows.min()), int(rows.max()) + 1
    if high - low <= 4 * len(rows):
        return np.asarray(part[low:high])[rows - low]
    return np.concatenate([np.asarray(part[row : row + 1]) for row in rows.tolist()])


def blocks_of(array: Any) -> Iterator[tuple[int, Array]]:
    """The array in consecutive blocks of some megabytes: (first row, block)."""
    row_bytes = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step])


def make_dataset(
    x: Any,
    kind: Kind | None = None,
    columns: Sequence[Column] | None = None,
    note: str = "",
    split: Split | None = None,
    groups: Array | None = None,
    codes: Array | None = None,
) -> Dataset:
    """A checked dataset of rows x.

    x: (N, D), (N, H, W[, C]) uint8 or (N, T, C), an array or anything with shape, dtype and
    slicing; Windows of series. codes: (N, Q) int32 of a mixed table's categorical columns, which
    `columns` describes after those of x. Raises DataError for a shape or dtype that no kind
    takes, too few rows, infinities, and rows that are all the same.
    """
    x = _array(x)
    if x.dtype.kind not in "biuf":
        raise DataError(f"the data hold {x.dtype} values; only numbers are taken")
    kind = _kind(x, kind)
    if len(x) < MIN_ROWS:
        rows = "row" if len(x) == 1 else "rows"
        raise DataError(f"{len(x)} {rows} found; training needs at least {MIN_ROWS}")
    if 0 in x.shape and codes is None:
        raise DataError(f"the data have shape {x.shape}; there is nothing to learn from")
    if kind == "table" and columns is None:
        integer = x.dtype.kind in "biu"
        columns = [Column(name=None, integer=integer) for _ in range(x.shape[1])]
    levels = tuple(len(c.levels) for c in columns or () if c.levels)
    form = Form(kind, _graph_dtype(x.dtype), tuple(x.shape[1:]), levels)
    parts = (x,) if codes is None else (x, codes)
    raw = tuple(x.series) if isinstance(x, Windows) else parts
    if not _survey(raw, columns):
        raise DataError("all rows are the same; there is nothing to learn from")
    return Dataset(
        parts,
        form,
        raw,
        columns=list(columns) if columns is not None else None,
        note=note,
        split=split,
        groups=groups,
    )


def _array(x: Any) -> Any:
    """X as an array, or x itself where it is large and can be sliced."""
    check_mask(x, "x")
    if isinstance(x, np.ndarray | Windows):
        return x
    sliceable = all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__", "__len__"))
    if sliceable and isinstance(x.dtype, np.dtype):
        large = int(np.prod(x.shape)) * x.dtype.itemsize > IN_MEMORY_BYTES
        return x if large else np.asarray(x[:])
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"the data are not one array: {error}") from None


def _kind(x: Any, wanted: Kind | None) -> Kind:
    axes = len(x.shape)
    image = x.dtype == np.uint8 and axes in (3, 4)
    kind: Kind = wanted or ("series" if isinstance(x, Windows) else "image" if image else "table")
    shape = tuple(x.shape)
    if kind == "image" and not image:
        raise DataError(
            f"images are uint8 arrays (N, H, W) or (N, H, W, C), the data are {x.dtype} {shape}; "
            "scale them to 0..255 and bring uint8, or reshape them to a table (N, D)"
        )
    if kind == "series" and axes != 3:
        raise DataError(f"windows of series are arrays (N, T, C), the data are {x.dtype} {shape}")
    if kind == "table" and axes != 2:
        raise DataError(
            f"a table is an array (N, D), the data are {x.dtype} {shape}; reshape them to 2 axes, "
            "bring images as uint8, or say kind = 'series' for windows (N, T, C)"
        )
    return kind


def _graph_dtype(dtype: np.dtype[Any]) -> Dtype:
    """uint8, float32 or float64, whichever holds all values of a dtype without loss."""
    if dtype in (np.bool_, np.uint8):
        return "uint8"
    return "float32" if dtype.kind == "f" and dtype.itemsize <= 4 else "float64"


def _survey(raw: tuple[Any, ...], columns: Sequence[Column] | None) -> bool:
    """Whether anything varies. Raises DataError for infinities and integers that lose digits."""
    varies = False
    for array in raw:
        low = high = None
        for start, block in blocks_of(array):
            _check_finite(block, start, columns)
            if not block.size:
                continue
            flat = block.reshape(len(block), -1)
            least, most = np.fmin.reduce(flat, axis=0), np.fmax.reduce(flat, axis=0)
            low = least if low is None else np.fmin(low, least)
            high = most if high is None else np.fmax(high, most)
        if low is None or high is None:
            continue
        _check_exact(low, high)
        varies |= bool(np.any((low != high) & ~(low != low)))
    return varies


def first_infinity(array: Array) -> tuple[int, int] | None:
    """(row, column) of the first infinite value, both from 0; images count columns flat."""
    if array.dtype.kind != "f" or not array.size:
        return None
    flat = array.reshape(len(array), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = ~np.isfinite(flat.sum(axis=1, dtype=np.float64))
    for row in np.flatnonzero(suspect):
        columns = np.flatnonzero(np.isinf(flat[row]))
        if len(columns):
            return int(row), int(columns[0])
    return None


def _check_finite(block: Array, first: int, columns: Sequence[Column] | None) -> None:
    infinite = first_infinity(block)
    if infinite:
        row, at = infinite
        name = repr(columns[at].name) if columns and columns[at].name else at + 1
        raise DataError(
            f"row {first + row + 1}, column {name} is infinite; "
            "correct it, or write NaN for missing"
        )


def _check_exact(low: Array, high: Array) -> None:
    limit = EXACT_INTEGERS["float64"]
    if low.dtype.kind in "iu" and (int(high.max()) > limit or int(low.min()) < -limit):
        raise DataError(f"integers beyond {limit} lose digits as float64; subtract an offset")


def fingerprint(data: Dataset) -> str:
    """Text that differs where the data do: types, shapes, and SHA-256 of all values."""
    digest = hashlib.sha256()
    if isinstance(data.parts[0], Windows):  # times say where these lie, and are no part of the rows
        digest.update(data.parts[0].starts.data)
    for array in data.raw:
        digest.update(f"{array.dtype} {tuple(array.shape)}".encode())
        for _, block in blocks_of(array):
            digest.update(np.ascontiguousarray(block).data)
    return f"{data.form.dtype} {tuple(data.parts[0].shape)} {digest.hexdigest()}"
