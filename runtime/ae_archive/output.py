"""Archives to files of rows, a chunk at a time: complete or not there, lost rows listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ae_archive.reading import Archive, Bad, OnError
from ae_runtime import outputs
from ae_runtime.bundle.manifest import Manifest
from ae_runtime.errors import ArchiveCorrupt, ArchiveError, DataError, LatentMismatch
from ae_runtime.files.jobs import skipped
from ae_runtime.files.jobs.skipped import SkippedRows
from ae_runtime.files.jobs.steps import Progress
from ae_runtime.files.jobs.unfinished import Place, Unfinished, check_out, locked, publish
from ae_runtime.files.writers.layout import Chunk, Kind, Layout, Values
from ae_runtime.files.writers.opening import check_layout, writer_for
from ae_runtime.tables.dates import DAY_S, date_kind

Array = NDArray[Any]
NO_MODEL = "none"  # stands where a stamp names a model


class RowCounts(NamedTuple):
    """Rows that were written, and rows that were lost and are listed in OUT.skipped.csv."""

    rows: int
    skipped_rows: int


def decompress_to_file(
    archive: Archive,
    out: Path,
    *,
    manifest: Manifest | None = None,
    rows: slice | None = None,
    on_error: OnError = "stop",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RowCounts:
    """Number of rows of an archive that were written to `out`, which appears when complete.

    manifest: of the bundle that the archive was written with; its dates come back as dates. rows:
    as of an array, without a step; None for all. on_error: "stop" at a chunk that is broken, or
    "skip" its rows and list them. Raises ArchiveError, DataError, OutputExists, OutputFailed.
    """
    writer_of = writer_for(out)
    sidecar = not writer_of.stamps_itself
    check_out(out, overwrite, sidecar)
    if on_error == "skip":
        skipped.check_free(out)
    low, high, _ = (rows or slice(None)).indices(len(archive))
    check_model(archive, manifest, low, high)
    layout = _layout(archive, manifest)
    check_layout(out, layout)
    files = Unfinished(out, {"verb": "decompress"})
    with outputs.said_in_one_line(out), locked(files.part, wait=False) as file:
        check_out(out, overwrite, sidecar)  # again: what another process did meanwhile
        lost = SkippedRows(files.skipped, 0)
        try:
            file.truncate(0)
            files.note(Place())  # from now on the part can be known as ours
            writer = writer_of(file, layout, fresh=True)
            bad: list[Bad] = []
            written = 0
            for first, block in _blocks(archive, low, high, on_error, bad):
                writer.write(Chunk(_values(archive, layout, block)))
                written += len(block)
                if progress:
                    progress(first + len(block) - low, high - low)
            for one in bad:
                lost.add(one.first, {0: one.why})
            lost.flush()
            writer.finish(written, layout.stamp, files.part, files.packed)
            stamp = {**layout.stamp, "rows": written} if sidecar else None
            place = Place(rows=written, skipped_bytes=lost.bytes)
            publish(files, place, files.packed if writer_of.packs else files.part, stamp)
        except BaseException:
            files.remove()
            raise
        finally:
            lost.close()
    return RowCounts(written, sum(one.rows for one in bad))


def check_model(archive: Archive, manifest: Manifest | None, low: int, high: int) -> None:
    """Raise LatentMismatch for another model, ArchiveError where one is needed and not there."""
    if archive.model_id is None:
        return
    name = archive.model_id[:12]
    if manifest is not None and manifest.model_id != archive.model_id:
        raise LatentMismatch(
            f"{archive.path} was written with the model {name}, this bundle is "
            f"{manifest.model_id[:12]}; give the bundle that it was written with"
        )
    needed = any(
        chunk.mode == "model" and chunk.first < high and low < chunk.first + chunk.rows
        for chunk in archive.chunks
    )
    if needed and manifest is None and not archive.has_model:
        raise ArchiveError(
            f"{archive.path} holds latents of the model {name}, which is not inside; "
            "give its bundle with --bundle"
        )


def _layout(archive: Archive, manifest: Manifest | None) -> Layout:
    shape = archive.shape[1:]
    names: list[str] = []
    kinds: list[Kind] = []
    if len(shape) == 1:
        names = archive.names or [f"x{at}" for at in range(shape[0])]
        kinds = ["number"] * shape[0]
    for at, levels in enumerate(archive.levels or []):
        if levels is not None:
            kinds[at] = "word"
    columns = (manifest.columns if manifest is not None else None) or []
    if [column.name for column in columns] == archive.names:
        for at, column in enumerate(columns):
            if column.type == "date":
                kinds[at] = date_kind(column)
    stamp = {"ae_toolkit": "x", "model_id": archive.model_id or NO_MODEL}
    words = "word" in kinds
    return Layout(None, shape, archive.dtype, "x", names, kinds, stamp, words=words)


def _blocks(
    archive: Archive, low: int, high: int, on_error: OnError, bad: list[Bad]
) -> Iterator[tuple[int, Array]]:
    """(first row, rows) of rows low to high, a chunk at a time; those that are lost go to bad."""
    try:
        yield from archive.blocks(on_error, bad, slice(low, high))
    except ArchiveCorrupt as error:
        raise ArchiveCorrupt(f"{error}; --on-error skip leaves them out") from None


def _values(archive: Archive, layout: Layout, block: Array) -> Values:
    """Rows as a writer of files takes them: an array, or, with categories, columns by name."""
    for at, (name, kind) in enumerate(zip(layout.columns, layout.kinds, strict=True)):
        if kind in ("day", "second"):
            _check_dates(name, kind, block[:, at])
    if not layout.words:
        return block
    columns = zip(layout.columns, block.T, archive.levels or [], strict=True)
    return {
        name: column if levels is None else _categories(archive, name, levels, column)
        for name, column, levels in columns
    }


def _categories(archive: Archive, name: str, levels: list[str], codes: Array) -> Array:
    places = np.where(np.isnan(codes), -1, codes).astype(np.int64)
    if len(places) and not (int(places.min()) >= -1 and int(places.max()) < len(levels)):
        raise ArchiveCorrupt(f"{archive.path}: column {name!r} names categories that are not there")
    categories: Array = np.array([*levels, None], object)
    return categories[places]


def _check_dates(name: str, kind: str, seconds: Array) -> None:
    """Raise DataError for dates that would lose their time of day."""
    unit = DAY_S if kind == "day" else 1
    if (np.nan_to_num(seconds) % unit != 0).any():
        raise DataError(
            f"column {name!r} holds moments between {kind}s, which the bundle has none of; "
            "without --bundle they are written as seconds since 1970"
        )
