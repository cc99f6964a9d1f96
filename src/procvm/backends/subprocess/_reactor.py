"""The one loop: a thread that waits for descriptors, timers and calls from other threads."""

from __future__ import annotations

import contextlib
import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from ...errors import ResourceError
from ._poller import Poller, make_poller

__all__ = ["ReactorThread"]

_log = logging.getLogger("procvm")
_LONGEST_WAIT = 86400.0  # milliseconds are an int in C: a wait for years would overflow it


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
    """Runs everything that the backends do; started by the first post, ended by close."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._last: deque[Callable[[], None]] = deque()
        self._timers: list[_Timer] = []
        self._ready: dict[int, Callable[[], object]] = {}
        self._stale: set[int] = set()
        # A signal's handler may call a verb on top of one, also while that has one of these.
        self._starting = threading.RLock()
        self._waking = threading.RLock()
        self._thread: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._claim = threading.Lock()
        self._has_begun = False
        self._is_asleep = True
        self._poller: Poller | None = None
        self._is_ended = False
        self._is_over = False
        self._afterwards = threading.RLock()

    @property
    def has_begun(self) -> bool:
        """Whether anything was ever posted."""
        return self._has_begun

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop, in order; from any thread.

        After the end of the loop it runs at once: whoever posts late waits for an answer too.

        Raises:
            ResourceError: The first call of all, and there is no thread or descriptor for a loop.
        """
        if not self._has_begun:
            self._begin()
        self._calls.append(call)
        if self._is_over:  # set before the loop looks at the calls for the last time
            self._run_calls()
        elif self._is_asleep:  # set before the loop looks at the calls for the last time
            with self._waking:  # so that no descriptor is written that was closed meanwhile
                poller = self._poller
                if poller is not None:
                    poller.wake()

    def _begin(self) -> None:
        """Start the thread; an interrupt at any point of this leaves at most one that runs."""
        with self._starting:
            if self._has_begun or self._is_ended:
                return
            thread = threading.Thread(target=self._run, name="procvm-reactor", daemon=True)
            self._threads.append(thread)
            try:
                if self._poller is None:
                    self._poller = make_poller()
                thread.start()
            except (OSError, RuntimeError) as e:
                why = f"there is no thread or descriptor left to run anything with: {e}"
                raise ResourceError(why, step="thread", errno=getattr(e, "errno", None)) from e
            self._has_begun = True

    def register(self, fd: int, ready: Callable[[], object]) -> None:
        """Call ``ready`` whenever ``fd`` is readable or hung up."""
        if self._poller is not None:
            self._poller.add(fd)
            self._ready[fd] = ready

    def unregister(self, fd: int) -> None:
        """Stop watching ``fd``."""
        if self._ready.pop(fd, None) is not None and self._poller is not None:
            self._poller.remove(fd)
            self._stale.add(fd)

    def call_later(self, delay: float, call: Callable[[], None]) -> _Timer:
        """Run ``call`` after ``delay`` seconds."""
        timer = _Timer(time.monotonic() + max(0.0, delay), call)
        heapq.heappush(self._timers, timer)
        return timer

    def call_first(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop when that begins, which this does not do."""
        self._calls.append(call)

    def call_last(self, call: Callable[[], None]) -> None:
        """Loop: run ``call`` when the present one has returned, if possible right before a sleep.

        For what wakes another thread: it wants the interpreter lock, and perhaps the processor.
        """
        self._last.append(call)

    def wake_callers(self) -> None:
        """Loop: run at once what was to be run last."""
        self._run_last()

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
        poller = self._poller
        assert poller is not None  # noqa: S101 - made before the thread
        try:
            while not self._is_ended or self._calls:
                self._is_asleep = False
                for _ in range(len(self._calls)):  # what they post comes after the descriptors
                    self._perform(self._calls.popleft())
                self._is_asleep = True
                patience = self._patience()
                self._run_last()
                fds = poller.wait(patience)
                self._is_asleep = False
                self._stale.clear()
                for fd in fds:
                    ready = self._ready.get(fd)
                    if ready is not None and fd not in self._stale:  # the number may be used anew
                        self._perform(ready)
                if self._timers:
                    self._run_timers()
        finally:  # whoever posts to a loop that is no more is answered too
            self._is_over = True
            self._run_calls()
            self._run_last()

    def _run_calls(self) -> None:
        """Run what came after the loop, in whose thread ever; one at a time."""
        with self._afterwards:
            while self._calls:
                self._perform(self._calls.popleft())

    def _patience(self) -> float | None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if self._calls or self._is_ended:
            return 0.0
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0].at - time.monotonic()), _LONGEST_WAIT)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            if timer.call is not None:
                call, timer.call = timer.call, None
                self._perform(call)

    def _perform(self, call: Callable[[], object]) -> None:
        self._run_last()  # of the call before
        self._attempt(call)

    def _run_last(self) -> None:
        while self._last:
            try:
                call = self._last.popleft()
            except IndexError:  # after the end whoever posts runs it too
                return
            self._attempt(call)

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException:  # noqa: BLE001 - one bad call must not end the loop for all
            with contextlib.suppress(Exception):  # a filter of the host's, say
                _log.exception("procvm: a call in the loop failed")

    def close(self) -> None:
        """End the loop after what was posted, and close its descriptors.

        Again is silent, and goes on with what an interrupt has ended.
        """
        with self._starting:
            self._is_ended = True
            if not self._has_begun:
                self._is_over = True
        with self._waking:
            if self._poller is not None:
                self._poller.wake()
        if self._poller is None:
            self._run_calls()
            return
        if not self.is_current:
            for thread in self._threads:
                if thread.is_alive():
                    thread.join()
        with self._waking:
            if self._poller is not None:
                self._poller.close()
                self._poller = None

    def forget(self) -> None:
        """Close this forked child's copies; what is shared with the parent is left alone."""
        self._is_ended = True
        poller, self._poller = self._poller, None
        self._ready.clear()
        if poller is not None:
            poller.close()
