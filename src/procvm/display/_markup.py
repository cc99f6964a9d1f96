"""The small parts that HTML and SVG are made of; every word goes through ``escaped``."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "COLOURS", "MOST_ROWS", "Markup", "cell", "clock", "colour_of", "escaped", "legal",
    "shortened_name", "size", "state_cell", "table",
]  # fmt: skip

MOST_ROWS = 200  # a page with a hundred thousand rows is no page

# Each stands out from white and from black by 3 to 1 at least, as WCAG asks of a graphic.
COLOURS = {
    "starting": "#3b82f6",
    "running": "#16a34a",
    "backoff": "#d97706",
    "stopping": "#a855f7",
    "exited": "#7c8594",
    "failed": "#dc2626",
    "removed": "#7c8594",
}
_UNKNOWN = "#7c8594"
_LONGEST = 200
_LONGEST_NAME = 22
# What XML 1.0 allows in no form, lone surrogates, and what turns the direction of the text.
_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TURNING = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def escaped(text: object) -> str:
    """Return ``text`` for use between tags and in quoted attributes, of HTML and of XML."""
    if isinstance(text, Markup):
        return text
    return html.escape(legal(text), quote=True)


def legal(text: object) -> str:
    """Return ``text`` without the characters that no page and no terminal should be given."""
    return _TURNING.sub("\ufffd", _ILLEGAL.sub("\ufffd", str(text)))


def shortened_name(name: str) -> str:
    """Return a name that fits beside a lane, cut in its middle."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}\u2026{name[-half:]}"


def colour_of(state: str) -> str:
    """Return the colour of a state, grey for one that nobody knows."""
    return COLOURS.get(state, _UNKNOWN)


def cell(value: object) -> Markup:
    """Return what stands in a cell: a dash for None, a long text cut, whole when pointed at."""
    if value is None:
        return Markup("&#8211;")
    if isinstance(value, Markup):
        return value
    text = str(value)
    if len(text) <= _LONGEST:
        return Markup(escaped(text))
    short = escaped(text[:_LONGEST] + "\u2026")
    return Markup(f'<span title="{escaped(text[: 20 * _LONGEST])}">{short}</span>')


def state_cell(state: str, *, healthy: bool) -> Markup:
    """Return a state as a coloured dot and its word, with a sign where it is not healthy."""
    dot = f'<span aria-hidden="true" style="color:{colour_of(state)}">&#9679;</span>'
    sign = "" if healthy else f' <span style="color:{COLOURS["failed"]}">&#9888;</span> unhealthy'
    return Markup(f"{dot} {escaped(state)}{sign}")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table of escaped cells, with lines in the colour of the text around it."""
    line = "border-bottom:1px solid currentColor"
    place = "text-align:left;vertical-align:top;padding:.2em .8em .2em 0;background:none"
    parts = ['<table style="border-collapse:collapse;color:inherit;background:none">']
    if caption:
        parts.append(
            f'<caption style="text-align:left;color:inherit">{escaped(caption)}</caption>'
        )
    parts.append('<thead><tr style="background:none">')
    parts += [f'<th scope="col" style="{place};{line}">{escaped(head)}</th>' for head in heads]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        cells = "".join(f'<td style="{place}">{cell(value)}</td>' for value in row)
        parts.append(f'<tr style="background:none">{cells}</tr>')
    parts.append("</tbody></table>")
    return "".join(parts)


def clock(at: float | None) -> str | None:
    """Return a Unix time for people, in UTC; one that no calendar has as its number."""
    if at is None:
        return None
    try:
        moment = dt.datetime.fromtimestamp(at, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{at:g}"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def size(count: float) -> str:
    """Return bytes for people: ``12.3 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - what the units mean
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
