"""Parts of a report that show the rows themselves: galleries, columns, categories."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ae_runtime.bundle.manifest import Column
from ae_train.report import figures
from ae_train.report.advice import column_label
from ae_train.report.gallery import Gallery, Shown
from ae_train.schema import Schema

_WINDOWS = 3  # windows side by side
_CHANNELS = 4
_WORST_ROWS = 8  # rows of a table, as text
_FURTHEST = 4  # columns of such a row
_BARS = 40  # columns that have a bar
_NAME = 60  # characters of a name
# A value further off is clipped in the model, too (preprocess.LIMIT).
_MOST = 1e6
_LAST_DATE = 2.5e11  # seconds, in the year 9892
_ARROW = "\N{RIGHTWARDS ARROW}"


class Bar(NamedTuple):
    """A horizontal bar. share: of the full length; past it, it fades. css: its class."""

    name: str
    share: float
    text: str
    css: str


class Pictures(NamedTuple):
    """A section of figures, each with a heading or "". rows: which are shown."""

    title: str
    note: str
    rows: str
    figures: list[tuple[str, Markup]]


def percent(share: float) -> str:
    """A share as text: "93.1 %"."""
    return f"{100 * share:.1f} %"


def galleries(schema: Schema, gallery: Gallery) -> list[Pictures]:
    """Reconstructions of images or windows: some rows, then the worst; none of a table."""
    if schema.kind == "table":
        return []
    titles = ("Reconstructions", gallery.typical), ("The worst", gallery.worst)
    if schema.kind == "image":
        low, high, note = _shades(schema, gallery)
        tiles = [figures.tiles(shown.x, shown.x_hat, low, high) for _, shown in titles]
        return [
            Pictures(title, note, "", [("", sheet)])
            for (title, _), sheet in zip(titles, tiles, strict=True)
        ]
    note = "The original in grey, the reconstruction in blue."
    return [Pictures(title, note, *_windows(schema, shown, title)) for title, shown in titles]


def _shades(schema: Schema, gallery: Gallery) -> tuple[float, float, str]:
    """The values that are drawn black and white, and a note that says so."""
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


def _windows(schema: Schema, shown: Shown, title: str) -> tuple[str, list[tuple[str, Markup]]]:
    """A strip of windows for each of some channels, those with the largest errors."""
    x, x_hat = shown.x[:_WINDOWS].astype(np.float64), shown.x_hat[:_WINDOWS].astype(np.float64)
    std = np.asarray(schema.x_std)
    there = ~np.isnan(x)
    squares = np.where(there, (x_hat - np.where(there, x, 0)) ** 2, 0.0).mean((0, 1))
    errors = squares / np.where(std > 0, std, np.inf) ** 2
    chosen = np.sort(np.argsort(-errors, kind="stable")[:_CHANNELS])
    names, place = _names(schema), title.removeprefix("The ").lower()
    strips = [
        (names[c], figures.windows(f"{place}-{c}", x[:, :, c], x_hat[:, :, c])) for c in chosen
    ]
    rows = ", ".join(f"{row + 1:,}" for row in shown.rows[:_WINDOWS])
    more = x.shape[2] - len(chosen)
    rest = f" {more} of {x.shape[2]} channels, with less error here, are left out." if more else ""
    return f"Windows {rows}.{rest}", strips


def worst_rows(schema: Schema, shown: Shown) -> list[tuple[int, float, list[str]]]:
    """(number, error, columns furthest off) of a table's worst rows; none of other kinds."""
    if schema.kind != "table":
        return []
    return [
        (int(shown.rows[at]) + 1, float(shown.errors[at]), _furthest(schema, shown, at))
        for at in range(min(_WORST_ROWS, len(shown.rows)))
    ]


