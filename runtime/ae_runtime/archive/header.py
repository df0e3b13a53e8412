"""What an archive says of all its rows, before the first of them."""

from __future__ import annotations

import zlib
from math import prod
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ae_runtime.archive.frames import MAX_HEAD
from ae_runtime.errors import ArchiveCorrupt

Dtype = Literal[
    "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"
]
DTYPES = get_args(Dtype)
MAX_VALUES = 1 << 23  # of a chunk
Size = Annotated[int, Meta(ge=0, le=MAX_VALUES)]


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of the header's JSON.

    dtype: of the values, little-endian. row_shape: without the axis of rows. chunk_rows: rows of
    every chunk but the last. max_error: absolute, in the values' own units: one number, or one for
    each value of a row in C order; null where all values come back as they were. names: of the
    columns of a table.
    """

    dtype: Dtype
    row_shape: Annotated[list[Size], Meta(max_length=8)]
    chunk_rows: Annotated[int, Meta(ge=1, le=MAX_VALUES)]
    max_error: list[Annotated[float, Meta(ge=0)]] | None = None
    names: list[str] | None = None

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype of the values."""
        found: np.dtype[Any] = np.dtype(self.dtype).newbyteorder("<")
        return found

    @property
    def columns(self) -> int:
        """Values of a row."""
        return prod(self.row_shape)

    @property
    def bound(self) -> NDArray[np.float64]:
        """(D,), or empty where all values come back as they were."""
        if self.max_error is None:
            return np.empty(0)
        return np.broadcast_to(np.array(self.max_error, np.float64), (self.columns,)).copy()


def dump(header: Header) -> bytes:
    """The header as JSON, compressed by zlib."""
    return zlib.compress(msgspec.json.encode(header), 9)


def parse(raw: bytes) -> Header:
    """Raises ArchiveCorrupt for what is no header, or more than a reader has to hold."""
    decoder = zlib.decompressobj()
    try:
        text = decoder.decompress(raw, MAX_HEAD)
        header = msgspec.json.decode(text, type=Header)
    except (zlib.error, msgspec.DecodeError, RecursionError) as error:
        raise ArchiveCorrupt(f"the header cannot be read ({error!s:.200})") from None
    columns = header.columns
    if columns * header.chunk_rows > MAX_VALUES or columns < 1:
        raise ArchiveCorrupt(
            f"the header asks for chunks of {header.chunk_rows:,} rows of {columns:,} values; "
            f"{MAX_VALUES:,} values are the most"
        )
    if header.max_error is not None and (
        len(header.max_error) not in (1, columns) or not np.isfinite(header.max_error).all()
    ):
        raise ArchiveCorrupt("the header's error bounds do not fit its columns")
    if header.names is not None and len(header.names) != columns:
        raise ArchiveCorrupt("the header's names do not fit its columns")
    return header
