"""Virtual time: a heap of calls to come."""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["Clock", "FakeTimer"]

_FEW = 64


class FakeTimer:
    """A call that is to come in virtual time."""

    __slots__ = ("_clock", "at", "call")

    def __init__(self, clock: Clock, at: float, call: Callable[[], None]) -> None:
        self._clock = clock
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget it."""
        if self.call is not None:
            self.call = None
            self._clock.forget_one()


class Clock:
    """Time that only moves when somebody moves it; equal times keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, FakeTimer]] = []
        self._number = 0
        self._forgotten = 0

    def call_later(self, delay: float, call: Callable[[], None]) -> FakeTimer:
        """Run ``call`` when time has moved ``delay`` seconds."""
        self._number += 1
        timer = FakeTimer(self, self.now + delay if delay > 0 else self.now, call)
        heapq.heappush(self._heap, (timer.at, self._number, timer))
        return timer

    def forget_one(self) -> None:
        """Count a cancelled call; when half of all are such, let go of them."""
        self._forgotten += 1
        if self._forgotten > _FEW and 2 * self._forgotten > len(self._heap):
            self._heap = [item for item in self._heap if item[2].call is not None]
            heapq.heapify(self._heap)
            self._forgotten = 0

    def next_at(self) -> float | None:
        """Return when the next call is due; None when nothing is to come."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._forgotten -= 1
        return self._heap[0][0] if self._heap else None

    def pop(self) -> Callable[[], None]:
        """Move time to the next call and return it; next_at() has said that there is one."""
        at, _, timer = heapq.heappop(self._heap)
        self.now = max(self.now, at)
        call, timer.call = timer.call, None
        assert call is not None  # noqa: S101 - next_at drops the cancelled
        return call
