"""Room on the caller's stack, made sure of before anything happens."""

from __future__ import annotations

import sys

__all__ = ["ensure_room"]

_FRAMES = 60  # more than any verb needs, with a logging handler at its end


def ensure_room() -> None:
    """Raise RecursionError now, and not in the middle of what follows."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)  # noqa: SLF001 - a look at the depth, at no cost
    except ValueError:
        return  # less than half is used
    _descend(_FRAMES)


def _descend(frames: int) -> None:
    if frames:
        _descend(frames - 1)
