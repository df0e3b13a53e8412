"""The figures of a report, each as text that stands in a page: SVG by matplotlib, images as PNG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import image, style
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

Array = NDArray[Any]

# Okabe & Ito's colours, told apart by people who see red and green alike; lines differ in
# style, too.
MODEL, PCA, TRAIN, GREY = "#0072B2", "#D55E00", "#56B4E9", "#767676"

# Text stays text; what users wrote never comes in here, so "$" and other scripts cannot harm.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#444444",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 144,
}
_POINTS = 800  # points of a line; more cannot be seen, and make large files
_BARS = 80  # more latents than that are drawn as one outline
_VECTOR_STEPS = 400  # longer windows become pixels
_TILE = 72  # pixels of an image's side at most: _COLUMNS of them are as wide as the page
_COLUMNS = 12  # images side by side
_GAP = 3


def curves(metrics: Sequence[dict[str, Any]], best_epoch: int) -> Markup:
    """Errors by epoch on a logarithmic axis, PCA's beside them, the kept epoch marked.

    metrics: the lines of metrics.jsonl. Where the loss is not the squared error, it has a panel of
    its own.
    """
    drawn = metrics[:: max(1, len(metrics) // _POINTS)]
    drawn = [*drawn, metrics[-1]] if drawn[-1] is not metrics[-1] else list(drawn)
    same = all(np.isclose(m["validation_loss"], m["validation_mse"], rtol=1e-4) for m in metrics)
    epochs = [m["epoch"] for m in drawn]
    train = [np.nan if m["train_loss"] is None else m["train_loss"] for m in drawn]
    errors = [m["validation_mse"] for m in drawn]
    losses = [m["validation_loss"] for m in drawn]
    pca = metrics[0]["pca_mse"]
    best = next((m for m in metrics if m["epoch"] == best_epoch), metrics[-1])

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 1 if same else 2, squeeze=False)[0]
        figure.subplots_adjust(0.09, 0.13, 0.98, 0.93, wspace=0.25)
        if same:
            axes[0].plot(epochs, train, color=TRAIN, label="training")
        axes[0].plot(epochs, errors, color=MODEL, label="validation")
        axes[0].axhline(pca, color=PCA, linestyle="--", label="PCA, validation")
        axes[0].plot(best["epoch"], best["validation_mse"], "o", color=MODEL, label="kept")
        _finish_curve(axes[0], "mean squared error", [*errors, pca, *(train if same else ())])
        if not same:
            axes[1].plot(epochs, train, color=TRAIN, label="training")
            axes[1].plot(epochs, losses, color=MODEL, label="validation")
            axes[1].plot(best["epoch"], best["validation_loss"], "o", color=MODEL, label="kept")
            _finish_curve(axes[1], "loss that training brings down", [*losses, *train])

    alt = (
        f"Validation error by epoch: {_short(errors[0])} before the first, "
        f"{_short(best['validation_mse'])} at the kept epoch {best['epoch']}, "
        f"{_short(errors[-1])} after the last; PCA {_short(pca)}"
    )
    return _svg("curves", alt, (9, 3.4), draw)


def sizes(
    what: str, points: Sequence[tuple[int, float, float]], kept: int | None = None
) -> Markup | None:
    """Error against the number of latents, PCA's beside it, the size that was kept marked.

    what: a title for readers of the page who do not see it. points: (number of latents, error,
    PCA's error). None without any.
    """
    if not points:
        return None
    latent_dims, ours, pca = zip(*points, strict=True)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(0.1, 0.15, 0.98, 0.95)
        axes.plot(latent_dims, ours, "o-", color=MODEL, label="model")
        axes.plot(latent_dims, pca, "s--", color=PCA, label="PCA")
        if kept is not None:
            axes.axvline(kept, color=GREY, linestyle=":", label="kept")
        axes.set_xscale("log")
        ticks = [k for k in latent_dims if len(latent_dims) <= 12 or k & (k - 1) == 0]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        _finish_curve(axes, "mean squared error", [*ours, *pca], "latents")

    alt = "; ".join(f"{k} latents: {_short(a)}, PCA {_short(b)}" for k, a, b in points)
    return _svg(f"sizes {what}", f"{what}: {alt}", (9, 3.2), draw)


def latent_map(z: Array, errors: Array) -> Markup:
    """Rows along the two principal axes of their latents, coloured by error.

    z: (B, K). errors: (B,) mean squared error of each row.
    """
    centred = np.nan_to_num(z - z.mean(0)).astype(np.float64)
    _, spread, axis = np.linalg.svd(centred, full_matrices=False)
    axis *= np.sign(axis[np.arange(len(axis)), np.abs(axis).argmax(1)])[:, None]
    shares = spread**2 / max(float((spread**2).sum()), 1e-300)
    at = centred @ axis[:2].T  # (B, 2), or (B, 1) of one latent
    flat = at.shape[1] < 2
    known = np.nan_to_num(errors)
    low, high = np.quantile(known, [0.02, 0.98])
    order = known.argsort(kind="stable")  # the worst on top

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(0.12, 0.12, 0.94, 0.97)
        scale: Normalize = LogNorm(low, high) if 0 < low < high else Normalize(low, high)
        dots = axes.scatter(
            at[order, 0], known[order] if flat else at[order, 1], c=known[order], s=9,
            cmap="viridis", norm=scale, linewidths=0, rasterized=True,
        )  # fmt: skip
        axes.set_xlabel(f"first principal axis of the latents ({100 * shares[0]:.0f} %)")
        axes.set_ylabel("error" if flat else f"second ({100 * shares[1]:.0f} %)")
        bar = figure.colorbar(dots, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("mean squared error of the row")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_locator(_ticks(low, high))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(_tick))

    alt = f"{len(z)} held-out rows along the two principal axes of their latents, by error"
    return _svg("latents", alt, (6, 4.2), draw)


def usage(
    values: Sequence[float], unused: Sequence[int], label: str, limit: float | None
) -> Markup:
    """Bars of a figure of each latent; unused latents in another colour.

    limit: what a latent can say at most, if there is such a bound.
    """
    idle = np.isin(np.arange(len(values)), unused)
    heights = np.nan_to_num(np.asarray(values, float))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(0.13, 0.12, 0.98, 0.97)
        at = np.arange(1, len(values) + 1)
        if len(values) > _BARS:
            axes.stairs(heights, np.arange(len(values) + 1) + 0.5, fill=True, color=MODEL)
            axes.plot(at[idle], np.zeros(idle.sum()), "|", color=PCA, clip_on=False)
        else:
            axes.bar(at, heights, color=np.where(idle, PCA, MODEL).tolist())
            axes.plot(at[idle], heights[idle], "v", color=PCA, markersize=4, clip_on=False)
        if limit is not None:
            axes.axhline(limit, color=GREY, linestyle=":")
        axes.set_xlim(0.3, len(values) + 0.7)
        axes.set_ylim(0, max(float(heights.max()) * 1.05, limit or 0, 1e-12))
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.set_xlabel("latent")
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))

    alt = f"{label} of each of {len(values)} latents, {_short(heights.min())} to "
    return _svg("usage", f"{alt}{_short(heights.max())}; {int(idle.sum())} unused", (6, 4.2), draw)


def windows(name: str, x: Array, x_hat: Array) -> Markup:
    """Windows of one channel side by side, the reconstruction over the original.

    name: of the figure in the page, ASCII. x, x_hat: (n, T).
    """
    steps = x.shape[1]

    def draw(figure: Figure) -> None:
        figure.subplots_adjust(0.06, 0.2, 0.99, 0.94, wspace=0.06)
        for axes, ours, theirs in zip(
            figure.subplots(1, len(x), sharey=True, squeeze=False)[0], x, x_hat, strict=True
        ):
            mark = "o" if steps == 1 else ""
            pixels = steps > _VECTOR_STEPS
            axes.plot(ours, mark, color=GREY, linewidth=2.2, alpha=0.7, rasterized=pixels)
            axes.plot(theirs, mark, color=MODEL, linewidth=1.1, rasterized=pixels)
            axes.margins(x=0.01)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(_tick))

    alt = f"{len(x)} windows of {steps} steps: original in grey, reconstruction in blue"
    return _svg(name, alt, (9, 1.5), draw)


def tiles(x: Array, x_hat: Array, low: float, high: float) -> Markup:
    """Images in rows of twelve, each above its reconstruction. x, x_hat: (n, H, W[, C]) uint8.

    low, high: the values that are drawn black and white, in both alike.
    """
    strips = []
    for at in range(0, len(x), _COLUMNS):
        for part in (x, x_hat):
            shaded = [_shades(_small(_colour(one)), low, high) for one in part[at : at + _COLUMNS]]
            shaded += [np.full_like(shaded[0], 255)] * (min(len(x), _COLUMNS) - len(shaded))
            strips.append(np.concatenate([_framed(one) for one in shaded], 1))
        strips.append(np.full_like(strips[-1][: 2 * _GAP], 255))
    sheet = np.concatenate(strips[:-1])
    png = io.BytesIO()
    unsigned: dict[str, Any] = {"Software": None}  # no version, which would change the bytes
    image.imsave(png, sheet, format="png", metadata=unsigned)
    width = sheet.shape[1] * max(1, 900 // sheet.shape[1])
    alt = f"{len(x)} images, each above its reconstruction"
    data = base64.b64encode(png.getvalue()).decode()
    look = f'class="tiles" style="width:{width}px"'
    return _wide(f'<img {look} alt="{alt}" src="data:image/png;base64,{data}">')


def drawn_channels(row_shape: Sequence[int]) -> int:
    """Number of an image's channels that are drawn: 3 as colours, else 1 as grey."""
    return 3 if len(row_shape) == 3 and row_shape[2] in (3, 4) else 1


def _colour(one: Array) -> Array:
    """One image as (H, W, 3)."""
    channels = one if one.ndim == 3 else one[..., None]
    drawn = channels[..., : drawn_channels(one.shape)]
    return np.broadcast_to(drawn, (*one.shape[:2], 3))


def _shades(one: Array, low: float, high: float) -> Array:
    """Values as shades, `low` and less black, `high` and more white."""
    span = high - low if high > low else 255.0
    return (255 * ((one - low) / span).clip(0, 1)).round().astype(np.uint8)


def _small(one: Array) -> Array:
    """The image with sides of at most _TILE pixels, by means over blocks."""
    height, width = (-(-side // _TILE) for side in one.shape[:2])
    one = one[: one.shape[0] // height * height, : one.shape[1] // width * width]
    blocks = one.reshape(one.shape[0] // height, height, one.shape[1] // width, width, 3)
    return blocks.mean((1, 3))


def _framed(one: Array) -> Array:
    return np.pad(one, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _finish_curve(axes: Axes, label: str, values: Sequence[float], below: str = "epoch") -> None:
    """Give axes their scale (logarithmic where all values are positive), labels and a legend."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if known.size and known.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_ticks(known.min(), known.max()))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    if below == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel(below)
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.legend(loc="best")


def _ticks(low: float, high: float) -> MaxNLocator | LogLocator:
    """The ticks of a logarithmic axis: at least three numbers, however short it is."""
    if low <= 0 or high < 8 * low:
        return MaxNLocator(5)
    return LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,))


def _tick(value: float, _: int | None = None) -> str:
    return f"{value:.4g}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def _svg(name: str, alt: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    """A figure as SVG for a page, the same bytes for the same numbers.

    name: tells the ids of this figure from those of others on the page. size: in inches.
    """
    # Whatever settings the user's matplotlib has.
    with style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=size)
        draw(figure)
        text = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=metadata)
    svg = text.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    return _wide(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1).strip())


def _wide(picture: str) -> Markup:
    """A picture that is moved, not shrunk past reading, where the page is narrower than it."""
    return Markup(f"<div class=wide>{picture}</div>")  # nothing here is a user's
