"""What `ae-run info` says of an archive: what it holds, within which bound, and in which modes."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ae_archive.reading import Archive

_SHOWN = 6  # columns in a line


class Mode(NamedTuple):
    """Number, rows and bytes of the chunks that are stored in one mode."""

    name: str
    chunks: int
    rows: int
    bytes: int


def modes_of(archive: Archive) -> list[Mode]:
    """Modes of an archive's chunks, the one of most rows first."""
    modes: dict[str, Mode] = {}
    for chunk in archive.chunks:
        before = modes.get(chunk.mode, Mode(chunk.mode, 0, 0, 0))
        modes[chunk.mode] = Mode(
            chunk.mode, before.chunks + 1, before.rows + chunk.rows, before.bytes + chunk.bytes
        )
    return sorted(modes.values(), key=lambda mode: -mode.rows)


def fields_of(archive: Archive) -> dict[str, Any]:
    """Facts of an archive, for JSON."""
    size = archive.path.stat().st_size
    raw = raw_bytes(archive)
    bounds = {
        name: None if bound is None else bound.reshape(-1).tolist()
        for name, bound in (("max_error", archive.max_error), ("rmse", archive.rmse))
    }
    model = {"id": archive.model_id, "inside": archive.has_model}
    return {
        "rows": len(archive),
        "shape": list(archive.shape),
        "dtype": archive.dtype.name,
        "names": archive.names,
        "levels": archive.levels,
        **bounds,
        "model": None if archive.model_id is None else model,
        "raw_bytes": raw,
        "bytes": size,
        "ratio": ratio(raw, size),
        "modes": {mode.name: mode.chunks for mode in modes_of(archive)},
        "chunks": [chunk._asdict() for chunk in archive.chunks],
        "notes": archive.notes,
    }


def describe_archive(archive: Archive) -> list[str]:
    """Lines on an archive."""
    size, raw = archive.path.stat().st_size, raw_bytes(archive)
    row = "x".join(map(str, archive.shape[1:])) or "1"
    lines = [
        f"{len(archive):,} rows of {row} {archive.dtype.name} in {bytes_line(raw, size)}",
        f"error bound {_error_bound(archive)}",
        f"model       {_model(archive)}",
    ]
    if archive.names is not None:
        lines.append(f"columns     {_listed(archive.names)}")
    if archive.levels is not None:
        pairs = zip(_names(archive, len(archive.levels)), archive.levels, strict=True)
        counts = [f"{name} {len(levels):,}" for name, levels in pairs if levels is not None]
        lines.append(f"categories  {_listed(counts)}")
    lines.append(f"{'chunks':<12}{'number':>8} {'rows':>12} {'bytes':>12} {'bits/value':>11}")
    for mode in modes_of(archive):
        values = mode.rows * prod(archive.shape[1:])
        bits = 8 * mode.bytes / values
        lines.append(
            f"  {mode.name:<10}{mode.chunks:>8,} {mode.rows:>12,} {mode.bytes:>12,} {bits:>11.2f}"
        )
    return lines + [f"damage      {note}" for note in archive.notes]


def raw_bytes(archive: Archive) -> int:
    """Bytes of the array that the archive holds."""
    return prod(archive.shape) * archive.dtype.itemsize


def ratio(raw: int, size: int) -> float:
    """How many times smaller `size` is than `raw`."""
    return raw / size if size else 0.0


def bytes_line(raw: int, size: int) -> str:
    """Bytes before and after, and how many times smaller that is."""
    return f"{raw:,} -> {size:,} bytes ({ratio(raw, size):.3g} times smaller)"


def _names(archive: Archive, columns: int) -> list[str]:
    return archive.names or [str(at + 1) for at in range(columns)]


def _error_bound(archive: Archive) -> str:
    bound = archive.max_error if archive.max_error is not None else archive.rmse
    if bound is None:
        return "every bit is kept"
    each = bound.reshape(-1)
    bounded = np.flatnonzero(each).tolist()
    names = _names(archive, len(each))
    if len(np.unique(each[bounded])) > 1:
        much = _listed([f"{names[at]} {each[at]:.4g}" for at in bounded])
    else:
        much = f"{each[bounded[0]]:.4g}" if bounded else "nothing"
    rest = "" if len(bounded) == len(each) else "; all else is kept exactly"
    if archive.rmse is not None:
        return f"root mean square error {much} in each chunk, single values not bounded{rest}"
    return f"no value is further away than {much}{rest}"


def _model(archive: Archive) -> str:
    if archive.model_id is None:
        return "none"
    if archive.has_model:
        return f"inside ({archive.model_id})"
    if not any(chunk.mode == "model" for chunk in archive.chunks):
        return f"referred to, but no chunk needs it ({archive.model_id})"
    return f"referred to, not inside ({archive.model_id})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
