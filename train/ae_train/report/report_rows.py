"""Parts of a report that show the rows themselves: galleries, columns, categories."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from ae_runtime.bundle.manifest import Column
from ae_train.report import figures
from ae_train.report.advice import column_label
from ae_train.report.gallery import Gallery, Shown
from ae_train.report.page import bars, percent, section
from ae_train.schema import Schema

_WINDOWS = 3  # side by side
_CHANNELS = 4
_WORST_ROWS = 8  # of a table, in words
_FURTHEST = 4  # columns of such a row
_BARS = 40  # columns that have a bar
_NAME = 60  # characters of a name
# A value further off is clipped in the model, too (preprocess.LIMIT).
_MOST = 1e6
_LAST_DATE = 2.5e11  # seconds, in the year 9892
_ARROW = "\N{RIGHTWARDS ARROW}"


def galleries(schema: Schema, gallery: Gallery) -> list[str]:
    """Sections of reconstructions by kind: some rows, then the worst."""
    typical, worst = gallery.typical, gallery.worst
    if schema.kind == "table":
        note = f"Rows of the {gallery.part} part, and the columns that are furthest off in them."
        return [section("Worst rows", _worst_rows(schema, worst), note)]
    if schema.kind == "image":
        low, high, note = _shades(schema, gallery)
        pages = tuple(figures.tiles(part.x, part.x_hat, low, high) for part in (typical, worst))
    else:
        note = "The original in grey, the reconstruction in blue."
        pages = _windows(schema, typical, "typical"), _windows(schema, worst, "worst")
    return [section("Reconstructions", pages[0], note), section("The worst", pages[1], note)]


def _shades(schema: Schema, gallery: Gallery) -> tuple[float, float, str]:
    """The values that are drawn black and white, and the words that say so."""
    assert gallery.extremes is not None
    drawn, channels = figures.drawn_channels(schema.row_shape), gallery.extremes.shape[1]
    low, high = gallery.extremes[0, :drawn].min(), gallery.extremes[1, :drawn].max()
    note = (
        f"Each image above its reconstruction. Black is {low:g} and white {high:g}, the least and "
        "the most of the training rows."
    )
    if drawn < channels:
        which = "first three" if drawn > 1 else "first"
        note += f" Of {channels} channels the {which} {'are' if drawn > 1 else 'is'} drawn."
    return low, high, note


def _windows(schema: Schema, shown: Shown, name: str) -> str:
    """A strip of windows for each of some channels: those with the largest errors."""
    x, x_hat = shown.x[:_WINDOWS].astype(np.float64), shown.x_hat[:_WINDOWS].astype(np.float64)
    deviation = np.asarray(schema.x_deviation)
    there = ~np.isnan(x)
    squares = np.where(there, (x_hat - np.where(there, x, 0)) ** 2, 0.0).mean((0, 1))
    errors = squares / np.where(deviation > 0, deviation, np.inf) ** 2
    chosen = np.sort(np.argsort(-errors, kind="stable")[:_CHANNELS])
    names = _names(schema)
    strips = [
        f"<h3>{escape(names[c])}</h3>{figures.windows(f'{name}-{c}', x[:, :, c], x_hat[:, :, c])}"
        for c in chosen
    ]
    rows = ", ".join(f"{row + 1:,}" for row in shown.rows[:_WINDOWS])
    more = x.shape[2] - len(chosen)
    rest = f" {more} of {x.shape[2]} channels, with less error here, are left out." if more else ""
    return f"<p class=note>Windows {rows}.{rest}</p>{''.join(strips)}"


def _worst_rows(schema: Schema, shown: Shown) -> str:
    lines = [
        f"<tr><td>{shown.rows[at] + 1:,}</td><td>{shown.errors[at]:.3g}</td>"
        f"<td>{'; '.join(map(escape, _furthest(schema, shown, at)))}</td></tr>"
        for at in range(min(_WORST_ROWS, len(shown.rows)))
    ]
    head = f"<tr><th>row</th><th>error</th><th>original {_ARROW} reconstruction</th></tr>"
    return f"<table class=rows>{head}{''.join(lines)}</table>"


def _furthest(schema: Schema, shown: Shown, at: int) -> list[str]:
    """What is furthest off in a row, in words: "age: 71 -> 48 (1.7 deviations)"."""
    assert schema.columns is not None
    names, deviation = _names(schema), np.asarray(schema.x_deviation)
    x, x_hat = shown.x[at].astype(np.float64), shown.x_hat[at].astype(np.float64)
    with np.errstate(over="ignore"):
        far = np.abs(x_hat - x) / np.where(deviation > 0, deviation, np.inf)
    far = np.nan_to_num(far).clip(max=_MOST)
    words = []
    for d in np.argsort(-far, kind="stable")[:_FURTHEST]:
        if far[d] >= 0.05:
            ours, theirs = (_value(v, schema.columns[d], deviation[d]) for v in (x[d], x_hat[d]))
            words.append(f"{names[d]}: {ours} {_ARROW} {theirs} ({far[d]:.1f} deviations)")
    if shown.codes is None or shown.codes_hat is None:
        return words
    for q, (code, found) in enumerate(zip(shown.codes[at], shown.codes_hat[at], strict=True)):
        levels = schema.columns[len(x) + q].levels
        if code >= 0 and code != found and levels:
            ours, theirs = (repr(levels[c])[:_NAME] for c in (code, found))
            words.append(f"{names[len(x) + q]}: {ours} {_ARROW} {theirs}")
    return words


def _value(value: float, column: Column, deviation: float) -> str:
    """A value in words, to a hundredth of a deviation."""
    if column.type == "date" and abs(value) < _LAST_DATE:
        moment = str(np.datetime64(round(value), "s")).replace("T", " ")
        return moment.removesuffix(" 00:00:00")
    if not 1e-4 < deviation < 1e15 or abs(value) > 1e15:
        return f"{value:.4g}"
    digits = 0 if column.integer else max(0, 2 - math.floor(math.log10(deviation)))
    return f"{value:.{digits}f}"


def _in_units(rmse: float, column: Column) -> str:
    """An error in a column's own units; of dates in days."""
    if column.type == "date":
        return f"\N{PLUS-MINUS SIGN}{rmse / 86400:.3g} days"
    return f"\N{PLUS-MINUS SIGN}{rmse:.3g}"


