"""Real processes on this machine: spawned, drained, watched and taken away.

Everything happens in one reader thread; what holds the trees is behind one small interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._backend import SubprocessBackend
from ._members import Member

if TYPE_CHECKING:
    from ._census import below, marked, put_down

__all__ = ["Member", "SubprocessBackend", "below", "marked", "put_down"]


def __getattr__(name: str) -> object:
    """Load the census, and psutil with it, when somebody looks for what was left behind."""
    if name in ("below", "marked", "put_down"):
        from . import _census  # noqa: PLC0415 - a plain manager never needs it

        return getattr(_census, name)
    raise AttributeError(name)
