"""A bar chart in SVG of our own: one group for each row, logarithmic, in dark and light."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

_LEFT, _WIDTH, _BAR, _GAP, _TOP = 170, 520, 11, 10, 54
_COLOURS = ("#3b82c4", "#d97b29", "#4f9d5b")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.small{font-size:9px}"
    ".axis{stroke:#999;stroke-width:.5}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{more}>{escape(words)}</text>'


def _bar(y: int, width: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{_LEFT}" y="{y}" width="{max(1.0, width):.1f}" height="{_BAR - 2}" '
        f'fill="{colour}"><title>{escape(title)}</title></rect>'
    )


def chart(rows: Mapping[str, Mapping[str, float]], columns: tuple[str, ...], unit: str) -> str:
    """Return the chart of ``rows[name][column]``; what a row does not have is left out."""
    values = [value for row in rows.values() for value in row.values()]
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))

    def along(value: float) -> float:
        return (math.log10(value) - low) / (high - low) * _WIDTH

    bars, axes, top = [], [], _TOP
    for name, row in rows.items():
        bars.append(_text(_LEFT - 8, top + _BAR * len(row) / 2 + 4, name, ' text-anchor="end"'))
        for column, value in row.items():
            colour, words = _COLOURS[columns.index(column)], f"{value:.3g}"
            bars.append(_bar(top, along(value), colour, f"{name}, {column}: {words} {unit}"))
            bars.append(_text(_LEFT + along(value) + 4, top + _BAR - 2, words, ' class="small"'))
            top += _BAR
        top += _GAP
    for power in range(low, high + 1):
        x = _LEFT + along(10.0**power)
        axes.append(f'<path class="axis" d="M{x:.0f} {_TOP - 8}V{top}"/>')
        axes.append(_text(x, _TOP - 14, f"{10.0**power:g} {unit}", ' text-anchor="middle"'))
    for number, column in enumerate(columns):
        x = _LEFT + number * 120
        axes.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{_COLOURS[number]}"/>')
        axes.append(_text(x + 15, 17, column))
    body = "\n".join([*axes, *bars])
    size = f'width="{_LEFT + _WIDTH + 60}" height="{top + 6}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )
