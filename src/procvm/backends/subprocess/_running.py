"""One incarnation, as its backend knows it."""

from __future__ import annotations

from ..base import Plan
from ._logfile import LogFile
from .probing import NotifySocket, Watcher

__all__ = ["Running"]


class Running:
    """Its pipes, its log file, its probes and what it says of itself."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pipes: dict[str, int] = {}
        self.file: LogFile | None = None
        self.watchers: dict[str, Watcher] = {}
        self.notify: NotifySocket | None = None
