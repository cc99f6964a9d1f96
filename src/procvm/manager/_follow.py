"""Following a VM's output, line by line, in both faces."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from ..engine import Chunk, Engine, LineParser, LogBook, near_end
from ..errors import ForkedManagerError, WaitTimeoutError, shortened
from ..facts import LogLine
from ..lifecycle import is_final
from ._awaiting import LoopWaiter
from ._core import Core
from ._until import last, seconds

__all__ = ["AsyncLineIterator", "LineIterator"]


class _Reader:
    """What one reader has had of a VM's output, and what went past it."""

    def __init__(
        self, owner: object, core: Core, vm: Any, tail: int | None, timeout: float | None
    ) -> None:
        core.check("follow")
        count, self._timeout = last(tail, "lines"), seconds("timeout", timeout)
        name = core.name_of(vm)
        book = core.engine.book(name)
        if book is None:
            raise core.engine.not_found(name)
        self._owner: object = owner  # a manager that is read is not forgotten
        self.core, self.vm_id, self._log = core, book[0].vm_id, book[1]
        self.title = shortened(str(getattr(vm, "name", vm)))
        self._parser = LineParser()
        self._chunks: deque[Chunk] = deque()
        self.lines: deque[LogLine] = deque()  # those that are to be had at once
        self.is_over = False
        self.seen, self.lost = 0, 0
        self._place = _first_byte(self._log)
        self._ends: float | None = None
        self.waiters: list[Any] = []
        if count is not None:
            self._begin_with(count)

    def _begin_with(self, count: int) -> None:
        """Have the last whole lines of what is kept, and go on behind them."""
        self._look()
        kept = list(self._chunks)
        self._chunks.clear()
        lines = [line for chunk in near_end(kept, count) for line in self._parser.feed(chunk)]
        found = self.core.engine.book(self.vm_id)
        is_going_on = found is not None and found[0].pid is not None
        lines += self._parser.finish(found[0].generation if found and is_going_on else None)
        self.lines.extend(lines[-count:] if count else [])
        if kept:
            self._place = kept[-1].begin + len(kept[-1].data)

    def _look(self) -> None:
        """Take what is new, in the order in which it came."""
        newest = self._log.last_number
        self._chunks.extend(sorted(self._log.chunks_after(self.seen)))
        self.seen = max(self.seen, newest)  # where nothing is kept no chunk says so
        if self._chunks:
            self.seen = max(self.seen, self._chunks[-1].number)

    def step(self) -> bool:
        """Have some lines more, or the end; False: there is nothing to be had now."""
        if self.is_over:
            return True
        has_ended = self._has_ended  # looked at first: then all that it wrote is there
        if not self._chunks:
            self._look()
        if self._chunks:
            self._take(self._chunks.popleft())
        elif has_ended:
            self.end()
        else:
            return False
        return True

    @property
    def _has_ended(self) -> bool:
        now = self.core.engine.book(self.vm_id)
        return now is None or is_final(now[0].state)

    def _take(self, chunk: Chunk) -> None:
        """Have the lines of a piece; beyond a gap they begin anew."""
        if chunk.begin > self._place:
            self.lost += chunk.begin - self._place
            self.lines.extend(self._parser.finish())
        self._place = chunk.begin + len(chunk.data)
        self.lines.extend(self._parser.feed(chunk))

    def end(self) -> None:
        """No more comes: what has no end of line is all that is left."""
        self.lost += max(0, self._log.total - self._place)
        self._place = self._log.total
        self.lines.extend(self._parser.finish())
        self.is_over, self._owner = True, None

    def close(self) -> None:
        """Read no more, and let go on who waits."""
        self.is_over, self._owner = True, None
        self._chunks.clear()
        self.lines.clear()
        for waiter in self.waiters.copy():
            self.core.backend.post(waiter.set)

    def begin(self) -> None:
        """Begin a step: its time runs until there is a line."""
        self._ends = None
        if self._timeout is not None:
            self._ends = self.core.backend.monotonic() + self._timeout

    def seconds_left(self) -> float | None:
        """Return how long the step may go on; None: for ever."""
        if self._ends is None:
            return None
        return max(0.0, self._ends - self.core.backend.monotonic())

    def overdue(self) -> WaitTimeoutError:
        """Say that no line came in time."""
        return self.core.overdue(self.vm_id, self._timeout, "a line of its output")

    def check_process(self) -> None:
        """Refuse to wait in a forked child, for what only its parent hears."""
        if os.getpid() != self.core.owner:
            raise ForkedManagerError(self.core.owner)

    def ask(self, waiter: Any) -> None:
        """Have ``waiter`` set when there is more, or nothing more will come."""
        self.waiters.append(waiter)
        engine, vm_id, seen = self.core.engine, self.vm_id, self.seen
        self.core.backend.post(lambda: engine.follow(vm_id, waiter, seen))

    def ask_no_more(self, waiter: Any, *, is_set: bool) -> None:
        """Forget who waits no longer: a silent VM would keep it for long."""
        self.waiters[:] = [one for one in self.waiters if one is not waiter]
        if is_set or os.getpid() != self.core.owner:
            return
        engine: Engine = self.core.engine

        def forget() -> None:
            entry = engine.entries.get(self.vm_id)
            if entry is not None:
                entry.followers[:] = [one for one in entry.followers if one is not waiter]

        self.core.backend.post(forget)


