"""One incarnation, as its backend knows it, and among the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..base import Key, Plan
from ._holds import Holder
from ._logfile import LogFile
from ._pipe import Pipes
from .probing import NotifySocket, Watcher

__all__ = ["Running", "RunningTrees"]


class Running:
    """Its pipes, its log file, its probes and what it says of itself."""

    def __init__(self, plan: Plan, pipes: Pipes, file: LogFile | None) -> None:
        self.plan, self.pipes, self.file = plan, pipes, file
        self.pid: int | None = None
        self.watchers: dict[str, Watcher] = {}
        self.notify: NotifySocket | None = None


class RunningTrees:
    """The processes of one incarnation and of the others; asked from any thread."""

    def __init__(self, key: Key, running: dict[Key, Running], holder: Holder) -> None:
        self._key, self._running, self._holder = key, running, holder

    @property
    def main(self) -> int | None:
        """Its main process."""
        mine = self._running.get(self._key)
        return None if mine is None else mine.pid

    def pids(self) -> tuple[int, ...]:
        """Return all processes of its tree."""
        return self._holder.pids(self._key)

    def neighbours(self) -> dict[str, Callable[[], tuple[int, ...]]]:
        """Return, for each other VM by its name, what returns its processes."""
        return {
            one.plan.config.name: partial(self._holder.pids, key)
            for key, one in self._running.copy().items()
            if key.vm_id != self._key.vm_id
        }