def columns(schema: Schema, gallery: Gallery) -> str:
    """Columns or channels by error, the worst first."""
    if gallery.column_error is None or not len(gallery.column_error):
        return ""
    names, errors = _names(schema), np.nan_to_num(gallery.column_error)
    order = np.argsort(-errors, kind="stable")
    most = max(float(errors.max()), 1.0)
    lengths = []
    for at in order[:_BARS]:
        words = f"{errors[at]:.3f}"
        column = schema.columns[at] if schema.columns is not None else None
        if column is not None and column.rmse is not None:
            words += f" ({_in_units(column.rmse, column)})"
        lengths.append((names[at], errors[at] / most, words, "model"))
    more = len(order) - len(lengths)
    rest = f" The {more:,} others have less error." if more else ""
    units = ", in brackets in its own units" if schema.columns is not None else ""
    note = (
        f"Root mean squared error in standard deviations{units}; 1 is what saying the mean would "
        f"give.{rest}"
    )
    return f"<p class=note>{note}</p>{bars(lengths)}"


def categories(schema: Schema, gallery: Gallery) -> str:
    """Accuracy by categorical column, the worst first, beside PCA's and the frequent word's."""
    if gallery.accuracy is None:
        return ""
    ours, pca, frequent = np.nan_to_num(gallery.accuracy)
    names = _names(schema)[schema.row_shape[0] :]
    blocks = []
    for at in np.argsort(ours, kind="stable")[:_BARS]:
        lengths = [
            (name, float(share), percent(float(share)), css)
            for name, share, css in (
                ("model", ours[at], "model"),
                ("PCA", pca[at], "pca"),
                ("most frequent word", frequent[at], "mean"),
            )
        ]
        blocks.append(f"<div><h3>{escape(names[at])}</h3>{bars(lengths)}</div>")
    return f"<div class=two>{''.join(blocks)}</div>"


def _names(schema: Schema) -> list[str]:
    """What the columns or channels are called, numbers first; shortened, not yet escaped."""
    names: list[str | None] = [column.name for column in schema.columns or ()]
    if schema.columns is None:
        names += schema.channels or [None] * schema.row_shape[-1]
    noun = "column" if schema.kind == "table" else "channel"
    words = [name or column_label(None, at, noun) for at, name in enumerate(names)]
    return [
        word if len(word) <= _NAME else word[: _NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        for word in words
    ]
