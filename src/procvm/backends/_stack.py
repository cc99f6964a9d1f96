"""Room on the caller's stack, made sure of before anything happens."""

from __future__ import annotations

__all__ = ["ensure_room"]

_FRAMES = 60  # more than any verb needs, with a logging handler at its end


def ensure_room(frames: int = _FRAMES) -> None:
    """Raise RecursionError now, and not in the middle of what follows."""
    if frames:
        ensure_room(frames - 1)
