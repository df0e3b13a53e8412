"""Inputs opened for batch work: any file, folder or pipe as blocks of rows."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ae_runtime.errors import DataError, SourceNotFound
from ae_runtime.files.readers.blocks import Block, SeriesCut, Stream
from ae_runtime.files.readers.columns import Wanted
from ae_runtime.files.readers.csv import open_text
from ae_runtime.files.readers.data_folder import PartsStream, find_parts
from ae_runtime.files.readers.formats import find_format, split_member
from ae_runtime.files.readers.images import ImageStream
from ae_runtime.files.readers.npy import MAGIC, NpyStream, open_array
from ae_runtime.files.readers.raw_bytes import closed_on_error, pipe_bytes
from ae_runtime.files.readers.series import WindowStream
from ae_runtime.tables.times import Clock
from ae_runtime.tables.windows import check_stride

__all__ = ["PIPES", "Block", "SeriesCut", "Stream", "open_rows", "open_stream"]

PIPES = ("npy", "csv", "tsv")  # formats that a pipe may have


def open_stream(
    wanted: Wanted,
    source: str | Path | BinaryIO,
    *,
    id_column: str | None = None,
    stride: int | None = None,
    format: str | None = None,
) -> Stream:
    """The rows of `source` as a task takes them.

    source: a file (file.npz:key for one of several arrays), a folder of images or of Parquet and
    Arrow files, or a binary stream. id_column: the column that names each row. stride: time steps
    between windows that are cut from a series; None for what the task wants. format: of a binary
    stream, one of PIPES; None to tell by its first bytes. Raises DataError that names the input,
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
    """The rows of `source`, or the time steps of a series; see open_stream."""
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
    path, member = split_member(text)
    if not path.exists():
        raise SourceNotFound(f"{path} does not exist")
    if path.is_dir() and kind == "image" and wanted.what == "x":
        if id_column is not None:
            raise DataError(f"{path} is a folder of images, whose ids are their names")
        return ImageStream(path, wanted)
    if path.is_dir() and find_parts(path):
        return PartsStream(path, wanted, id_column)
    return find_format(path).open(path, wanted, id_column, member)


def _open_pipe(wanted: Wanted, file: BinaryIO, id_column: str | None, format: str | None) -> Stream:
    if format is not None and format not in PIPES:
        raise DataError(f"{format!r} cannot be read from a pipe; known: {', '.join(PIPES)}")
    source = pipe_bytes(file)
    if format is None:
        head = source.read(len(MAGIC))
        source.again(head)
        format = "npy" if head == MAGIC else "csv"
    if format == "npy":
        return open_array(source, wanted, id_column)
    return open_text(source, wanted, id_column, "\t" if format == "tsv" else None)
