"""The page of a report: its look, sections, and bars that need no picture."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def section(title: str, content: str, note: str = "") -> str:
    """A part of the page; nothing where there is no content. content: HTML. note: plain text."""
    if not content:
        return ""
    below = f"<p class=note>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{below}{content}</section>\n"


def bars(lengths: Iterable[tuple[str, float, str, str]]) -> str:
    """Horizontal bars as a table. lengths: (name, share of the full length, figure, class of CSS).

    What is longer than the full length fades.
    """
    lines = []
    for name, share, words, css in lengths:
        fades = " fades" if share > 1.001 else ""
        width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
        lines.append(
            f"<tr><th>{escape(name)}</th><td class=track>"
            f'<div class="bar {css}{fades}" style="width:{width}"></div></td>'
            f"<td class=figure>{escape(words)}</td></tr>"
        )
    return f"<table class=bars>{''.join(lines)}</table>"


def percent(share: float) -> str:
    """A share in words: "93.1 %"."""
    return f"{100 * share:.1f} %"


CSS = """
:root{color-scheme:light}
body{margin:0;background:#f4f4f2;color:#222;font:16px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:24px 16px}
h1{font-size:2.1em;line-height:1.2;margin:.4em 0 .2em}
h2{font-size:1.15em;margin:0 0 .6em}
h3{font-size:.9em;margin:.6em 0 .2em;color:#444;overflow-wrap:anywhere}
section{background:#fff;border-radius:8px;padding:18px 20px;margin:16px 0}
.lead{font-size:1.1em;margin:.2em 0 1em}
.note{color:#555;font-size:.85em;margin:0 0 .6em}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:8px 28px}
.wide{overflow-x:auto}
svg{width:100%;min-width:36em;height:auto;display:block}
.two>div{min-width:0}
.two svg{min-width:26em;max-width:600px}
.tiles{height:auto;display:block;image-rendering:pixelated}
table{border-collapse:collapse;font-size:.85em}
th{text-align:left;font-weight:normal;color:#444;padding:2px 10px 2px 0;overflow-wrap:anywhere}
td{padding:2px 10px 2px 0;vertical-align:top}
.bars{width:100%;table-layout:fixed}
.bars th{width:34%;vertical-align:top}.figure{width:24%;font-variant-numeric:tabular-nums}
.bar{height:1em;margin-top:.2em;min-width:1px;border-radius:0 3px 3px 0}
.model{background:#0072B2}.pca{background:#D55E00}.mean{background:#767676}
.fades{background:linear-gradient(90deg,#767676 70%,#fff)}
.rows td:not(:last-child),.rows th{white-space:nowrap}
.rows td{border-top:1px solid #e6e6e6;overflow-wrap:anywhere}
.facts td{overflow-wrap:anywhere}
.facts th{white-space:nowrap;vertical-align:top}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8em}
"""