def _first_byte(log: LogBook) -> int:
    kept = log.chunks_after(0)
    return kept[0].begin if kept else log.total


class LineIterator(Iterator[LogLine]):
    """A VM's lines of output, what is kept first, until it has ended."""

    def __init__(
        self, owner: object, core: Core, vm: Any, tail: int | None, timeout: float | None
    ) -> None:
        self._reader = _Reader(owner, core, vm, tail, timeout)

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<LineIterator of {self._reader.title}: for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        return self._reader.lost

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LogLine:
        reader = self._reader
        reader.begin()
        while not reader.lines:
            if reader.is_over:
                raise StopIteration
            if not reader.step():
                self._wait()
        return reader.lines.popleft()

    def _wait(self) -> None:
        """Block until there is more, or none will come; WaitTimeoutError: time is up."""
        reader, backend = self._reader, self._reader.core.backend
        reader.check_process()
        waiter, in_time = backend.waiter(), False
        try:
            reader.ask(waiter)
            in_time = backend.block(waiter, reader.seconds_left())
        except RuntimeError:
            if backend.capabilities.containment != "virtual":
                raise  # of a signal's handler, say
            reader.end()  # nothing could ever come
            return
        finally:
            reader.ask_no_more(waiter, is_set=in_time)
        if not in_time:
            reader.check_process()  # forked in a handler, on top of this wait
            raise reader.overdue()

    def close(self) -> None:
        """Read no more, also while another thread waits in it; again is silent."""
        self._reader.close()


class AsyncLineIterator(AsyncIterator[LogLine]):
    """The same, awaited."""

    def __init__(
        self, owner: object, core: Core, vm: Any, tail: int | None, timeout: float | None
    ) -> None:
        self._blocking = LineIterator(owner, core, vm, tail, timeout)
        self._reader = self._blocking._reader  # noqa: SLF001 - of this module
        self._is_virtual = core.backend.capabilities.containment == "virtual"

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<AsyncLineIterator of {self._reader.title}: async for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        return self._reader.lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogLine:
        reader = self._reader
        if self._is_virtual:  # who waits moves its time
            try:
                return next(self._blocking)
            except StopIteration:
                raise StopAsyncIteration from None
        reader.begin()
        while not reader.lines:
            if reader.is_over:
                raise StopAsyncIteration
            if reader.step():
                await asyncio.sleep(0)  # a flood is not to hold the loop
            else:
                await self._wait()
        return reader.lines.popleft()

    async def _wait(self) -> None:
        reader, waiter, in_time = self._reader, LoopWaiter(), False
        reader.check_process()
        try:
            reader.ask(waiter)
            in_time = await waiter.wait(reader.seconds_left())
        finally:
            reader.ask_no_more(waiter, is_set=in_time)
        if not in_time:
            raise reader.overdue()

    async def aclose(self) -> None:
        """Read no more, also while another task waits in it; again is silent."""
        self._reader.close()
