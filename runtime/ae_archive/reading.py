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
from ae_archive.frames import Frame
from ae_archive.promise import promise_of
from ae_runtime.errors import ArchiveCorrupt, ArchiveError, BundleError, SourceNotFound

if TYPE_CHECKING:  # which need onnxruntime: most archives do not
    from ae_archive.model.decoder import Decoder
    from ae_runtime.autoencoder import Autoencoder

Array = NDArray[Any]
OnError = Literal["stop", "skip"]
MAX_MODEL = 1 << 28  # bytes of a decoder


class Chunk(NamedTuple):
    """One chunk as it lies in the file. mode: how it is stored, by name."""

    number: int
    first: int
    rows: int
    mode: str
    bytes: int


class Bad(NamedTuple):
    """Rows that cannot be given: from `first` on, `rows` of them, and why."""

    first: int
    rows: int
    why: str


class Archive:
    """The rows of an archive file; safe from many threads.

    shape: (N, ...). dtype. max_error: the bound that was promised, an array of a row's shape in
    the values' units, or None. rmse: likewise, what the root mean square over a chunk was held to.
    names, levels: of a table's columns, or None. model_id: of the bundle whose latents chunks may
    hold, or None; has_model: whether its decoder is inside. chunks: of which any can be decoded
    alone. notes: what was found wrong, a line each; such an archive still gives all rows whose
    chunks are whole.
    """

    def __init__(self, path: str | os.PathLike[str], model: Autoencoder | None = None) -> None:
        """model: of the bundle that the archive refers to, where chunks need it.

        Raises SourceNotFound, ArchiveError, and ArchiveCorrupt where no header can be read.
        """
        self.path = Path(path)
        self._given = model
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
        self._promise = promise_of(self._header)
        self._inside = self._model_frame(size, head.end)
        found = self._indexed(size, head.end)
        if found is None:
            self.notes.append("the index is lost; chunks were found by looking for them")
            found = self._searched(size, head.end)
        self._frames, rows = found
        expected = 0
        for frame in self._frames:
            if frame.first > expected:
                self.notes.append(f"rows {expected + 1:,} to {frame.first:,} are lost")
            expected = frame.first + frame.rows
        if rows > expected:
            self.notes.append(f"rows {expected + 1:,} to {rows:,} are lost")
        self.chunks = [
            Chunk(f.number, f.first, f.rows, modes.NAMES.get(f.mode, "unknown"), f.bytes)
            for f in self._frames
        ]
        self.dtype = self._header.rows_dtype
        self.shape = (max(rows, expected), *self._header.row_shape)
        self.names = self._header.names
        self.levels = self._header.levels
        bound = (
            self._header.bound.reshape(self._header.row_shape) if len(self._header.bound) else None
        )
        self.max_error = None if self._promise.mean else bound
        self.rmse = bound if self._promise.mean else None
        model = self._header.model
        self.model_id = None if model is None else model.id
        self.has_model = self._inside is not None

    def _model_frame(self, size: int, begin: int) -> Frame | None:
        """Of the model inside, which is read when it is needed."""
        if self._header.model is None or not self._header.model.inside:
            return None
        frame = frames.read_frame(self._file, begin, size)
        if frame is None or frame.marker != frames.MODEL:
            self.notes.append("the model inside is lost; give its bundle")
            return None
        return frame

    def _indexed(self, size: int, begin: int) -> tuple[list[Frame], int] | None:
        """(chunks, rows) by the index; None where it, or anything it leads to, is not whole."""
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
        found: list[Frame] = []
        rows = 0
        for place in np.cumsum(steps).tolist():
            frame = frames.read_frame(self._file, place, size)
            if frame is None or not self._follows(frame, rows) or frame.at < begin:
                return None
            found.append(frame)
            rows += frame.rows
        return (found, rows) if rows == index.first else None

    def _searched(self, size: int, begin: int) -> tuple[list[Frame], int]:
        found: list[Frame] = []
        rows = 0
        for frame in frames.scan(self._file, begin, size):
            if frame.marker == frames.CHUNK and self._follows(frame, None) and frame.first >= rows:
                found.append(frame)
                rows = frame.first + frame.rows
            elif frame.marker == frames.INDEX:  # which knows of rows after the last whole chunk
                rows = max(rows, min(frame.first, frame.number * self._header.chunk_rows))
        return found, rows

    def _follows(self, frame: Frame, rows: int | None) -> bool:
        """Whether a frame is a chunk of this archive, which begins at `rows` if that is known."""
        head = self._header
        whole = frame.first == frame.number * head.chunk_rows if rows is None else True
        return (
            frame.marker == frames.CHUNK
            and 1 <= frame.rows <= head.chunk_rows
            and whole
            and (rows is None or frame.first == rows)
        )

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
        """The rows (R, ...) of chunks[at]. Raises ArchiveCorrupt, which names the rows."""
        frame = self._frames[at]
        columns = self._header.columns
        shape = frame.rows, columns
        try:
            if frame.bytes > frame.rows * columns * self._header.numpy.itemsize:
                raise ArchiveCorrupt("it is longer than its rows are")
            with self._lock:
                payload = frames.read_payload(self._file, frame)
                decoder = self._open_decoder() if frame.mode == modes.LATENTS else None
            x = modes.decode(frame.mode, payload, shape, self._promise, decoder)
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
        """The one that is inside, or that of the bundle that was given."""
        model = self._header.model
        if self._decoder is None and model is not None:
            from ae_archive.model.decoder import Decoder

            if self._given is not None:
                graph = self._given.bundle.files["decoder.onnx"]
            elif self._inside is not None:
                raw = frames.read_payload(self._file, self._inside)
                graph = _inflated(raw)
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

        Raises ArchiveCorrupt where one of the rows cannot be given, IndexError as arrays do.
        """
        if not isinstance(rows, slice):
            at = range(len(self))[rows]
            found: Array = self[at : at + 1][0]
            return found
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
        self, on_error: OnError = "stop", bad: list[Bad] | None = None
    ) -> Iterator[tuple[int, Array]]:
        """(first row, rows) of one chunk after another.

        on_error: "stop" raises ArchiveCorrupt at rows that cannot be given, "skip" leaves them out
        and appends them to `bad`.
        """
        lost = [] if bad is None else bad
        expected = 0
        for at, frame in enumerate(self._frames):
            self._gap(expected, frame.first, on_error, lost)
            expected = frame.first + frame.rows
            try:
                x = self.chunk(at)
            except ArchiveCorrupt as error:
                if on_error == "stop":
                    raise
                lost.append(Bad(frame.first, frame.rows, str(error)))
                continue
            yield frame.first, x
        self._gap(expected, len(self), on_error, lost)

    def _gap(self, low: int, high: int, on_error: OnError, bad: list[Bad]) -> None:
        if low >= high:
            return
        why = f"{self.path}, rows {low + 1:,} to {high:,}: their chunks are lost"
        if on_error == "stop":
            raise ArchiveCorrupt(why)
        bad.append(Bad(low, high - low, why))


def _inflated(raw: bytes) -> bytes:
    decoder = zlib.decompressobj()
    try:
        graph = decoder.decompress(raw, MAX_MODEL)
    except zlib.error as error:
        raise ArchiveCorrupt(f"the model inside cannot be read ({error!s:.80})") from None
    if not decoder.eof:
        raise ArchiveCorrupt(f"the model inside is cut, or longer than {MAX_MODEL:,} bytes")
    return graph
