"""Inputs opened for batch work: any file, folder or pipe as a stream of blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.arrow_ipc import IpcStream
from ae_runtime.files.readers.blocks import Block, SeriesCut, Stream
from ae_runtime.files.readers.columns import Wanted, known_names
from ae_runtime.files.readers.csv import CsvStream
from ae_runtime.files.readers.csv_form import Told, find_form, separator_of
from ae_runtime.files.readers.data_folder import PartsStream
from ae_runtime.files.readers.images import ImageStream
from ae_runtime.files.readers.npy import NpyStream, open_member
from ae_runtime.files.readers.parquet import ParquetStream
from ae_runtime.files.readers.partitions import find_parts
from ae_runtime.files.readers.raw_bytes import Bytes, closed_on_error, open_bytes, pipe_bytes
from ae_runtime.files.readers.series import WindowStream
from ae_runtime.files.readers.source import split_member, suffix_of
from ae_runtime.tables.times import Clock
from ae_runtime.tables.windows import check_stride

__all__ = ["FORMATS", "TYPES", "Block", "SeriesCut", "Stream", "open_rows", "open_stream"]

FORMATS = ("npy", "csv", "tsv")  # of a pipe
_NPY_MAGIC = b"\x93NUMPY"


def open_stream(
    wanted: Wanted,
    source: str | Path | BinaryIO,
    *,
    id_column: str | None = None,
    stride: int | None = None,
    format: str | None = None,
) -> Stream:
    """The rows of `source` as a task takes them.

    source: a file of TYPES (file.npz:key for one of several arrays), a folder of images, or a
    binary stream. id_column: the column that names each row. stride: time steps between windows
    that are cut from a series; None for what the task wants. format: of a binary stream, one of
    FORMATS; None to tell by its first bytes. Raises DataError that names the input,
    SourceNotFound, InputFailed, MissingExtra.
    """
    if stride is not None:
        _check_stride(wanted, stride)
    stream = open_rows(wanted, wanted.kind, source, id_column=id_column, format=format)
    with closed_on_error(stream):
        return _cut_if_series(stream, wanted, stride)


def open_rows(
    wanted: Wanted,
    kind: str,
    source: str | Path | BinaryIO,
    *,
    id_column: str | None = None,
    format: str | None = None,
) -> Stream:
    """The rows of `source`, of a series its time steps; the rest is as in open_stream."""
    if isinstance(source, str | Path):
        return _open_path(wanted, kind, str(source), id_column)
    return _open_pipe(wanted, source, id_column, format)


def _check_stride(wanted: Wanted, stride: int) -> None:
    if wanted.window is None:
        raise DataError("a stride is of windows cut from a series, and this input has none")
    if stride < 1:
        raise DataError(f"a stride of {stride} goes nowhere; choose 1 or more")
    if wanted.joins_windows:
        check_stride(wanted.window, stride)


def _cut_if_series(stream: Stream, wanted: Wanted, stride: int | None) -> Stream:
    if wanted.window is None:
        return stream
    if isinstance(stream, NpyStream) and not stream.is_steps:
        if stride is not None:
            raise DataError(
                f"{stream.path} holds windows that were cut before; a stride is for a series of "
                "time steps (steps, C)"
            )
        return stream
    clock = (
        None
        if stream.time_name is None
        else Clock(str(stream.path), stream.time_name, wanted.time_step)
    )
    channels = wanted.step.row_shape[0]
    stride = stride or wanted.stride or wanted.window
    return WindowStream(stream, wanted.window, stride, channels, clock)


def _open_path(wanted: Wanted, kind: str, text: str, id_column: str | None) -> Stream:
    path, key = split_member(text)
    if not path.exists():
        raise SourceNotFound(f"{path} does not exist")
    if path.is_dir() and kind == "image" and wanted.what == "x":
        if id_column is not None:
            raise DataError(f"{path} is a folder of images, whose ids are their names")
        return ImageStream(path, wanted)
    if path.is_dir() and find_parts(path):
        return PartsStream(path, wanted, id_column)
    suffix = suffix_of(path)
    reader = TYPES.get(suffix)
    if reader is None or path.is_dir():
        found = "a folder" if path.is_dir() else f"{suffix or 'no file extension'}"
        raise DataError(f"{path}: {found} cannot be read; known types: {', '.join(TYPES)}")
    return reader(wanted, path, key, id_column)


def _open_pipe(wanted: Wanted, file: BinaryIO, id_column: str | None, format: str | None) -> Stream:
    if format is not None and format not in FORMATS:
        raise DataError(f"{format!r} cannot be read from a pipe; known: {', '.join(FORMATS)}")
    source = pipe_bytes(file)
    if format is None:
        head = source.read(len(_NPY_MAGIC))
        source.again(head)
        format = "npy" if head == _NPY_MAGIC else "csv"
    if format == "npy":
        return _array(wanted, source, ".npy array", id_column)
    return _text(wanted, source, "\t" if format == "tsv" else None, id_column)


def _array(wanted: Wanted, source: Bytes, kind: str, id_column: str | None) -> Stream:
    with closed_on_error(source):
        if id_column is not None:
            raise DataError(f"{source.path} is an array, which has no column {id_column!r} for ids")
        return NpyStream(source, wanted, kind)


def _text(wanted: Wanted, source: Bytes, separator: str | None, id_column: str | None) -> Stream:
    with closed_on_error(source):
        told = Told(wanted.reading, None, known_names(wanted))
        return CsvStream(source, find_form(source, separator, told), wanted, id_column)


def _open_npy(wanted: Wanted, path: Path, key: str | None, id_column: str | None) -> Stream:
    return _array(wanted, open_bytes(path), ".npy array", id_column)


def _open_npz(wanted: Wanted, path: Path, key: str | None, id_column: str | None) -> Stream:
    return _array(wanted, open_member(path, key), ".npz archive", id_column)


def _open_csv(wanted: Wanted, path: Path, key: str | None, id_column: str | None) -> Stream:
    return _text(wanted, open_bytes(path), separator_of(path), id_column)


def _open_parquet(wanted: Wanted, path: Path, key: str | None, id_column: str | None) -> Stream:
    return ParquetStream(path, wanted, id_column)


def _open_arrow(wanted: Wanted, path: Path, key: str | None, id_column: str | None) -> Stream:
    return IpcStream(path, wanted, id_column)


# A new file format is one stream and its line here; a reader for training goes into source.py.
TYPES: dict[str, Callable[[Wanted, Path, str | None, str | None], Stream]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".csv": _open_csv,
    ".csv.gz": _open_csv,
    ".tsv": _open_csv,
    ".tsv.gz": _open_csv,
    ".parquet": _open_parquet,
    ".arrow": _open_arrow,
    ".feather": _open_arrow,
}
