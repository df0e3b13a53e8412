"""An archive opened: any rows of it, or all of them, one chunk decoded at a time."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive import frames, header, modes
from ae_archive.coding.integers import unpack
from ae_archive.error_bound import error_bound_of
from ae_archive.frames import Frame
from ae_runtime.errors import ArchiveCorrupt, ArchiveError, BundleError, SourceNotFound

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.decoder import Decoder
    from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
OnError = Literal["stop", "skip"]
MAX_MODEL = 1 << 28  # bytes of a decoder


class Chunk(NamedTuple):
    """One chunk of an archive's file. mode: how it is stored, by name."""

    number: int
    first: int
    rows: int
    mode: str
    bytes: int


class Bad(NamedTuple):
    """Rows that cannot be decoded: from `first` on, `rows` of them, and why."""

    first: int
    rows: int
    why: str


def decompress(
    source: str | os.PathLike[str], model: Autoencoder | None = None, *, rows: slice | None = None
) -> Array:
    """Rows (N, ...) of the archive `source`, the inverse of `compress`.

    model: of the bundle that the archive refers to, where chunks need it. rows: those alone, as a
    slice of an array; None for all. All of them are held at once: `Archive` gives one chunk after
    another. Raises SourceNotFound, ArchiveError, ArchiveCorrupt, MissingExtra.
    """
    with Archive(source, model) as archive:
        return archive[slice(None) if rows is None else rows]


