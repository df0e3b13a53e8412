"""A picture of what bits buy: bits per value against the error, a curve for each way, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from ae_archive.compare import Way

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 96, 40, 56
# Told apart by people who see few colours too (Okabe and Ito), and by the shape of points.
_COLOURS = {"grid": "#0072b2", "interpolation": "#009e73", "pca": "#e69f00", "model": "#d55e00"}
_OTHER = "#009e73"


class _Scale:
    """Places in the picture of errors, on a logarithmic axis, and of bits."""

    def __init__(self, ways: Sequence[Way]) -> None:
        errors = [100 * way.rmse for way in ways if way.rmse > 0] or [1.0]
        self.low, self.high = floor(log10(min(errors))), ceil(log10(max(errors)))
        self.high = max(self.high, self.low + 1)
        self.most = max(way.bits for way in ways) * 1.1

    def x(self, percent: float) -> float:
        share = (log10(max(percent, 10.0**self.low)) - self.low) / (self.high - self.low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, bits: float) -> float:
        return HEIGHT - _BOTTOM - bits / self.most * (HEIGHT - _TOP - _BOTTOM)


def picture(curves: Mapping[str, Sequence[Way]], title: str) -> str:
    """An SVG of the ways of each name, from the smallest error to the largest."""
    scale = _Scale([way for ways in curves.values() for way in ways])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, size=14),
        *_axes(scale),
    ]
    ends: list[float] = []
    for name, ways in curves.items():
        parts += _curve(name, sorted(ways, key=lambda way: way.rmse), scale, ends)
    return "\n".join([*parts, "</svg>", ""])


def _axes(scale: _Scale) -> list[str]:
    low, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts: list[str] = []
    for power in range(scale.low, scale.high + 1):
        for digit in (1, 2, 5):
            percent = digit * 10.0**power
            if percent > 10.0**scale.high:
                break
            at = scale.x(percent)
            parts += [_line(at, low, at, _TOP, "#e5e5e5")]
            parts += [_text(at, low + 18, f"{percent:g}", anchor="middle")]
    step = _step(scale.most)
    for tick in range(int(scale.most / step) + 1):
        at = scale.y(tick * step)
        parts += [_line(_LEFT, at, right, at, "#e5e5e5")]
        parts += [_text(_LEFT - 8, at + 4, f"{tick * step:g}", anchor="end")]
    parts += [_line(_LEFT, low, right, low, "black"), _line(_LEFT, low, _LEFT, _TOP, "black")]
    middle = (_LEFT + right) / 2
    parts += [_text(middle, HEIGHT - 14, "rmse, % of range", anchor="middle")]
    turned = f'transform="rotate(-90 18 {HEIGHT / 2:.0f})"'
    return [*parts, _text(18, HEIGHT / 2, "bits per value", anchor="middle", more=turned)]


def _step(most: float) -> float:
    power = 10.0 ** floor(log10(most / 4))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= most / 5)


def _curve(name: str, ways: Sequence[Way], scale: _Scale, ends: list[float]) -> list[str]:
    colour = _COLOURS.get(name, _OTHER)
    points = [(scale.x(100 * way.rmse), scale.y(way.bits)) for way in ways]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']
    parts += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
        f"<title>{escape(name)}: {way.bits:.3g} bits, {100 * way.rmse:.3g} %</title></circle>"
        for (x, y), way in zip(points, ways, strict=True)
    ]
    x, y = points[-1]
    while any(abs(y - end) < 14 for end in ends):  # names do not lie on one another
        y -= 14
    ends.append(y)
    return [*parts, _text(x + 10, y + 4, name, colour=colour)]


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    anchor: str = "start",
    colour: str = "black",
    more: str = "",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}" {more}>{escape(words)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'
