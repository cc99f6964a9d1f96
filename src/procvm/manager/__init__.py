"""Floor 7, the faces: the only code that waits.

A verb posts a command to the engine and waits for its ticket; it changes nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core import Core, on_open, open_cores
from ._sync import VMManager
from ._until import seconds

if TYPE_CHECKING:
    from ._watch import Watch

__all__ = ["Core", "VMManager", "Watch", "on_open", "open_cores", "seconds"]


def __getattr__(name: str) -> object:
    """Load the live table when it is first used; a program outside of a notebook never does."""
    if name != "Watch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._watch import Watch  # noqa: PLC0415 - only a notebook needs it

    return Watch
