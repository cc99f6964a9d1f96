"""How a coroutine waits: a future that any thread wakes, and a notebook's Ctrl-C is heard."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterator

__all__ = ["LoopWaiter", "hearing"]

_BEAT = 0.1  # seconds: what a person who interrupts a cell takes for at once


class LoopWaiter:
    """Wakes a future of one loop, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._is_set = False

    def set(self) -> None:
        """Wake it; a loop that is closed needs no waking."""
        self._is_set = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._is_set and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is woken (True) or time is up (False)."""
        __tracebackhide__ = True
        with hearing(self._wake):
            done, _ = await asyncio.wait([self._future], timeout=timeout)
        return bool(done)


@contextlib.contextmanager
def hearing(look: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let a Jupyter kernel's loop turn while it is waited in; ``look`` is called at each turn.

    The kernel's handler of SIGINT asks the loop to cancel the cell and does not wake it: a loop
    to which nothing else happens would sleep on. And a KeyboardInterrupt that hits a callback
    takes it away, so what it was to do is looked for again. ``asyncio.run`` wakes its loop by
    itself; there, and in loops that get no signals, nothing turns.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not (in_main and "ipykernel.kernelapp" in sys.modules):
        yield
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def turn() -> None:
        nonlocal timer
        timer = loop.call_at((math.floor(loop.time() / _BEAT) + 1) * _BEAT, turn)  # all at once
        look()

    turn()
    try:
        yield
    finally:
        timer.cancel()
