"""Render docs/states.md from the rule table; with --check, fail when the page differs."""

from __future__ import annotations

import sys
from pathlib import Path

from procvm.lifecycle import ROWS

PAGE = Path(__file__).with_name("states.md")
HEAD = """# The life of a VM

Made from the rule table by `docs/render_states.py`. In a state, the first row of an event whose
guard holds applies; an event without a row changes nothing.

| state | event | when | next | what is done |
| --- | --- | --- | --- | --- |
"""


def render() -> str:
    """Return the page."""
    return HEAD + "".join(
        f"| {row.state} | {row.event} | {row.guard} | {row.next} | {', '.join(row.steps)} |\n"
        for row in ROWS
    )


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == render() else "states.md differs: render it anew")
    PAGE.write_text(render())
