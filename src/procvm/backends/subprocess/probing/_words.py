"""What a probe, a program or a function said, made fit for one line of a report."""

from __future__ import annotations

__all__ = ["one_line"]

_LONGEST = 300


def one_line(text: str) -> str:
    """Return ``text`` as one printable line, cut when long."""
    start = " ".join(text[: 4 * _LONGEST].split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in start)
    is_cut = len(shown) > _LONGEST or len(text) > 4 * _LONGEST
    return shown[:_LONGEST] + "..." if is_cut else shown