def _furthest(schema: Schema, shown: Shown, at: int) -> list[str]:
    """Columns that are furthest off in a row, as text: "age: 71 -> 48 (1.7 std)"."""
    columns = schema.columns or []
    names, std = _names(schema), np.asarray(schema.x_std)
    x, x_hat = shown.x[at].astype(np.float64), shown.x_hat[at].astype(np.float64)
    with np.errstate(over="ignore"):
        far = np.abs(x_hat - x) / np.where(std > 0, std, np.inf)
    far = np.nan_to_num(far).clip(max=_MOST)
    lines = []
    for d in np.argsort(-far, kind="stable")[:_FURTHEST]:
        if far[d] >= 0.05:
            ours, theirs = (_value(value, columns[d], std[d]) for value in (x[d], x_hat[d]))
            lines.append(f"{names[d]}: {ours} {_ARROW} {theirs} ({far[d]:.1f} std)")
    if shown.codes is None or shown.codes_hat is None:
        return lines
    for q, (code, code_hat) in enumerate(zip(shown.codes[at], shown.codes_hat[at], strict=True)):
        levels = columns[len(x) + q].levels
        if code >= 0 and code != code_hat and levels:
            ours, theirs = (repr(levels[c])[:_NAME] for c in (code, code_hat))
            lines.append(f"{names[len(x) + q]}: {ours} {_ARROW} {theirs}")
    return lines


def _value(value: float, column: Column, std: float) -> str:
    """A value as text, to a hundredth of a standard deviation."""
    if column.type == "date" and abs(value) < _LAST_DATE:
        moment = str(np.datetime64(round(value), "s")).replace("T", " ")
        return moment.removesuffix(" 00:00:00")
    if not 1e-4 < std < 1e15 or abs(value) > 1e15:
        return f"{value:.4g}"
    digits = 0 if column.integer else max(0, 2 - math.floor(math.log10(std)))
    return f"{value:.{digits}f}"


def columns(schema: Schema, gallery: Gallery) -> tuple[str, list[Bar]] | None:
    """(note, bars) of columns or channels, the worst first; None of images."""
    if gallery.column_error is None or not len(gallery.column_error):
        return None
    names, errors = _names(schema), np.nan_to_num(gallery.column_error)
    order = np.argsort(-errors, kind="stable")
    most = max(float(errors.max()), 1.0)
    bars = []
    for at in order[:_BARS]:
        text = f"{errors[at]:.3f}"
        column = schema.columns[at] if schema.columns is not None else None
        if column is not None and column.rmse is not None:
            unit, noun = (86400, " days") if column.type == "date" else (1, "")
            text += f" (\N{PLUS-MINUS SIGN}{column.rmse / unit:.3g}{noun})"
        bars.append(Bar(names[at], errors[at] / most, text, "model"))
    more = len(order) - len(bars)
    rest = f" The {more:,} others have less error." if more else ""
    units = ", in brackets in its own units" if schema.columns is not None else ""
    note = (
        f"Root mean squared error in standard deviations{units}; 1 is what saying the mean would "
        f"give.{rest}"
    )
    return note, bars


def categories(schema: Schema, gallery: Gallery) -> list[tuple[str, list[Bar]]]:
    """Accuracy by categorical column, the worst first, beside PCA's and the frequent category's."""
    if gallery.accuracy is None:
        return []
    shares = np.nan_to_num(gallery.accuracy)
    names = _names(schema)[schema.row_shape[0] :]
    looks = ("model", "model"), ("PCA", "pca"), ("most frequent category", "mean")
    return [
        (
            names[at],
            [
                Bar(name, float(share), percent(float(share)), css)
                for (name, css), share in zip(looks, shares[:, at], strict=True)
            ],
        )
        for at in np.argsort(shares[0], kind="stable")[:_BARS]
    ]


def _names(schema: Schema) -> list[str]:
    """Names of columns or channels, numbers first; shortened."""
    names: list[str | None] = [column.name for column in schema.columns or ()]
    if schema.columns is None:
        names += schema.channels or [None] * schema.row_shape[-1]
    noun = "column" if schema.kind == "table" else "channel"
    labels = [name or column_label(None, at, noun) for at, name in enumerate(names)]
    return [
        label if len(label) <= _NAME else label[: _NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        for label in labels
    ]
