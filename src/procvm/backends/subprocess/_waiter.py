"""What a caller blocks on: a bare lock, the cheapest hand-over between two threads."""

from __future__ import annotations

import threading
import time

__all__ = ["LockWaiter"]

_FIRST_SLICE = 0.05
_LONGEST_SLICE = 2.0


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
        __tracebackhide__ = True  # IPython and pytest show the verb, and not how it waits
        if self._is_set:
            return True
        longest = threading.TIMEOUT_MAX if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        if threading.get_ident() == threading.main_thread().ident:
            return self._wait_in_slices(time.monotonic() + longest)
        return self._acquire(-1 if timeout is None else longest)

    def _wait_in_slices(self, end: float) -> bool:
        """Wait as the main thread, which looks up now and then: a Ctrl-C may be overdue.

        A signal that comes while a thread waits for the interpreter's lock, on its way into
        acquire, is kept by CPython until that thread runs Python again: it does not end the
        acquire. At the start of a wait that is likely, later it is not.
        """
        __tracebackhide__ = True
        a_slice = _FIRST_SLICE
        while not self._is_set and (left := end - time.monotonic()) > 0:
            self._acquire(min(left, a_slice))
            a_slice = min(2 * a_slice, _LONGEST_SLICE)
        return self._is_set

    def _acquire(self, seconds: float) -> bool:
        """Block; -1: for as long as it takes."""
        if self._lock.acquire(timeout=seconds):
            self._lock.release()  # a signal's handler may wait for the same on top of this
        return self._is_set
