"""Virtual time: a heap of calls to come."""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["Clock", "FakeTimer"]


class FakeTimer:
    """A call that is to come in virtual time."""

    __slots__ = ("_clock", "at", "call", "number")

    def __init__(self, clock: Clock, at: float, number: int, call: Callable[[], None]) -> None:
        self._clock = clock
        self.at = at
        self.number = number
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget it."""
        if self.call is not None:
            self.call = None
            self._clock.pending -= 1

    def __lt__(self, other: FakeTimer) -> bool:
        return (self.at, self.number) < (other.at, other.number)


class Clock:
    """Time that only moves when somebody moves it; equal times keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pending = 0
        self._heap: list[FakeTimer] = []
        self._number = 0

    def call_later(self, delay: float, call: Callable[[], None]) -> FakeTimer:
        """Run ``call`` when time has moved ``delay`` seconds."""
        self._number += 1
        timer = FakeTimer(self, self.now + max(0.0, delay), self._number, call)
        heapq.heappush(self._heap, timer)
        self.pending += 1
        return timer

    def next_at(self) -> float | None:
        """Return when the next call is due; None when nothing is to come."""
        while self._heap and self._heap[0].call is None:
            heapq.heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def pop(self) -> Callable[[], None]:
        """Move time to the next call and return it; next_at() has said that there is one."""
        timer = heapq.heappop(self._heap)
        self.now = max(self.now, timer.at)
        self.pending -= 1
        call = timer.call
        timer.call = None
        assert call is not None  # noqa: S101 - next_at drops the cancelled
        return call
