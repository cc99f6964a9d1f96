"""Floor 6, where decisions meet the world: one writer over one backend.

It feeds facts and requests to the rules, performs their effects, and publishes snapshots.
It never blocks and makes no decision of its own.
"""

from __future__ import annotations

from ._engine import Engine
from ._history import History
from ._logs import Chunk, LineParser, LogBook, near_end
from ._tickets import Ticket

__all__ = ["Chunk", "Engine", "History", "LineParser", "LogBook", "Ticket", "near_end"]
