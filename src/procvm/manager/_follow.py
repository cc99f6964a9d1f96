"""Following a VM's output, line by line, in both faces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, Self

from ..engine import Engine, LineParser, LogBook, near_end
from ..errors import WaitTimeoutError, shortened
from ..facts import LogLine
from ..lifecycle import is_final
from ._awaiting import LoopWaiter
from ._core import Core
from ._until import last, seconds

__all__ = ["AsyncLineIterator", "LineIterator"]


class _Reader:
    """What one reader has had of a VM's output, and what went past it."""

    def __init__(self, core: Core, vm: Any, tail: int | None, timeout: float | None) -> None:
        core.check("follow")
        count, self.timeout = last(tail, "lines"), seconds("timeout", timeout)
        name = core.name_of(vm)
        book = core.engine.book(name)
        if book is None:
            raise core.engine.not_found(name)
        self.core, self.vm_id, self._log = core, book[0].vm_id, book[1]
        self._parser = LineParser()
        self.seen, self.lost = 0, 0
        self._place = _first_byte(self._log)
        self.first = [] if count is None else self._last(count)

    def _last(self, count: int) -> list[LogLine]:
        """Return the last whole lines of what is kept, and go on behind them."""
        kept = self._log.chunks_after(0)
        if not kept:
            return []
        self.seen, self._place = kept[-1].number, kept[-1].begin + len(kept[-1].data)
        lines = [line for chunk in near_end(kept, count) for line in self._parser.feed(chunk)]
        return lines[-count:] if count else []

    @property
    def has_ended(self) -> bool:
        """Whether no output will come."""
        now = self.core.engine.book(self.vm_id)
        return now is None or is_final(now[0].state)

    def pieces(self) -> Iterator[list[LogLine]]:
        """Yield the lines that are new, piece by piece; beyond a gap they begin anew."""
        newest = self._log.last_number
        for chunk in self._log.chunks_after(self.seen):
            lines = []
            if chunk.begin > self._place:
                self.lost += chunk.begin - self._place
                lines = self._parser.finish()
            self.seen, self._place = chunk.number, chunk.begin + len(chunk.data)
            yield lines + self._parser.feed(chunk)
        self.seen = max(self.seen, newest)  # where nothing is kept no chunk says so

    def rest(self) -> list[LogLine]:
        """Return what has no end of line, when no more comes."""
        self.lost += max(0, self._log.total - self._place)
        self._place = self._log.total
        return self._parser.finish()

    def overdue(self) -> WaitTimeoutError:
        """Say that no line came in time."""
        return self.core.overdue(self.vm_id, self.timeout, "a line of its output")


def _first_byte(log: LogBook) -> int:
    kept = log.chunks_after(0)
    return kept[0].begin if kept else log.total


class LineIterator(Iterator[LogLine]):
    """A VM's lines of output, what is kept first, until it has ended."""

    def __init__(
        self, owner: object, core: Core, vm: Any, tail: int | None, timeout: float | None
    ) -> None:
        self._name = str(getattr(vm, "name", vm))
        self._reader = _Reader(core, vm, tail, timeout)
        self._lines = self._walk(owner)

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<LineIterator of {shortened(self._name)}: for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        return self._reader.lost

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LogLine:
        line = next(self._lines)
        if line is None:
            raise self._reader.overdue()
        return line

    def close(self) -> None:
        """Read no more; again is silent."""
        self._lines.close()

    def _walk(self, owner: object) -> Generator[LogLine | None, None, None]:
        """Read; None: time is up. ``owner`` is held: a manager that is read is not forgotten."""
        reader, core = self._reader, self._reader.core
        yield from reader.first
        while True:
            ended = reader.has_ended
            for lines in reader.pieces():
                yield from lines
            if ended:
                break
            waiter = core.backend.waiter()
            _ask(reader, waiter)
            try:
                in_time = core.backend.block(waiter, reader.timeout)
            except RuntimeError:  # nothing could ever come, in virtual time
                break
            if not in_time:
                _ask_no_more(reader, waiter)
                yield None
        yield from reader.rest()
        del owner


class AsyncLineIterator(AsyncIterator[LogLine]):
    """The same, awaited."""

    def __init__(
        self, owner: object, core: Core, vm: Any, tail: int | None, timeout: float | None
    ) -> None:
        self._name = str(getattr(vm, "name", vm))
        self._virtual: LineIterator | None = None
        if core.backend.capabilities.containment == "virtual":  # who waits moves its time
            self._virtual = LineIterator(owner, core, vm, tail, timeout)
        self._reader = _Reader(core, vm, tail, timeout)
        self._lines = self._walk(owner)

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<AsyncLineIterator of {shortened(self._name)}: async for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        return (self._virtual or self._reader).lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogLine:
        if self._virtual is not None:
            try:
                return next(self._virtual)
            except StopIteration:
                raise StopAsyncIteration from None
        line = await anext(self._lines)
        if line is None:
            raise self._reader.overdue()
        return line

    async def aclose(self) -> None:
        """Read no more; again is silent."""
        if self._virtual is not None:
            self._virtual.close()
        await self._lines.aclose()

    async def _walk(self, owner: object) -> AsyncGenerator[LogLine | None, None]:
        """The same, awaited."""
        reader = self._reader
        for line in reader.first:
            yield line
        while True:
            ended = reader.has_ended
            for lines in reader.pieces():
                for line in lines:
                    yield line
                await asyncio.sleep(0)  # a flood is not to hold the loop
            if ended:
                break
            if not await _more_output(reader):
                yield None
        for line in reader.rest():
            yield line
        del owner


async def _more_output(reader: _Reader) -> bool:
    """Wait until there is more output, or none will come (True), or time is up."""
    waiter, in_time = LoopWaiter(), False
    _ask(reader, waiter)
    try:
        in_time = await waiter.wait(reader.timeout)
    finally:
        if not in_time:
            _ask_no_more(reader, waiter)
    return in_time


def _ask(reader: _Reader, waiter: Any) -> None:
    """Have ``waiter`` set when there is more, or nothing more will come."""
    engine, vm_id, seen = reader.core.engine, reader.vm_id, reader.seen
    reader.core.backend.post(lambda: engine.follow(vm_id, waiter, seen))


def _ask_no_more(reader: _Reader, waiter: object) -> None:
    """Forget who waits no longer: a silent VM would keep it for long."""
    engine: Engine = reader.core.engine

    def forget() -> None:
        entry = engine.entries.get(reader.vm_id)
        if entry is not None:
            entry.followers[:] = [one for one in entry.followers if one is not waiter]

    reader.core.backend.post(forget)
