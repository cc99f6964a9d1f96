"""How a manager ends: one close at a time, and an interrupted one goes on behind its caller."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from ..backends import Backend, Waiter
from ..engine import Engine, Ticket
from ..errors import StartError, StopError

__all__ = ["Closing", "told"]

_log = logging.getLogger("procvm")
_LAST_PATIENCE = 5.0
_FEW = 5  # names in a line


class _Behind:
    """A close in a thread of its own, and what it could not stop."""

    def __init__(self, backend: Backend) -> None:
        self.waiter: Waiter = backend.waiter()
        self.errors: list[StopError] = []

    def taken(self) -> list[StopError]:
        """Return what is to be told of it, once."""
        errors, self.errors = self.errors, []
        return errors


class Closing:
    """The end of one engine and its backend.

    Attributes:
        is_closed: Whether every VM is gone.
        is_over: Whether the backend has ended as well.
        is_last: Whether the interpreter ends, and an interrupted close is not gone on with.
    """

    def __init__(self, engine: Engine, backend: Backend, over: Callable[[], None]) -> None:
        self._engine, self._backend, self._tell_over = engine, backend, over
        self.is_closed = self.is_over = self.is_last = False
        self._lock = threading.RLock()
        self._ticket: Ticket | None = None
        self._tickets: list[Ticket] = []
        self._behind: _Behind | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it ends by itself, whoever has gone."""
        return self._behind is not None

    def close(self, grace: float | None) -> list[StopError]:
        """Remove everything and end the backend; return what could not be stopped."""
        self._hurry(grace)
        try:
            if self._behind is not None:
                self._backend.block(self._behind.waiter, None)
            errors = self._finish(grace)
        except Exception:
            raise  # the caller is told, and may try again
        except BaseException:  # an interrupt, which tells nobody what is left to do
            self._go_on(grace)
            raise
        self._join_listeners()
        self._tell_over()
        return errors + self.untold()

    def behind(self, grace: float | None, done: Callable[[], None]) -> None:
        """Close in a thread of its own, and call ``done`` there at its end.

        What it could not stop is what ``untold`` returns. RuntimeError: no thread is to be had.
        """
        self._hurry(grace)
        behind = _Behind(self._backend)

        def finish() -> None:
            try:
                behind.errors = self._finish(grace)
                behind.waiter.set()  # before that: one of them may wait for it
                self._join_listeners()
                self._tell_over()
            finally:
                behind.waiter.set()
                done()

        threading.Thread(target=finish, name="procvm-closing", daemon=True).start()
        if self._behind is None:
            self._behind = behind

    def untold(self) -> list[StopError]:
        """Return what a close behind its caller could not stop, once."""
        return [] if self._behind is None else self._behind.taken()

    def _hurry(self, grace: float | None) -> None:
        """Shorten the grace of a close in progress, of another thread or interrupted."""
        if self._engine.is_closing and not self.is_closed and grace is not None:
            with contextlib.suppress(StartError):  # no loop could be had: nothing was started
                self._backend.post(lambda: self._engine.close([], grace))

    def _join_listeners(self) -> None:
        """Wait until the subscribers have heard of it all; without the lock: they may close."""
        end = time.monotonic() + _LAST_PATIENCE
        for listener in self._engine.listeners:
            listener.join(max(0.0, end - time.monotonic()))

    def _finish(self, grace: float | None) -> list[StopError]:
        ticket = Ticket(self._backend, "close")
        with self._lock:  # one waits at a time: the next finds it over
            if self.is_over:
                return []
            self._engine.is_closing = True
            if self._ticket is None:  # else an interrupted close has begun it
                try:
                    self._backend.post(lambda: self._begin(ticket, grace))
                except StartError:  # no loop could be had: then nothing was ever started
                    ticket.settle()
                self._ticket = ticket
            self._backend.block(self._ticket.waiter, None)
            for removal in self._tickets:
                self._backend.block(removal.waiter, None)
            self.is_closed = True
            for listener in self._engine.listeners:
                listener.stop()
            self._backend.close()
            self.is_over = True  # at the end: until then an interrupt has not ended it
            return [e for t in self._tickets if isinstance(e := t.error, StopError)]

    def _begin(self, ticket: Ticket, grace: float | None) -> None:
        self._engine.close(self._tickets, grace)
        ticket.settle()

    def _go_on(self, grace: float | None) -> None:
        """Finish an interrupted close behind its caller: nobody may ever close again."""
        is_virtual = self._backend.capabilities.containment == "virtual"  # it has nothing to end
        if self.is_last or self.is_over or self.goes_on or is_virtual:
            return
        if self._engine.is_closing:
            with contextlib.suppress(RuntimeError):  # the interpreter ends: it closes all
                self.behind(grace, lambda: None)
                self.tell_who_is_left(grace)

    def tell_who_is_left(self, grace: float | None) -> None:
        """Log what an interrupted close goes on to wait for."""
        left = [entry.record.config for entry in self._engine.entries.copy().values()]
        if not left:
            return
        names = ", ".join(repr(config.name) for config in left[:_FEW])
        more = f" and {len(left) - _FEW} more" if len(left) > _FEW else ""
        most = max(config.stop.grace for config in left) if grace is None else grace
        words = "close was interrupted and goes on: %s%s may take up to %g s to end"
        with contextlib.suppress(Exception):  # a filter of the host's log, say
            _log.warning(words, names, more, most)

    def give_up(self) -> None:
        """Let nobody wait any more for what does not answer, nor at the interpreter's end."""
        self.is_closed = True
        for listener in self._engine.listeners:
            listener.stop()
        self._tell_over()


def told(errors: list[StopError]) -> None:
    """Raise what a close has met."""
    if errors:
        raise ExceptionGroup("not everything could be stopped", errors)
