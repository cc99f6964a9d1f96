"""How the end of a child is seen, by event and without reaping it, where there are no pidfds."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ._holds import Reactor

__all__ = ["Exits", "KqueueExits", "ThreadExits", "exits_for"]

_NOTE_EXITSTATUS = 0x04000000  # macOS: the event carries the wait status, kqueue(2)
Ended = Callable[[int | None], None]  # the wait status, None where it is still to be asked for


class Exits(Protocol):
    """Tells of each watched child once, in the loop."""

    def watch(self, pid: int, ended: Ended) -> None:
        """Call ``ended`` when the child ``pid`` has ended."""

    def close(self) -> None:
        """Watch nothing any more."""


class KqueueExits:
    """kqueue(2) with EVFILT_PROC, on macOS and the BSDs: one descriptor for all children."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._queue: Any = None
        self._watched: dict[int, Ended] = {}

    def watch(self, pid: int, ended: Ended) -> None:
        """See Exits."""
        system: Any = select
        if self._queue is None:
            self._queue = system.kqueue()
            self._reactor.register(self._queue.fileno(), self._read)
        self._watched[pid] = ended
        flags = system.KQ_NOTE_EXIT | _NOTE_EXITSTATUS
        event = system.kevent(
            pid, system.KQ_FILTER_PROC, system.KQ_EV_ADD | system.KQ_EV_ONESHOT, flags
        )
        try:
            self._queue.control([event], 0)
        except ProcessLookupError:  # a zombie already: nothing more is told of it
            self._reactor.post(lambda: self._tell(pid, None))

    def _read(self) -> None:
        for event in self._queue.control(None, 64, 0):
            has_status = event.fflags & _NOTE_EXITSTATUS
            self._tell(event.ident, event.data if has_status else None)

    def _tell(self, pid: int, status: int | None) -> None:
        ended = self._watched.pop(pid, None)
        if ended is not None:
            ended(status)

    def close(self) -> None:
        """See Exits."""
        self._watched.clear()
        if self._queue is not None:
            self._reactor.unregister(self._queue.fileno())
            self._queue.close()
            self._queue = None


class ThreadExits:
    """A waiting thread for each child, for systems with neither."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def watch(self, pid: int, ended: Ended) -> None:
        """See Exits."""

        def wait() -> None:
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                pass  # somebody else reaped it: told as lost
            self._reactor.post(lambda: ended(None))

        threading.Thread(target=wait, name="procvm-exit", daemon=True).start()

    def close(self) -> None:
        """See Exits."""


def exits_for(reactor: Reactor) -> Exits:
    """Return the best that this system has."""
    return KqueueExits(reactor) if hasattr(select, "kqueue") else ThreadExits(reactor)
