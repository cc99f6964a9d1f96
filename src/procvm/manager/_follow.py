"""Following a VM's output, line by line, in both faces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, Self

from ..engine import Engine, LineParser, LogBook
from ..errors import shortened
from ..facts import LogLine
from ..lifecycle import is_final
from ._awaiting import LoopWaiter
from ._core import Core

__all__ = ["AsyncLineIterator", "LineIterator"]


class _Reader:
    """What one reader has had of a VM's output, and what went past it."""

    def __init__(self, core: Core, vm: Any) -> None:
        core.check("follow")
        name = core.name_of(vm)
        book = core.engine.book(name)
        if book is None:
            raise core.engine.not_found(name)
        self.vm_id, self._log = book[0].vm_id, book[1]
        self._engine: Engine = core.engine
        self._parser = LineParser()
        self.seen = 0
        self._place = _first_byte(self._log)
        self.lost = 0

    @property
    def has_ended(self) -> bool:
        """Whether no output will come."""
        now = self._engine.book(self.vm_id)
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


def _first_byte(log: LogBook) -> int:
    kept = log.chunks_after(0)
    return kept[0].begin if kept else log.total


class LineIterator(Iterator[LogLine]):
    """A VM's lines of output, what is kept first, until it has ended."""

    def __init__(self, owner: object, core: Core, vm: Any) -> None:
        self.reader: _Reader | None = None
        self._name = str(getattr(vm, "name", vm))
        self._lines = self._walk(owner, core, vm)

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<LineIterator of {shortened(self._name)}: for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        return 0 if self.reader is None else self.reader.lost

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LogLine:
        return next(self._lines)

    def close(self) -> None:
        """Read no more; again is silent."""
        self._lines.close()

    def _walk(self, owner: object, core: Core, vm: Any) -> Generator[LogLine, None, None]:
        """Read; ``owner`` is held meanwhile: a manager that is read is not forgotten."""
        reader = self.reader = _Reader(core, vm)
        backend, engine = core.backend, core.engine
        while True:
            ended = reader.has_ended
            for lines in reader.pieces():
                yield from lines
            if ended:
                break
            waiter, last = backend.waiter(), reader.seen
            backend.post(lambda w=waiter, n=last: engine.follow(reader.vm_id, w, n))  # type: ignore[misc] # bound now
            try:
                backend.block(waiter, None)
            except RuntimeError:  # nothing could ever come, in virtual time
                break
        yield from reader.rest()
        del owner


class AsyncLineIterator(AsyncIterator[LogLine]):
    """The same, awaited."""

    def __init__(self, owner: object, core: Core, vm: Any) -> None:
        self._reader: _Reader | None = None
        self._virtual: LineIterator | None = None
        self._name = str(getattr(vm, "name", vm))
        self._lines = self._walk(owner, core, vm)

    def __repr__(self) -> str:
        """Say what it is for."""
        return f"<AsyncLineIterator of {shortened(self._name)}: async for line in ...>"

    @property
    def lost(self) -> int:
        """Bytes that were let go of, beyond ``log.keep``, before this reader came to them."""
        if self._virtual is not None:
            return self._virtual.lost
        return 0 if self._reader is None else self._reader.lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogLine:
        return await self._lines.__anext__()

    async def aclose(self) -> None:
        """Read no more; again is silent."""
        await self._lines.aclose()

    async def _walk(self, owner: object, core: Core, vm: Any) -> AsyncGenerator[LogLine, None]:
        """The same, awaited."""
        if core.backend.capabilities.containment == "virtual":  # who waits moves its time
            self._virtual = LineIterator(owner, core, vm)
            for line in self._virtual:
                yield line
            return
        reader = self._reader = _Reader(core, vm)
        while True:
            ended = reader.has_ended
            for lines in reader.pieces():
                for line in lines:
                    yield line
                await asyncio.sleep(0)  # a flood is not to hold the loop
            if ended:
                break
            await _more_output(core, reader.vm_id, reader.seen)
        for line in reader.rest():
            yield line
        del owner


async def _more_output(core: Core, vm_id: str, seen: int) -> None:
    """Wait until there is output after ``seen``, or none will come."""
    engine, waiter = core.engine, LoopWaiter()
    core.backend.post(lambda: engine.follow(vm_id, waiter, seen))
    try:
        await waiter.wait()
    except BaseException:
        core.backend.post(lambda: _unfollow(engine, vm_id, waiter))
        raise


def _unfollow(engine: Engine, vm_id: str, waiter: object) -> None:
    """Forget a reader that was cancelled: a silent VM would keep it for long."""
    entry = engine.entries.get(vm_id)
    if entry is not None:
        entry.followers[:] = [one for one in entry.followers if one is not waiter]
