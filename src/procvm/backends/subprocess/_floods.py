"""Larger pipes for the few programs that flood, lent for as long as they do.

A pipe of 64 KiB is emptied once for each hand-over of the interpreter lock, which takes 5 ms
beside a thread that computes: 12 MB/s. One of 1 MiB lets 100 MB/s through. It cannot be the
default: the pages of a user's pipes are bounded (pipe(7), pipe-user-pages-soft), and beyond the
bound every fresh pipe of that user, in any process, has two pages.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
import time
from typing import Any, ClassVar

__all__ = ["Flood"]

_LARGE = 2**20
_PAGE = 4096
_FULL_READS, _WITHIN = 16, 1.0  # as many full pipes in so many seconds are a flood
_STILL_A_FLOOD = 2 * 2**20  # bytes a second, above what the small pipe lets through at its worst
_MOST_LENT = 16  # of one process: a quarter of what a user has
_REFUSED_FOR = 10.0


class Flood:
    """How large one pipe is, and why; for whoever reads it, one call at a time.

    Attributes:
        is_possible: Whether this system can change a pipe's size.
        LOOK_EVERY: Seconds between two looks at a large one.
    """

    is_possible: ClassVar[bool] = hasattr(fcntl, "F_SETPIPE_SZ")
    LOOK_EVERY: ClassVar[float] = _WITHIN
    _lent: ClassVar[int] = 0
    _lock: ClassVar[Any] = threading.Lock()  # the number lent is the process's, of all backends

    def __init__(self) -> None:
        self.size = self._usual = 0  # not known yet
        self.is_large = False
        self._full, self._since, self._refused_until = 0, 0.0, 0.0
        self._read = 0

    def saw(self, fd: int, size: int) -> None:
        """Note that so much was read; a pipe that is full again and again grows."""
        if size < _PAGE or not self.is_possible:
            return
        if not self.size:
            self.size = self._usual = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        if self.is_large:
            self._read += size
        elif size >= self.size:
            self._was_full(fd)

    def _was_full(self, fd: int) -> None:
        now = time.monotonic()
        if now - self._since > _WITHIN:
            self._full, self._since = 0, now
        self._full += 1
        if self._full >= _FULL_READS and now >= self._refused_until:
            self._full = 0
            if not self._grow(fd):
                self._refused_until = now + _REFUSED_FOR

    def _grow(self, fd: int) -> bool:
        with Flood._lock:
            if Flood._lent >= _MOST_LENT:
                return False
            Flood._lent += 1
        try:
            self.size = fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE)
        except OSError:  # the user's pages are used up: it goes on as it is
            self._give_back()
            return False
        self.is_large, self._read = True, 0
        return True

    def _give_back(self) -> None:
        with Flood._lock:
            Flood._lent -= 1

    def look(self, fd: int) -> None:
        """Shrink it when the flood is over; what is in it must fit, or it stays as it is."""
        is_over, self._read = self._read < _STILL_A_FLOOD * _WITHIN, 0
        if is_over and self.is_large:
            with contextlib.suppress(OSError):  # EBUSY: there is more in it than fits (fcntl(2))
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, self._usual)
                self.size = self._usual
                self.forget()

    def forget(self) -> None:
        """It is large no more, or about to be closed."""
        if self.is_large:
            self.is_large = False
            self._give_back()
