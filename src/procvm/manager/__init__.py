"""Floor 7, the faces: the only code that waits.

A verb posts a command to the engine and waits for its ticket; it changes nothing itself.
"""

from __future__ import annotations

from ._core import Core, on_open, open_cores
from ._sync import VMManager

__all__ = ["Core", "VMManager", "on_open", "open_cores"]
