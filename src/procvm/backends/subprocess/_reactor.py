"""The one loop: a thread that waits for descriptors, timers and calls from other threads."""

from __future__ import annotations

import heapq
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["ReactorThread"]

_log = logging.getLogger("procvm")


class _Timer:
    """A call that is to come."""

    __slots__ = ("at", "call")

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: _Timer) -> bool:
        return self.at < other.at


class ReactorThread:
    """Runs everything that the backend does; started by the first post, ended by close."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[_Timer] = []
        self._ready: dict[int, Callable[[], None]] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._claim = threading.Lock()
        self._has_begun = False
        self._selector: selectors.BaseSelector | None = None
        self._wake: tuple[int, int] | None = None
        self._is_ended = False

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop, in order; from any thread."""
        self._calls.append(call)
        if not self._has_begun:
            self._begin()
        wake = self._wake
        if wake is not None and threading.current_thread() is not self._thread:
            try:
                os.write(wake[1], b"\0")
            except (BlockingIOError, OSError):
                pass  # full: it wakes anyway; closed: nobody is left to wake

    def _begin(self) -> None:
        """Start the thread; an interrupt at any point of this leaves at most one that runs."""
        with self._starting:
            if self._has_begun or self._is_ended:
                return
            if self._selector is None:
                self._selector = selectors.DefaultSelector()
            if self._wake is None:
                self._wake = os.pipe()
            thread = threading.Thread(target=self._run, name="procvm-reactor", daemon=True)
            self._threads.append(thread)
            thread.start()
            self._has_begun = True

    def _drain_wake(self) -> None:
        if self._wake is not None:
            try:
                while len(os.read(self._wake[0], 4096)) == 4096:  # noqa: PLR2004 - one buffer
                    pass
            except BlockingIOError:
                pass

    def register(self, fd: int, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever ``fd`` is readable or hung up."""
        if self._selector is not None:
            self._selector.register(fd, selectors.EVENT_READ, ready)

    def unregister(self, fd: int) -> None:
        """Stop watching ``fd``."""
        if self._selector is not None:
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError):
                pass  # it was not watched

    def call_later(self, delay: float, call: Callable[[], None]) -> _Timer:
        """Run ``call`` after ``delay`` seconds."""
        timer = _Timer(time.monotonic() + max(0.0, delay), call)
        heapq.heappush(self._timers, timer)
        return timer

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    @property
    def is_current(self) -> bool:
        """Whether the caller is the loop."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return  # an interrupted start was made twice: one loop is enough
        self._thread = threading.current_thread()
        assert self._selector is not None  # noqa: S101 - made before the thread
        assert self._wake is not None  # noqa: S101 - the same
        for fd in self._wake:
            os.set_blocking(fd, False)
        self._selector.register(self._wake[0], selectors.EVENT_READ, self._drain_wake)
        while not self._is_ended or self._calls:
            while self._calls:
                self._perform(self._calls.popleft())
            for key, _ in self._selector.select(self._patience()):
                if key.fd in self._selector.get_map():  # an earlier one may have closed it
                    self._perform(key.data)
            self._run_timers()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if self._calls or self._is_ended:
            return 0.0
        if not self._timers:
            return None
        return max(0.0, self._timers[0].at - time.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            if timer.call is not None:
                call, timer.call = timer.call, None
                self._perform(call)

    def _perform(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - one bad call must not end the loop for all
            _log.exception("procvm: a call in the loop failed")

    def close(self) -> None:
        """End the loop after what was posted, and close its descriptors; again is silent."""
        with self._starting:
            if self._is_ended:
                return
            self._is_ended = True
        if self._threads and self._wake is not None and self._selector is not None:
            os.write(self._wake[1], b"\0")
            if not self.is_current:
                for thread in self._threads:
                    if thread.is_alive():
                        thread.join()
            self._selector.close()
            for fd in self._wake:
                os.close(fd)
            self._wake = None

    def forget(self) -> None:
        """Close this forked child's copies; what is shared with the parent is left alone."""
        self._is_ended = True
        if self._wake is not None and self._selector is not None:
            self._selector.close()
            for fd in self._wake:
                os.close(fd)
            self._wake = None
