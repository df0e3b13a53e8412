"""Header of an archive: the fields that hold for all its rows."""

from __future__ import annotations

import zlib
from math import prod
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ae_archive.frames import MAX_HEAD
from ae_runtime.errors import ArchiveCorrupt

Dtype = Literal[
    "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"
]
DTYPES = get_args(Dtype)
# Dtypes of rows that are stored in another one, which holds all their values.
RowDtype = Literal["float16", "bool"]
STORED_AS: dict[RowDtype, Dtype] = {"float16": "float32", "bool": "uint8"}
MAX_VALUES = 1 << 23  # values of a chunk
MAX_LATENT_DIM = 1 << 12
MAX_BOUND = 1e300
PROBED, PROBED_VALUES = 8, 4  # samples of a probe, and values of each
# Text that headers repeat, the likeliest last: most of a small one. Part of the format.
DICTIONARY = (
    b'"int64","uint64","int32","uint32","int16","uint16","int8","inside":true"names":["levels":['
    b'null,null,"window":"rmse":[0.0,1.0,"share":0.25},"x_hat":[0.,-0."probe":{"spread":"margin":['
    b'0.0000"middle":[0,0,-1,"steps":[-10,"dtype":"float32","sha256":""},"model":{"id":""uint8"'
    b'"max_error":[0.0,1.0]{"dtype":"float64","row_shape":[],"chunk_rows":'
)
Size = Annotated[int, Meta(ge=0, le=MAX_VALUES)]
Real = Annotated[float, Meta(ge=-MAX_BOUND, le=MAX_BOUND)]


class Probe(msgspec.Struct, frozen=True):
    """Values that a reader's arithmetic must give before it may use the decoder.

    spread: of the samples' latents, in steps; see Decoder.probed. x_hat: some values of each.
    share: of the decoder error, by which a reader may be off.
    """

    spread: Annotated[int, Meta(ge=1, le=1 << 20)]
    x_hat: list[Real]
    share: Annotated[float, Meta(ge=0, le=1)]


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """Decoder that chunks of latents need.

    id: model_id of its bundle. sha256: the first half of decoder.onnx's, in 32 letters. inside:
    whether that is in the archive.
    window: rows of one sample, cut one after another; null where a row is a sample.
    dtype: of the decoder's output. steps: (K,), n for a step of (4 + n mod 4) / 4 * 2^floor(n / 4),
    four an octave. middle: (K,), in steps. A latent is q * (factor * step) + middle * step, with
    the factor of a chunk. decoder_error: how far the decoder may be off on another machine,
    absolute, one number or one for each value of a row.
    """

    id: str
    sha256: Annotated[str, Meta(min_length=32, max_length=32)]
    dtype: Literal["uint8", "float32", "float64"]
    steps: Annotated[
        list[Annotated[int, Meta(ge=-400, le=400)]],
        Meta(min_length=1, max_length=MAX_LATENT_DIM),
    ]
    middle: list[Annotated[int, Meta(ge=-(1 << 40), le=1 << 40)]]
    decoder_error: list[Annotated[float, Meta(ge=0, le=MAX_BOUND)]] = msgspec.field(name="margin")
    probe: Probe
    window: Annotated[int, Meta(ge=1, le=MAX_VALUES)] | None = None
    inside: bool = False

    @property
    def step(self) -> NDArray[np.float64]:
        """Steps of the latents, (K,), exact."""
        n = np.array(self.steps)
        return np.asarray(np.ldexp((4 + n % 4) / 4, n // 4))


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fields of the header's JSON.

    dtype: of the values, little-endian. row_shape: without the axis of rows. chunk_rows: rows of
    every chunk but the last. max_error: absolute, in the values' own units: one number, or one for
    each value of a row in C order, 0 for what comes back as it was; null: all does.
    rmse: in its place, one number or more by which errors are divided before their root mean
    square over a chunk, which is at most 1. names: of the columns of a table. levels: the
    categories of each column, which holds their places; null for a column of numbers. row_dtype:
    the dtype that rows had and come back in, where dtype only stores them; a reader that does not
    know it gives them as stored.
    """

    dtype: Dtype
    row_shape: Annotated[list[Size], Meta(max_length=8)]
    chunk_rows: Annotated[int, Meta(ge=1, le=MAX_VALUES)]
    max_error: list[Annotated[float, Meta(ge=0, le=MAX_BOUND)]] | None = None
    rmse: list[Annotated[float, Meta(ge=0, le=MAX_BOUND)]] | None = None
    names: list[str] | None = None
    levels: list[list[str] | None] | None = None
    model: Model | None = None
    row_dtype: RowDtype | None = msgspec.field(name="given", default=None)

    @property
    def numpy(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def rows_dtype(self) -> np.dtype[Any]:
        """Dtype that rows come back in."""
        return self.numpy if self.row_dtype is None else np.dtype(self.row_dtype)

    @property
    def columns(self) -> int:
        """Values of a row."""
        return prod(self.row_shape)

    @property
    def limits(self) -> NDArray[np.float64]:
        """max_error or rmse of each value of a row, (D,); empty where every bit is kept."""
        limits = self.rmse if self.max_error is None else self.max_error
        if limits is None:
            return np.empty(0)
        return np.broadcast_to(np.array(limits, np.float64), (self.columns,)).copy()


def dump(header: Header) -> bytes:
    """Bytes of the header: JSON, compressed by zlib with DICTIONARY."""
    coder = zlib.compressobj(9, zdict=DICTIONARY)
    return coder.compress(msgspec.json.encode(header)) + coder.flush()


def parse(raw: bytes) -> Header:
    """Header of the bytes of `dump`.

    Raises ArchiveCorrupt for other bytes, and for more than a reader has to hold.
    """
    decoder = zlib.decompressobj(zdict=DICTIONARY)
    try:
        text = decoder.decompress(raw, MAX_HEAD)
        header = msgspec.json.decode(text, type=Header)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveCorrupt(f"the header cannot be read ({error!s:.200})") from None
    columns = header.columns
    if header.row_dtype is not None and STORED_AS[header.row_dtype] != header.dtype:
        raise ArchiveCorrupt(f"the header stores {header.row_dtype} as {header.dtype}")
    if columns * header.chunk_rows > MAX_VALUES or columns < 1:
        raise ArchiveCorrupt(
            f"the header asks for chunks of {header.chunk_rows:,} rows of {columns:,} values; "
            f"{MAX_VALUES:,} values are the most"
        )
    if header.max_error is not None and header.rmse is not None:
        raise ArchiveCorrupt("the header has a max_error and an rmse")
    for limits in (header.max_error, header.rmse):
        if limits is not None and len(limits) not in (1, columns):
            raise ArchiveCorrupt("the header's error bounds do not fit its columns")
    for per_column in (header.names, header.levels):
        if per_column is not None and len(per_column) != columns:
            raise ArchiveCorrupt("the header's names do not fit its columns")
    if header.model is not None:
        _check_model(header.model, columns)
    return header


def _check_model(model: Model, columns: int) -> None:
    size = columns * (model.window or 1)
    if (
        len(model.middle) != len(model.steps)
        or len(model.decoder_error) not in (1, columns)
        or size > MAX_VALUES
        or len(model.probe.x_hat) not in (0, PROBED * PROBED_VALUES)
    ):
        raise ArchiveCorrupt("the header's model does not fit its rows")
