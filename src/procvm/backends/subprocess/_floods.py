"""Larger pipes for the few programs that flood, lent for as long as they do.

A pipe of 64 KiB is emptied once for each hand-over of the interpreter lock, which takes 5 ms
beside a thread that computes: 12 MB/s. One of 1 MiB lets 100 MB/s through. It cannot be the
default: the pages of a user's pipes are bounded (pipe(7), pipe-user-pages-soft), and beyond the
bound every fresh pipe of that user, in any process, has two pages.
"""

from __future__ import annotations

import fcntl
import threading
import time
from typing import Any, ClassVar

from ..base import Timer
from ._holds import Reactor

__all__ = ["Floods"]

_LARGE = 2**20
_PAGE = 4096
_FULL_READS, _WITHIN = 16, 1.0  # as many full pipes in so many seconds are a flood
_STILL_A_FLOOD = 2 * 2**20  # bytes a second, above what the small pipe lets through at its worst
_MOST_LENT = 16  # of one process: a quarter of what a user has
_REFUSED_FOR = 10.0


class _Pipe:
    """One pipe that was seen full, or is being looked at."""

    def __init__(self, size: int) -> None:
        self.size = self.usual = size
        self.full, self.since, self.refused_until = 0, 0.0, 0.0
        self.read = 0
        self.timer: Timer | None = None


class Floods:
    """Knows the pipes of one backend; lives in its loop.

    Attributes:
        is_possible: Whether this system can change a pipe's size.
    """

    is_possible: ClassVar[bool] = hasattr(fcntl, "F_SETPIPE_SZ")
    _lent: ClassVar[int] = 0
    _lock: ClassVar[Any] = threading.Lock()  # the number lent is the process's, of all backends

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._pipes: dict[int, _Pipe] = {}

    def most(self, fd: int, usual: int) -> int:
        """Return how much to read at once: all of a large pipe, in one hand-over of the lock."""
        pipe = self._pipes.get(fd)
        return usual if pipe is None else max(usual, pipe.size)

    def saw(self, fd: int, size: int) -> None:
        """Note that so much was read; a pipe that is full again and again grows."""
        if size < _PAGE or not self.is_possible:
            return
        pipe = self._pipes.get(fd)
        if pipe is None:
            pipe = self._pipes[fd] = _Pipe(fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ))
        if pipe.timer is not None:
            pipe.read += size
        elif size >= pipe.size:
            self._was_full(fd, pipe)

    def _was_full(self, fd: int, pipe: _Pipe) -> None:
        now = time.monotonic()
        if now - pipe.since > _WITHIN:
            pipe.full, pipe.since = 0, now
        pipe.full += 1
        if pipe.full >= _FULL_READS and now >= pipe.refused_until:
            pipe.full = 0
            if self._grow(fd, pipe):
                pipe.timer = self._reactor.call_later(_WITHIN, lambda: self._look(fd, pipe))
            else:
                pipe.refused_until = now + _REFUSED_FOR

    def _grow(self, fd: int, pipe: _Pipe) -> bool:
        with Floods._lock:
            if Floods._lent >= _MOST_LENT:
                return False
            Floods._lent += 1
        try:
            pipe.size = fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE)
        except OSError:  # the user's pages are used up: it goes on as it is
            self._give_back()
            return False
        return True

    def _give_back(self) -> None:
        with Floods._lock:
            Floods._lent -= 1

    def _look(self, fd: int, pipe: _Pipe) -> None:
        """Shrink it when the flood is over; what is in it must fit, or it is looked at again."""
        is_over, pipe.read = pipe.read < _STILL_A_FLOOD * _WITHIN, 0
        if is_over:
            try:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, pipe.usual)
            except OSError:
                pass  # EBUSY: there is more in it than fits (fcntl(2))
            else:
                self._give_back()
                del self._pipes[fd]
                return
        pipe.timer = self._reactor.call_later(_WITHIN, lambda: self._look(fd, pipe))

    def forget(self, fd: int) -> None:
        """Know it no more; call it before ``fd`` is closed."""
        pipe = self._pipes.pop(fd, None)
        if pipe is not None and pipe.timer is not None:
            pipe.timer.cancel()
            self._give_back()
