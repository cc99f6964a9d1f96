"""What a caller blocks on."""

from __future__ import annotations

import threading
import time

from ._bells import Bell, Bells, LockBell

__all__ = ["BellWaiter"]

_FIRST_SLICE = 0.05
_LONGEST_SLICE = 2.0
_A_MINUTE = 60.0  # whoever sets it late, in the main thread, may be interrupted before it rings


class BellWaiter:
    """Set once by the loop; waited for like an Event, at a third of its price.

    Args:
        bells: Where to take one from; None: nothing has begun yet, and a lock will do.
    """

    __slots__ = ("_bells", "_is_set", "_waiting")

    def __init__(self, bells: Bells | None) -> None:
        self._is_set = False
        self._bells = bells
        self._waiting: list[Bell] = []

    def set(self) -> None:
        """Wake the caller; again is silent."""
        self._is_set = True
        while self._waiting:
            try:
                bell = self._waiting.pop()
            except IndexError:  # its caller took it back just now
                return
            if self._bells is None:
                bell.ring()
            else:
                self._bells.ring(bell)

    def is_set(self) -> bool:
        """Tell whether it was woken."""
        return self._is_set

    def wait(self, timeout: float | None) -> bool:
        """Block until it is set, at most ``timeout`` seconds; a signal's handler may interrupt.

        The handler may wait for the same on top of this. A bell that may be rung yet is not
        given back: one whose wait is interrupted, or ends as it is set.
        """
        __tracebackhide__ = True  # IPython and pytest show the verb, and not how it waits
        if self._is_set:
            return True
        bell = LockBell() if self._bells is None else self._bells.take()
        self._waiting.append(bell)
        if not self._is_set:  # else nobody may be going to ring
            self._wait_in_slices(bell, timeout)
        try:
            self._waiting.remove(bell)
        except ValueError:
            if not bell.wait(0):  # it is about to be rung, which may take as long as a call
                return self._is_set
            bell.reset()
        if self._bells is not None:
            self._bells.give_back(bell)
        return self._is_set

    def _wait_in_slices(self, bell: Bell, timeout: float | None) -> None:
        """Wait; the main thread looks up now and then, as a Ctrl-C may be overdue.

        A signal that comes while a thread waits for the interpreter's lock, on its way into
        the wait, is kept by CPython until that thread runs Python again: it does not end the
        wait. At the start of a wait that is likely, later it is not.
        """
        __tracebackhide__ = True
        in_main = threading.get_ident() == threading.main_thread().ident
        a_slice, longest = (_FIRST_SLICE, _LONGEST_SLICE) if in_main else (_A_MINUTE, _A_MINUTE)
        end = None if timeout is None else time.monotonic() + timeout
        left = longest
        while end is None or (left := end - time.monotonic()) > 0:
            if bell.wait(min(left, a_slice)) or self._is_set:
                return
            a_slice = min(2 * a_slice, longest)
