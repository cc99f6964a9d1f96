"""What a caller blocks on: a bare lock, the cheapest hand-over between two threads."""

from __future__ import annotations

import threading

__all__ = ["LockWaiter"]


class LockWaiter:
    """Set once by the loop; waited for like an Event, at a third of its price."""

    __slots__ = ("_is_set", "_lock")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the caller; again is silent."""
        if not self._is_set:
            self._is_set = True
            self._lock.release()

    def is_set(self) -> bool:
        """Tell whether it was woken."""
        return self._is_set

    def wait(self, timeout: float | None) -> bool:
        """Block until it is set, at most ``timeout`` seconds; a signal's handler may interrupt."""
        if not self._is_set:
            longest = threading.TIMEOUT_MAX
            if self._lock.acquire(timeout=-1 if timeout is None else min(timeout, longest)):
                self._lock.release()  # a signal's handler may wait for the same on top of this
        return self._is_set
