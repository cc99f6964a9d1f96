"""Events as an async iterator: from the engine's thread into one loop, without one between."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator
from typing import Self

from ..values import VMEvent
from ._awaiting import hearing
from ._core import Core

__all__ = ["EventIterator"]

_log = logging.getLogger("procvm")
_LONGEST = 10_000


class _Ear:
    """A Listener that keeps events for a loop; what does not fit is counted in ``lost``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.kept: deque[VMEvent] = deque()
        self.more = asyncio.Event()
        self.is_over = False
        self.lost = 0

    def put(self, item: VMEvent) -> None:
        """Keep it; in the engine's thread, so it never blocks."""
        if len(self.kept) >= _LONGEST:
            self.lost += 1
            if self.lost == 1:
                _log.warning("a reader of events is too slow: events are lost to it")
            return
        self.kept.append(item)
        self._wake()

    def stop(self) -> None:
        """Let the reader end after what is kept."""
        self.is_over = True
        self._wake()

    def look(self) -> None:
        """Wake the reader when there is something for it; in its loop."""
        if self.kept or self.is_over:
            self.more.set()

    def join(self, timeout: float) -> None:
        """Wait for nothing: what is kept is its reader's."""

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.more.set)
        except RuntimeError:
            self.kept.clear()  # the loop is closed: nobody listens


class EventIterator(AsyncIterator[VMEvent]):
    """Every event since it was made, in order, until it or the manager is closed."""

    def __init__(self, core: Core) -> None:
        self._ear = _Ear(asyncio.get_running_loop())
        core.check("events")
        core.add_listener(self._ear)
        self._undo = weakref.finalize(self, core.drop_listener, self._ear)
        self._undo.atexit = False

    def __repr__(self) -> str:
        """Say what it is for."""
        return "<EventIterator: async for event in ...>"

    @property
    def lost(self) -> int:
        """How many events came while too many were kept for a reader that is slow."""
        return self._ear.lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> VMEvent:
        ear = self._ear
        try:
            while not ear.kept:
                if ear.is_over:
                    raise StopAsyncIteration
                ear.more.clear()
                if not (ear.kept or ear.is_over):  # none came between
                    with hearing(ear.look):
                        await ear.more.wait()
            return ear.kept.popleft()
        finally:
            del self  # a traceback, which a notebook keeps, would keep it hearing

    async def aclose(self) -> None:
        """Hear no more; again is silent."""
        self._undo()
        self._ear.kept.clear()
        self._ear.stop()
