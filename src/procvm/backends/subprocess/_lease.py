"""One loop for all backends of a process: begun by the first post, ended with its last user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..base import Timer
from ._bells import Bells
from ._hub import KeeperHub
from ._reactor import ReactorThread
from ._readers import Readers
from ._waiter import BellWaiter

__all__ = ["LoopLease", "forget_in_child"]


class _Shared:
    """The loop and the keeper of this process, and who uses them."""

    def __init__(self) -> None:
        self.reactor = ReactorThread()
        self.hub = KeeperHub(self.reactor)
        self.readers = Readers(self.reactor)
        self.bells = Bells(self.reactor)
        self.users: set[LoopLease] = set()


_guard = threading.RLock()
_now: _Shared | None = None


class LoopLease:
    """A backend's part in the loop; nothing is started before its first post."""

    def __init__(self) -> None:
        self._shared: _Shared | None = None
        self._is_over = False
        self._ending: _Shared | None = None  # what this one is to end, as the last

    def _joined(self) -> _Shared:
        global _now  # noqa: PLW0603 - there is one for each process
        with _guard:
            if _now is None:
                _now = _Shared()
            _now.users.add(self)
            self._shared = _now
            return _now

    @property
    def hub(self) -> KeeperHub:
        """The keeper's, for whoever runs in the loop."""
        return (self._shared or self._joined()).hub

    @property
    def readers(self) -> Readers:
        """The threads for what may block, for whoever runs in the loop."""
        return (self._shared or self._joined()).readers

    def waiter(self) -> BellWaiter:
        """Return what a caller waits with."""
        shared = self._shared
        return BellWaiter(None if shared is None else shared.bells)

    def wake_callers(self) -> None:
        """Loop: see Backend."""
        if self._shared is not None:
            self._shared.reactor.wake_callers()

    @property
    def has_begun(self) -> bool:
        """Whether the loop runs, as far as this backend is concerned."""
        return self._shared is not None and self._shared.reactor.has_begun

    @property
    def is_current(self) -> bool:
        """Whether the caller is the loop, which all backends of this process share."""
        shared = self._shared or _now
        return shared is not None and shared.reactor.is_current

    def post(self, call: Callable[[], None]) -> None:
        """See ReactorThread; after close nothing is begun, and late calls run at once."""
        shared = self._shared
        if shared is None and self._is_over:
            call()
        else:
            (shared or self._joined()).reactor.post(call)

    def register(self, fd: int, ready: Callable[[], object]) -> None:
        """See ReactorThread."""
        (self._shared or self._joined()).reactor.register(fd, ready)

    def unregister(self, fd: int) -> None:
        """See ReactorThread."""
        (self._shared or self._joined()).reactor.unregister(fd)

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """See ReactorThread."""
        return (self._shared or self._joined()).reactor.call_later(delay, call)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def run(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop and return when that is done; at once where there is none."""
        shared = self._shared
        if shared is None or not shared.reactor.has_begun or shared.reactor.is_current:
            call()
            return
        waiter = BellWaiter(shared.bells)

        def and_tell() -> None:
            try:
                call()
            finally:
                waiter.set()

        shared.reactor.post(and_tell)
        waiter.wait(None)

    def close(self) -> None:
        """Give it back; with the last one the loop ends, and is waited for."""
        global _now  # noqa: PLW0603 - the same
        with _guard:
            self._is_over = True
            shared = self._shared or _now
            if self._ending is None:  # else an interrupted close has begun it
                if shared is None or self not in shared.users:
                    return
                shared.users.discard(self)
                if shared.users:
                    return
                if _now is shared:
                    _now = None
                self._ending = shared
            shared = self._ending
        shared.readers.close()
        shared.bells.close()
        shared.reactor.close()


def forget_in_child() -> None:
    """In a forked child: close its copies; the next backend begins a loop of its own."""
    global _guard, _now  # noqa: PLW0603 - another thread may have held the lock at the fork
    _guard = threading.RLock()
    shared, _now = _now, None
    if shared is not None:
        shared.hub.forget()
        shared.bells.forget()
        shared.reactor.forget()
