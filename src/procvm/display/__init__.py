"""Floor 0, how facts look in a notebook: plain rows in, text, HTML or SVG out.

It knows no class of ours, asks no process and no clock, and escapes every word it is given.
No colour stands alone and none is a background, so that it reads in the dark and in the light.
"""

from __future__ import annotations

from ._axis import duration, ticks
from ._markup import COLOURS, MOST_ROWS, clock, colour_of, legal, shortened_name
from ._tables import events_html, health_html, logs_html, manager_html, usage_html, vms_html
from ._text import as_seen, vms_text
from ._timeline import Span, Timeline

__all__ = [
    "COLOURS", "MOST_ROWS", "Span", "Timeline", "as_seen", "clock", "colour_of", "duration",
    "events_html", "health_html", "legal", "logs_html", "manager_html", "shortened_name", "ticks",
    "usage_html", "vms_html", "vms_text",
]  # fmt: skip