class Archive:
    """Rows of an archive file; safe from many threads.

    shape: (N, ...). dtype. max_error: the error bound, an array of a row's shape in the values'
    units, or None. rmse: likewise, the target RMSE of a chunk.
    names, levels: of a table's columns, or None. model_id: of the bundle whose latents chunks may
    hold, or None; has_model: whether its decoder is inside; decoder_error: how far that may be off
    on another machine, an array of a row's shape, or None. chunks: each can be decoded alone.
    notes: a line for each damage; such an archive still gives all rows whose chunks are complete.
    """

    def __init__(self, path: str | os.PathLike[str], model: Autoencoder | None = None) -> None:
        """model: of the bundle that the archive refers to, where chunks need it.

        Raises SourceNotFound, ArchiveError, and ArchiveCorrupt where no header can be read.
        """
        self.path = Path(path)
        self._model = model
        self._decoder: Decoder | None = None
        if not self.path.is_file():
            raise SourceNotFound(f"{self.path} does not exist")
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._file = self.path.open("rb")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        minor = frames.check_start(self._file, str(self.path))
        head = frames.read_frame(self._file, frames.START, size)
        if (
            head is None
            or (head.marker, head.number) != (frames.HEAD, minor)
            or head.bytes > frames.MAX_HEAD
        ):
            raise ArchiveCorrupt(f"{self.path} has no whole header; fetch it again")
        try:
            self._header = header.parse(frames.read_payload(self._file, head))
        except ArchiveCorrupt as error:
            raise ArchiveCorrupt(f"{self.path}: {error}") from None
        self._set_fields()
        self._inside = self._model_frame(size, head.end)
        self.has_model = self._inside is not None
        indexed = self._indexed(size, head.end)
        if indexed is None:
            self.notes.append("the index is lost; chunks were found by looking for them")
            indexed = self._searched(size, head.end)
        self._frames, rows = indexed
        expected = 0
        for frame in self._frames:
            self._note_lost(expected, frame.first)
            expected = frame.first + frame.rows
        self._note_lost(expected, rows)
        self.shape = (max(rows, expected), *self._header.row_shape)
        self.chunks = [
            Chunk(f.number, f.first, f.rows, modes.NAMES.get(f.mode, "unknown"), f.bytes)
            for f in self._frames
        ]

    def _set_fields(self) -> None:
        """The attributes that the header has."""
        head = self._header
        self._bound = error_bound_of(head)
        self.dtype, self.names, self.levels = head.rows_dtype, head.names, head.levels
        limits = head.limits.reshape(head.row_shape) if len(head.limits) else None
        self.max_error = None if self._bound.is_rmse else limits
        self.rmse = limits if self._bound.is_rmse else None
        self.model_id = None if head.model is None else head.model.id
        self.decoder_error = None
        if head.model is not None:
            off = np.broadcast_to(np.array(head.model.decoder_error), (head.columns,))
            self.decoder_error = off.reshape(head.row_shape)

    def _note_lost(self, low: int, high: int) -> None:
        if low < high:
            self.notes.append(f"rows {low + 1:,} to {high:,} are lost")

    def _model_frame(self, size: int, begin: int) -> Frame | None:
        """Frame of the decoder inside, which is read when it is needed; None without one."""
        if self._header.model is None or not self._header.model.inside:
            return None
        frame = frames.read_frame(self._file, begin, size)
        if frame is None or frame.marker != frames.MODEL:
            self.notes.append("the model inside is lost; give its bundle")
            return None
        return frame

    def _indexed(self, size: int, begin: int) -> tuple[list[Frame], int] | None:
        """Frames of chunks and number of rows by the index; None where any of it is damaged."""
        place = frames.index_place(self._file, size)
        index = None if place is None else frames.read_frame(self._file, place, size)
        if index is None or index.marker != frames.INDEX:
            return None
        # Each chunk takes a frame at least, so no index makes a reader hold more than the file.
        if index.number > (size - begin) // frames.FRAME_BYTES:
            return None
        try:
            steps = unpack(frames.read_payload(self._file, index), index.number)
        except ArchiveCorrupt:
            return None
        chunks: list[Frame] = []
        rows = 0
        for place in np.cumsum(steps).tolist():
            frame = frames.read_frame(self._file, place, size)
            if frame is None or not self._is_chunk(frame) or frame.first != rows:
                return None
            if frame.at < begin:
                return None
            chunks.append(frame)
            rows += frame.rows
        return (chunks, rows) if rows == index.first else None

    def _searched(self, size: int, begin: int) -> tuple[list[Frame], int]:
        """Frames of chunks and number of rows, by searching the file for them."""
        chunks: list[Frame] = []
        rows, chunk_rows = 0, self._header.chunk_rows
        for frame in frames.scan(self._file, begin, size):
            in_place = frame.first == frame.number * chunk_rows
            if self._is_chunk(frame) and in_place and frame.first >= rows:
                chunks.append(frame)
                rows = frame.first + frame.rows
            elif frame.marker == frames.INDEX:  # which knows of rows after the last complete chunk
                rows = max(rows, min(frame.first, frame.number * chunk_rows))
        return chunks, rows

    def _is_chunk(self, frame: Frame) -> bool:
        return frame.marker == frames.CHUNK and 1 <= frame.rows <= self._header.chunk_rows

    def __len__(self) -> int:
        return self.shape[0]

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._decoder is not None:
            self._decoder.close()

    def chunk(self, at: int) -> Array:
        """Rows (R, ...) of chunks[at]. Raises ArchiveCorrupt, which names the rows."""
        frame = self._frames[at]
        shape = frame.rows, self._header.columns
        try:
            if frame.bytes > frame.rows * shape[1] * self._header.numpy.itemsize:
                raise ArchiveCorrupt("it is longer than its rows are")
            with self._lock:
                payload = frames.read_payload(self._file, frame)
                decoder = self._open_decoder() if frame.mode == modes.LATENTS else None
            x = modes.decode(frame.mode, payload, shape, self._bound, decoder)
        except (ArchiveError, BundleError) as error:
            where = f"{self.path}, rows {frame.first + 1:,} to {frame.first + frame.rows:,}"
            if isinstance(error, ArchiveError) and not isinstance(error, ArchiveCorrupt):
                raise ArchiveError(f"{where}: {error}") from None
            raise ArchiveCorrupt(
                f"{where}: {error}; fetch it again, or skip what is broken"
            ) from None
        rows = x.reshape(frame.rows, *self._header.row_shape)
        return rows.astype(self.dtype, copy=False)

    def _open_decoder(self) -> Decoder | None:
        """Decoder of the bundle that was passed, or the one inside."""
        model = self._header.model
        if self._decoder is None and model is not None:
            from ae_archive.model.decoder import Decoder

            if self._model is not None:
                graph = self._model.bundle.files["decoder.onnx"]
            elif self._inside is not None:
                graph = _inflated(frames.read_payload(self._file, self._inside))
            elif model.inside:
                raise ArchiveCorrupt("the model inside is lost")
            else:
                raise ArchiveError(
                    f"they are latents of the model {model.id[:12]}; give its bundle"
                )
            self._decoder = Decoder(model, graph, tuple(self._header.row_shape))
        return self._decoder

    def __getitem__(self, rows: slice | int) -> Array:
        """Rows as of an array: archive[5], archive[1000:2000]; decodes the chunks they lie in.

        Raises ArchiveCorrupt where one of the rows cannot be decoded, IndexError as arrays do.
        """
        if not isinstance(rows, slice):
            at = range(len(self))[rows]
            row: Array = self[at : at + 1][0]
            return row
        wanted = range(len(self))[rows]
        ends = sorted([wanted[0], wanted[-1]]) if wanted else [0, -1]
        low, high = ends[0], ends[1] + 1
        parts = [
            (at, max(low, frame.first), min(high, frame.first + frame.rows))
            for at, frame in enumerate(self._frames)
            if frame.first < high and low < frame.first + frame.rows
        ]
        # Before memory is taken: a damaged archive may speak of rows without end.
        if sum(end - begin for _, begin, end in parts) != high - low:
            raise ArchiveCorrupt(f"{self.path}: of rows {low + 1:,} to {high:,} some are lost")
        x = np.empty((high - low, *self.shape[1:]), self.dtype)
        for at, begin, end in parts:
            first = self._frames[at].first
            x[begin - low : end - low] = self.chunk(at)[begin - first : end - first]
        return x[:: wanted.step]

    def blocks(
        self, on_error: OnError = "stop", bad: list[Bad] | None = None, rows: slice | None = None
    ) -> Iterator[tuple[int, Array]]:
        """(first row, rows) of one chunk after another.

        on_error: "stop" raises ArchiveCorrupt at rows that cannot be decoded, "skip" leaves them
        out and appends them to `bad`. rows: those alone, a slice without a step; None for all.
        """
        low, high, _ = (rows or slice(None)).indices(len(self))
        lost = [] if bad is None else bad

        def lose(begin: int, end: int, why: str) -> None:
            if begin >= end:
                return
            if on_error == "stop":
                raise ArchiveCorrupt(why)
            lost.append(Bad(begin, end - begin, why))

        def lose_gap(begin: int, end: int) -> None:
            lose(begin, end, f"{self.path}, rows {begin + 1:,} to {end:,}: their chunks are lost")

        expected = low
        for at, frame in enumerate(self._frames):
            begin, end = max(frame.first, low), min(frame.first + frame.rows, high)
            if begin >= end:
                continue
            lose_gap(expected, begin)
            expected = end
            try:
                x = self.chunk(at)
            except ArchiveCorrupt as error:
                lose(begin, end, str(error))
                continue
            yield begin, x[begin - frame.first : end - frame.first]
        lose_gap(expected, high)


def _inflated(raw: bytes) -> bytes:
    """decoder.onnx of the frame MODL. Raises ArchiveCorrupt."""
    decoder = zlib.decompressobj()
    try:
        graph = decoder.decompress(raw, MAX_MODEL)
    except zlib.error as error:
        raise ArchiveCorrupt(f"the model inside cannot be read ({error!s:.80})") from None
    if not decoder.eof:
        raise ArchiveCorrupt(f"the model inside is cut, or longer than {MAX_MODEL:,} bytes")
    return graph
