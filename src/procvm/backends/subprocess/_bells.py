"""What wakes one caller: a pipe of ours where there is one, else a lock.

The kernel is told that whoever writes into a pipe is about to sleep (a "synchronous" wake-up:
``pipe_write`` in fs/pipe.c), and lets the reader run there next. A lock's owner is woken on the
processor where it fell asleep, which on few cores is often the one that loads the new program's
libraries: it waits for half a millisecond more.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import weakref
from typing import Protocol

from ._calls import CALLS
from ._reactor import ReactorThread

__all__ = ["Bell", "Bells", "LockBell", "PipeBell"]

_MOST = 1  # mostly one thread waits, and each pipe is two descriptors; the others have locks


class Bell(Protocol):
    """Rung once by any thread, waited for by one."""

    def ring(self) -> None:
        """Wake who waits; never blocks."""

    def wait(self, seconds: float) -> bool:
        """Wait until it is rung (True) or time is up (False); a signal's handler may raise."""

    def reset(self) -> None:
        """Make one that is rung as it was before."""


class LockBell:
    """A bare lock, the cheapest hand-over that every system has."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        self._lock.release()

    def wait(self, seconds: float) -> bool:
        is_rung = self._lock.acquire(timeout=seconds)
        if is_rung:
            self._lock.release()  # reset takes it
        return is_rung

    def reset(self) -> None:
        self._lock.acquire()


class PipeBell:
    """A pipe(7), closed with the last reference to it."""

    __slots__ = ("__weakref__", "_poll", "_read", "_write")

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    def ring(self) -> None:
        CALLS.ring(self._write)

    def wait(self, seconds: float) -> bool:
        return bool(self._poll.poll(seconds * 1000))

    def reset(self) -> None:
        CALLS.hush(self._read)

    def close(self) -> None:
        """Close it, once; nobody rings or waits any more."""
        read, write, self._read, self._write = self._read, self._write, -1, -1
        if read >= 0:
            try:
                os.close(read)
            finally:  # an interrupt may come between the two
                os.close(write)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # made in part, or the interpreter is ending
            self.close()


class Bells:
    """The pipes of this process, made in the loop: Ctrl-C may hit a caller between any steps.

    One is made when the loop begins, and again when an interrupted wait has cost it.
    """

    def __init__(self, reactor: ReactorThread) -> None:
        self._reactor = reactor
        self._idle: list[PipeBell] = []
        self._made: weakref.WeakSet[PipeBell] = weakref.WeakSet()
        self._is_closed = sys.platform != "linux"
        reactor.call_first(self._make)

    def take(self) -> Bell:
        """Return one that is not rung; a lock, for now, where no pipe is free."""
        try:
            return self._idle.pop()
        except IndexError:
            if self._has_room() and self._reactor.has_begun:
                self._reactor.post(self._make)
            return LockBell()

    def ring(self, bell: Bell) -> None:
        """Ring it; the loop does so when it has done what it is at."""
        if self._reactor.is_current:
            self._reactor.call_last(bell.ring)
        else:
            bell.ring()

    def give_back(self, bell: Bell) -> None:
        """Keep one that is not rung, and that nobody will ring, for another caller."""
        if isinstance(bell, PipeBell):
            self._idle.append(bell)
            if self._is_closed:
                self._close_idle()

    def _has_room(self) -> bool:
        return not self._is_closed and len(self._made) < _MOST

    def _make(self) -> None:
        if self._has_room():
            with contextlib.suppress(OSError):  # no descriptor is left
                bell = PipeBell()
                self._made.add(bell)
                self.give_back(bell)

    def close(self) -> None:
        """Close what nobody waits for; the others with the end of their waits."""
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread closes too
                self._idle.pop().close()

    def forget(self) -> None:
        """In a forked child: close its copies, also those of threads that are not there."""
        self._is_closed = True
        for bell in tuple(self._made):
            bell.close()
